"""A model's contract changes between two builds: the table follows, older releases stay as they were."""

from datetime import date
from decimal import Decimal

import pytest

from lake.delta.table import open_table
from lake.errors import CheckFailed
from lake.releases.release import Move
from tests.support.built_lake import Shop, changed, columns_of, look
from transform.dictionary import DICTIONARY_TABLES
from transform.models import Model

SOURCES = columns_of("gold.source_daily")
ADDED = changed(
    "gold.source_daily", "select *, 'x' as note from ({sql})", columns={**SOURCES, "note": "VARCHAR?"}
)
# One column gone, one of another type, one that may be missing now.
CHANGED = changed(
    "silver.offers",
    "select * replace (nullif(is_archived, false) as is_archived) from ({sql})",
    columns={**columns_of("silver.offers"), "is_archived": "BOOLEAN?"},
    models=changed(
        "gold.source_daily",
        "select * exclude (avg_check) replace (orders_count::integer as orders_count) from ({sql})",
        columns={**columns_of("gold.source_daily", "avg_check"), "orders_count": "INTEGER"},
    ),
)
# One no longer partitioned by month, one newly so.
PARTITIONED = changed(
    "silver.buyers",
    "select *, date '2026-06-01' as seen from ({sql})",
    columns={**columns_of("silver.buyers"), "seen": "DATE"},
    models=changed("gold.source_daily", "{sql}", month=None, rebuild="whole"),
    month="seen",
    rebuild="by month",
)
REORDERED = changed(
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
def test_a_table_follows_its_contract_there_and_back(
    few: Shop, models: list[Model], tables: set[str]
) -> None:
    """Only that table is written, releases of either contract read as they did."""
    first = few.read()
    release = few.published(models=models)
    assert {move.table for move in release.moved} - set(DICTIONARY_TABLES) == tables
    for model in models:
        held = open_table(few.lake, model.name)
        assert held.schema == model.header.contract.schema
        assert held.partition_by == ([model.header.partition_column] if model.header.partition_column else [])
    second = few.read()
    assert few.build(models=models, full=True) is None
    few.published()
    assert [few.read(number) for number in (1, 2, 3)] == [first, second, first]


def test_columns_in_another_order_are_the_same_table(few: Shop) -> None:
    """Rows are compared and written by name."""
    assert {move.table for move in few.published(models=REORDERED).moved} == {"rules.columns"}
    few.see("bronze.sources", f"id | name | fetched_at\n 4 | Сайт | {look(1)}")
    release = few.published(models=REORDERED)
    assert {move.month for move in release.moved if move.table == "gold.source_daily"} == {date(2026, 5, 1)}
    assert len(few.read()["gold.source_daily"]) == 4


def test_the_release_says_what_the_table_held_before(few: Shop) -> None:
    """Rows and money before and after, whatever the columns."""
    moved = [move for move in few.published(models=ADDED).moved if move.table not in DICTIONARY_TABLES]
    assert moved == [Move("gold.source_daily", None, 4, 4, Decimal("1100.00"), Decimal("1100.00"))]


def test_an_empty_table_follows_too(few: Shop) -> None:
    """Nothing was sold at all."""
    few.see(
        "bronze.orders",
        "id | is_deleted | fetched_at" + "".join(f"\n{order} | true | {look(1)}" for order in range(1, 7)),
    )
    few.published()
    assert few.published(models=ADDED).rows["gold.source_daily"] == 0
    assert "note" in open_table(few.lake, "gold.source_daily").schema.names
    assert few.build(models=ADDED) is None


def test_a_new_contract_that_fails_a_check_leaves_the_old_table(few: Shop) -> None:
    """Checked before it is committed, as ever."""
    broken = changed(
        "gold.source_daily",
        "select * replace (1.00::decimal(18, 2) as revenue), 'x' as note from ({sql})",
        columns={**SOURCES, "note": "VARCHAR?"},
    )
    before = few.heads()
    with pytest.raises(CheckFailed, match="adds_up"):
        few.build(models=broken)
    assert few.heads() == {**before, "ops.findings": few.heads()["ops.findings"]}
    assert few.build() is None


def test_a_contract_that_a_crash_left_behind_is_brought_back(few: Shop) -> None:
    """The head has the new columns, the release does not."""
    first = few.read()
    table = open_table(few.lake, "gold.source_daily")
    table.redefine(table.read(["date", "revenue"]))
    assert few.build() is None
    assert open_table(few.lake, "gold.source_daily").schema.names[-1] == "month"
    assert open_table(few.lake, "gold.source_daily").partition_by == ["month"]
    few.published(models=ADDED)
    assert few.read(1) == first
