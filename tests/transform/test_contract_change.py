"""Contract change: a table follows its model's new contract, and older releases read as before."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pytest

from lake.delta.tables import open_table
from lake.errors import CheckFailed
from lake.releases.column_facts import read_column_facts
from lake.releases.release import Move
from tests.support.built_lake import Shop, change_model, columns_of, instant
from transform.dictionary import COLUMNS, DICTIONARY_TABLES, dictionary
from transform.models import Model
from transform.rules import Rule, relation

pytestmark = pytest.mark.slow

SOURCES = columns_of("gold.source_daily")
ADDED = change_model(
    "gold.source_daily", "select *, 'x' as note from ({sql})", columns={**SOURCES, "note": "VARCHAR?"}
)
# Contracts with one column fewer, one of another type, and one that may be null.
CHANGED = change_model(
    "silver.offers",
    "select * replace (nullif(is_archived, false) as is_archived) from ({sql})",
    columns={**columns_of("silver.offers"), "is_archived": "BOOLEAN?"},
    models=change_model(
        "gold.source_daily",
        "select * exclude (avg_check) replace (orders_count::integer as orders_count) from ({sql})",
        columns={**columns_of("gold.source_daily", "avg_check"), "orders_count": "INTEGER"},
    ),
)
# One table that is no longer partitioned by month, and one that becomes partitioned.
PARTITIONED = change_model(
    "silver.buyers",
    "select *, date '2026-06-01' as seen from ({sql})",
    columns={**columns_of("silver.buyers"), "seen": "DATE"},
    models=change_model("gold.source_daily", "{sql}", month=None, rebuild="whole"),
    month="seen",
    rebuild="by month",
)
REORDERED = change_model(
    "gold.source_daily",
    "select source_id, * exclude (source_id) from ({sql})",
    columns={"source_id": "BIGINT", **SOURCES},
)


@pytest.mark.parametrize(
    ("models", "tables"),
    [
        (ADDED, {"gold.source_daily"}),
        (CHANGED, {"gold.source_daily", "silver.offers"}),
        (PARTITIONED, {"gold.source_daily", "silver.buyers"}),
    ],
    ids=["added", "changed", "partitioned"],
)
def test_a_table_follows_its_contract_in_both_directions(
    few: Shop, models: list[Model], tables: set[str]
) -> None:
    """Only the changed table is written, and releases of either contract read the same."""
    first = few.read()
    release = few.publish(models=models)
    assert {move.table for move in release.moved} - set(DICTIONARY_TABLES) == tables
    for model in models:
        table = open_table(few.lake, model.name)
        assert table.schema == model.header.contract.schema
        column = model.header.partition_column
        assert table.partition_by == ([column] if column else [])
    second = few.read()
    assert few.build(models=models, full=True) is None
    few.publish()
    assert [few.read(number) for number in (1, 2, 3)] == [first, second, first]


def test_reordered_columns_change_nothing(few: Shop) -> None:
    """Rows are compared and written by column name."""
    assert {move.table for move in few.publish(models=REORDERED).moved} == {"rules.columns"}
    few.observe("bronze.sources", f"id | name | fetched_at\n 4 | Сайт | {instant(1)}")
    release = few.publish(models=REORDERED)
    assert {move.month for move in release.moved if move.table == "gold.source_daily"} == {date(2026, 5, 1)}
    assert len(few.read()["gold.source_daily"]) == 4


def test_a_move_of_new_columns_has_rows_and_money_before(few: Shop) -> None:
    """The release records rows and money before and after, even if the columns changed."""
    moved = [move for move in few.publish(models=ADDED).moved if move.table not in DICTIONARY_TABLES]
    assert moved == [Move("gold.source_daily", None, 4, 4, Decimal("1100.00"), Decimal("1100.00"))]


def test_an_empty_table_follows_its_contract(few: Shop) -> None:
    """A table without rows gets the columns of its new contract."""
    few.observe(
        "bronze.orders",
        "id | is_deleted | fetched_at" + "".join(f"\n{order} | true | {instant(1)}" for order in range(1, 7)),
    )
    few.publish()
    assert few.publish(models=ADDED).rows["gold.source_daily"] == 0
    assert "note" in open_table(few.lake, "gold.source_daily").schema.names
    assert few.build(models=ADDED) is None


def test_a_new_contract_that_fails_a_check_keeps_the_old_table(few: Shop) -> None:
    """A new contract is checked before it is committed."""
    broken = change_model(
        "gold.source_daily",
        "select * replace (1.00::decimal(18, 2) as revenue), 'x' as note from ({sql})",
        columns={**SOURCES, "note": "VARCHAR?"},
    )
    before = few.heads()
    with pytest.raises(CheckFailed, match="adds_up"):
        few.build(models=broken)
    assert few.heads() == {**before, "ops.findings": few.heads()["ops.findings"]}
    assert few.build() is None


def test_an_uncommitted_contract_is_restored(few: Shop) -> None:
    """If a crash left new columns in a head, the next build restores the columns of the release."""
    first = few.read()
    table = open_table(few.lake, "gold.source_daily")
    table.redefine(table.read(["date", "revenue"]))
    assert few.build() is None
    assert open_table(few.lake, "gold.source_daily").schema.names[-1] == "month"
    assert open_table(few.lake, "gold.source_daily").partition_by == ["month"]
    few.publish(models=ADDED)
    assert few.read(1) == first


def test_a_lake_from_before_the_column_facts_gets_them(few: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next build publishes the dictionary with its new columns; the release before reads as it did."""
    with monkeypatch.context() as patch:
        patch.setattr("transform.build.dictionary", dictionary_without_facts)
        before = few.publish()
    rows = few.read(before.release)["rules.columns"]
    assert {len(row) for row in rows} == {len(COLUMNS) - 3}
    after = few.publish()
    assert {len(row) for row in few.read(after.release)["rules.columns"]} == {len(COLUMNS)}
    assert few.read(before.release)["rules.columns"] == rows
    assert read_column_facts(few.lake, before).day["gold.source_daily"] == "date"


def dictionary_without_facts(models: Sequence[Model]) -> list[Rule]:
    """Return the dictionary as it was before it declared the day, money and personal columns."""
    tables, columns = dictionary(models)
    names = {name: kind for name, kind in COLUMNS.items() if not name.startswith("is_") or name == "is_key"}
    return [tables, relation("columns", names, [row[: len(names)] for row in columns.rows])]
