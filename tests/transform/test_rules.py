"""Rules: the shop's rules as relations, and contradictions in the settings."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from transform.rules import rule_tables
from transform.settings import RulesSettings, SalesRule

EVER = date(1970, 1, 1)


def rows(rules: RulesSettings) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every relation."""
    return {rule.name: [tuple(row.values()) for row in rule.table.to_pylist()] for rule in rule_tables(rules)}


def test_the_default_rules() -> None:
    """Rows are sorted, whatever the order in the settings."""
    assert rows(RulesSettings()) == {
        "rules.return_statuses": [(19,), (21,), (22,), (23,)],
        "rules.return_status_groups": [],
        "rules.excluded_sources": [(3,)],
        "rules.brand_field": [("CT_1001",)],
        "rules.manager_sales_types": [
            (4, EVER, "retail"),
            (15, EVER, "b2b"),
            (16, EVER, "retail"),
            (22, EVER, "retail"),
        ],
        "rules.source_sales_types": [(4, EVER, "retail")],
        "rules.currency": [("UAH",)],
        "rules.rates": [("UAH", EVER, Decimal("1.000000"))],
        "rules.limits": [(Decimal("100000000.00"), Decimal("1000000.000"))],
    }


def test_a_repeated_rule_is_one_row() -> None:
    """A join with a rule does not count an order twice."""
    twice = SalesRule(sales_type="b2b", managers=(15, 15))
    found = rows(RulesSettings(return_statuses=(19, 19), sales_types=(twice, twice)))
    assert found["rules.return_statuses"] == [(19,)]
    assert found["rules.manager_sales_types"] == [(15, EVER, "b2b")]


def test_a_manager_may_change_the_sales_type_at_a_date() -> None:
    """Each date is a row."""
    later = SalesRule(sales_type="retail", managers=(15,), valid_from=date(2026, 1, 1))
    found = rows(RulesSettings(sales_types=(SalesRule(sales_type="b2b", managers=(15,)), later)))
    assert found["rules.manager_sales_types"] == [(15, EVER, "b2b"), (15, date(2026, 1, 1), "retail")]


@pytest.mark.parametrize(
    ("sales_types", "message"),
    [
        ([{"sales_type": "retail"}], "either managers or sources"),
        ([{"sales_type": "retail", "managers": [1], "sources": [4]}], "either managers or sources"),
        (
            [{"sales_type": "retail", "managers": [1, 2]}, {"sales_type": "b2b", "managers": [2]}],
            "manager 2 is retail and b2b from 1970-01-01 on",
        ),
        (
            [
                {"sales_type": "retail", "sources": [4], "valid_from": "2026-01-01"},
                {"sales_type": "other", "sources": [4], "valid_from": "2026-01-01"},
            ],
            "source 4 is retail and other from 2026-01-01 on",
        ),
    ],
)
def test_contradicting_rules_are_refused(sales_types: list[Any], message: str) -> None:
    """Two sales types for one id on the same date are refused."""
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"sales_types": sales_types}, RulesSettings)
