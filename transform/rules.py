"""The shop's rules as relations that SQL can join. Pure.

They are tables of the lake like any other, so a release names the rules it was
built with, and a changed rule is a changed input.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from lake.delta.contract import Contract
from transform.settings import RulesSettings


class Rule(msgspec.Struct, frozen=True):
    """One relation: its name, its contract, its rows."""

    name: str
    contract: Contract
    rows: tuple[tuple[Any, ...], ...]

    @property
    def table(self) -> pa.Table:
        """The rows as Arrow, in a fixed order."""
        names = self.contract.schema.names
        found = [dict(zip(names, row, strict=True)) for row in sorted(self.rows)]
        return pa.Table.from_pylist(found, schema=self.contract.schema)


def rule_tables(rules: RulesSettings) -> list[Rule]:
    """Return every relation of the rules, an empty one too."""
    by_manager = [
        (manager, rule.valid_from, rule.sales_type) for rule in rules.sales_types for manager in rule.managers
    ]
    by_source = [
        (source, rule.valid_from, rule.sales_type) for rule in rules.sales_types for source in rule.sources
    ]
    return [
        relation("return_statuses", {"status_id": "BIGINT"}, [(status,) for status in rules.return_statuses]),
        relation(
            "return_status_groups",
            {"status_group_id": "BIGINT"},
            [(status_group,) for status_group in rules.return_status_groups],
        ),
        relation(
            "excluded_sources", {"source_id": "BIGINT"}, [(source,) for source in rules.excluded_sources]
        ),
        relation("brand_field", {"uuid": "VARCHAR"}, [(rules.brand_field,)]),
        relation(
            "manager_sales_types",
            {"manager_id": "BIGINT", "valid_from": "DATE", "sales_type": "VARCHAR"},
            by_manager,
        ),
        relation(
            "source_sales_types",
            {"source_id": "BIGINT", "valid_from": "DATE", "sales_type": "VARCHAR"},
            by_source,
        ),
    ]


def relation(name: str, columns: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> Rule:
    """Return the relation ``rules.<name>``; a row said twice is one row."""
    return Rule(f"rules.{name}", Contract.of(columns), tuple(dict.fromkeys(rows)))
