"""Rules: the shop's rules as relations that SQL can join. Pure.

Each relation is a table of the lake. So a release names the rules that it was built from,
and a changed rule is a changed input.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa

from lake.delta.contract import Contract
from transform.settings import RulesSettings

# First day of a rule that applies to all orders.
EVER = date(1970, 1, 1)


class Rule(msgspec.Struct, frozen=True):
    """One relation: its name, its contract and its rows."""

    name: str
    contract: Contract
    rows: tuple[tuple[Any, ...], ...]

    @property
    def table(self) -> pa.Table:
        """The rows as Arrow, sorted."""
        names = self.contract.schema.names
        records = [dict(zip(names, row, strict=True)) for row in sorted(self.rows)]
        return pa.Table.from_pylist(records, schema=self.contract.schema)


def rule_tables(rules: RulesSettings) -> list[Rule]:
    """Return every relation of the rules, including the empty ones."""
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
        relation("currency", {"currency": "VARCHAR"}, [(rules.currency,)]),
        relation(
            "rates",
            {"currency": "VARCHAR", "valid_from": "DATE", "rate": "DECIMAL(18,6)"},
            [(rules.currency, EVER, Decimal(1)), *((r.currency, r.valid_from, r.rate) for r in rules.rates)],
        ),
        relation(
            "limits",
            {"largest_amount": "DECIMAL(18,2)", "largest_quantity": "DECIMAL(18,3)"},
            [(Decimal(rules.largest_amount), Decimal(rules.largest_quantity))],
        ),
    ]


def relation(name: str, columns: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> Rule:
    """Return the relation ``rules.<name>`` without repeated rows."""
    return Rule(f"rules.{name}", Contract.of(columns), tuple(dict.fromkeys(rows)))
