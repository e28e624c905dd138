"""Diff and explain: the days and orders that differ between two releases, and the orders of a day."""

from collections import Counter
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from lake.delta.tables import open_table
from lake.errors import LakeError, UsageError
from lake.history.diff import DayMove, common_columns, day_moves
from lake.history.explain import explain
from lake.history.order_diff import order_moves
from lake.query.session import fetch, open_session
from lake.releases.column_facts import read_column_facts
from lake.releases.release import current_release, find_release, publish
from tests.support.built_lake import (
    ENGINE,
    FEW,
    MODELS,
    Shop,
    change_model,
    columns_of,
    ingested_shop,
    instant,
)

pytestmark = pytest.mark.slow

EDITS = f"""
    id | ordered_at       | source_id | manager_id | buyer_id | status_id | grand_total | payload | fetched_at
    1  | 2026-05-10 10:00 | 4 | null | 31   | 19 | 100.00 | {{"products":[1]}} | {instant(1)}
    2  | 2026-07-10 10:00 | 1 | 22   | 31   | 12 | 250.50 | {{"products":[1]}} | {instant(1)}
    9  | 2026-07-02 09:00 | 4 | null | null | 12 | 33.33  | {{"products":[]}}  | {instant(1)}
"""
LINES = f"""
    order_id | position | product_id | name | price | quantity | fetched_at
    1        | 1        | 7          | Крем | 100.00 | 1       | {instant(1)}
    2        | 1        | 7          | Крем | 125.25 | 2       | {instant(1)}
"""
JULY_2, JULY_10 = date(2026, 7, 2), date(2026, 7, 10)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two releases: order 1 is returned, 2 moved, 5 deleted, 9 new in the second; a buyer has a new name."""
    shop = ingested_shop(tmp_path_factory.mktemp("edited") / "lake")
    shop.publish()
    shop.observe("bronze.order_products", LINES)
    shop.observe("bronze.orders", EDITS)
    shop.observe("bronze.orders", f"id | is_deleted | fetched_at\n 5 | true | {instant(1)}")
    shop.observe("bronze.buyers", f"id | full_name | fetched_at\n 31 | Оксана Нова | {instant(1)}")
    shop.publish()
    return shop


@pytest.fixture
def few(tmp_path: Path) -> Shop:
    """A shop with a few of the models and one release."""
    shop = ingested_shop(tmp_path / "lake", models=FEW)
    shop.publish()
    return shop


def moves(shop: Shop, before: int, after: int, table: str | None = None) -> list[DayMove]:
    """Return the days that differ between two releases."""
    pair = (find_release(shop.lake, before), find_release(shop.lake, after))
    return day_moves(shop.lake, ENGINE, *pair, table=table)


def orders_moved(
    shop: Shop, before: int, after: int, **options: Any
) -> tuple[dict[int, dict[str, Any]], int]:
    """Return the moved orders by id, and the number of other orders that differ."""
    pair = (find_release(shop.lake, before), find_release(shop.lake, after))
    result = order_moves(shop.lake, ENGINE, *pair, **options)
    return {row["order_id"]: row for row in result.rows.to_pylist()}, result.others


def test_days_have_rows_and_money_before_and_after(edited: Shop) -> None:
    """An edited row counts as one removed and one new row; equal days are left out."""
    assert moves(edited, 1, 2, "gold.revenue_daily") == [
        DayMove("gold.revenue_daily", date(2026, 5, 10), 1, 0, 1, 0, Decimal("100.00"), Decimal("0.00")),
        DayMove("gold.revenue_daily", date(2026, 6, 10), 1, 0, 1, 0, Decimal("200.00"), Decimal("0.00")),
        DayMove("gold.revenue_daily", JULY_2, 1, 1, 1, 1, Decimal("500.00"), Decimal("33.33")),
        DayMove("gold.revenue_daily", JULY_10, 0, 1, 0, 1, Decimal("0.00"), Decimal("250.50")),
    ]


def test_the_reverse_diff_swaps_before_and_after(edited: Shop) -> None:
    """A release does not differ from itself."""
    there, back = moves(edited, 1, 2), moves(edited, 2, 1)
    assert [
        DayMove(
            move.table,
            move.date,
            rows_before=move.rows_after,
            rows_after=move.rows_before,
            rows_gone=move.rows_new,
            rows_new=move.rows_gone,
            money_before=move.money_after,
            money_after=move.money_before,
        )
        for move in there
    ] == back
    assert moves(edited, 2, 2) == []


def test_days_add_up_to_the_difference_of_the_releases(edited: Shop) -> None:
    """This is true of rows and money in every table, and no table that moved is left out."""
    first, second = (find_release(edited.lake, number) for number in (1, 2))
    found = moves(edited, 1, 2)
    assert {move.table for move in found} == {move.table for move in second.moved}
    for name in {move.table for move in found}:
        own = [move for move in found if move.table == name]
        rows = sum(move.rows_after - move.rows_before for move in own)
        assert rows == sum(move.rows_new - move.rows_gone for move in own)
        assert rows == second.rows[name] - first.rows[name]
        money = sum((move.money_after or 0) - (move.money_before or 0) for move in own)
        assert money == second.money.get(name, 0) - first.money.get(name, 0)


def test_a_table_without_days_has_one_move(edited: Shop) -> None:
    """The move has no date and no money."""
    assert moves(edited, 1, 2, "silver.buyers") == [DayMove("silver.buyers", None, 1, 1, 1, 1, None, None)]
    assert moves(edited, 1, 2, "silver.managers") == []


def test_an_unknown_table_is_refused(edited: Shop) -> None:
    """The message lists the tables of both releases."""
    with pytest.raises(
        UsageError, match=r"gold\.nothing: neither release has this table; they have gold\.basket_pairs, "
    ):
        moves(edited, 1, 2, "gold.nothing")


def test_day_and_money_are_those_of_the_model_headers(edited: Shop) -> None:
    """The day and money that a diff finds in a table's columns are those of the model's header."""
    release = find_release(edited.lake, 2)
    facts = read_column_facts(edited.lake, release)
    for model in MODELS:
        table = open_table(edited.lake, model.name, release.tables[model.name])
        columns = common_columns(model.name, table, table, facts)
        header = model.header
        assert (columns.day, columns.money) == (header.month, header.money if header.month else None), (
            model.name
        )


def test_each_order_has_its_changes(edited: Shop) -> None:
    """An order moves if its status, total, date or lines change, and not if only a name changes."""
    found, others = orders_moved(edited, 1, 2)
    assert {order: row["change"] for order, row in found.items()} == {
        1: "edited",
        2: "edited",
        5: "gone",
        9: "new",
    }
    returned, moved, gone, new = found[1], found[2], found[5], found[9]
    assert (returned["status_before"], returned["status_after"]) == ("12 Виконано", "19 Ні")
    assert (returned["total_after"], returned["revenue_after"]) == (Decimal("100.00"), Decimal("0.00"))
    assert (returned["lines"], returned["also"]) == ([], ["buyer_name"])
    assert (moved["date_before"], moved["date_after"]) == (date(2026, 6, 10), JULY_10)
    assert (moved["total_before"], moved["total_after"]) == (Decimal("200.00"), Decimal("250.50"))
    assert moved["lines"] == ["- 2 × Крем at 90.00", "- 1 × Пакет at 20.00", "+ 2 × Крем at 125.25"]
    assert (gone["total_before"], gone["total_after"], gone["date_after"]) == (Decimal("500.00"), None, None)
    assert (new["status_before"], new["sales_type_after"]) == (None, "retail")
    # Order 4 differs only by its buyer's name.
    assert others == 1


def test_an_order_belongs_to_its_day_before_and_its_day_after(edited: Shop) -> None:
    """An order that changed its day is listed under both days."""
    assert orders_moved(edited, 1, 2, days={JULY_10})[0].keys() == {2}
    assert orders_moved(edited, 1, 2, days={date(2026, 6, 10)})[0].keys() == {2}
    assert orders_moved(edited, 1, 2, days={JULY_2})[0].keys() == {5, 9}
    assert orders_moved(edited, 1, 2, days=set()) == ({}, 0)


def test_the_orders_that_moved_are_all_that_moved_revenue(few: Shop) -> None:
    """In a random history, the sums of the moved orders by day are the differences of gold."""
    chance = Random(4)
    for minute in range(1, 5):
        rows = [
            f"{order} | 2026-0{chance.randint(5, 7)}-0{chance.randint(1, 3)} {chance.randint(10, 23)}:30 | 1"
            f" | {chance.choice([22, 15, 7])} | {chance.choice([12, 19])} | {chance.randint(1, 99999) / 100}"
            f" | {chance.choice(['true', 'false', 'false'])} | {instant(minute)}"
            for order in chance.sample(range(1, 30), 10)
        ]
        columns = (
            "id | ordered_at | source_id | manager_id | status_id | grand_total | is_deleted | fetched_at"
        )
        few.observe("bronze.orders", "\n".join([columns, *rows]))
        few.publish()
    for before, after in [*pairwise(range(1, 6)), (1, 5), (4, 2)]:
        sums: Counter[date] = Counter()
        for row in orders_moved(few, before, after)[0].values():
            for side, sign in (("before", -1), ("after", 1)):
                if row[f"date_{side}"]:
                    sums[row[f"date_{side}"]] += sign * row[f"revenue_{side}"]
        gold = {
            move.date: (move.money_after or 0) - (move.money_before or 0)
            for move in moves(few, before, after, "gold.revenue_daily")
        }
        assert {day: money for day, money in sums.items() if money} == {
            day: money for day, money in gold.items() if money
        }


def test_a_table_that_one_release_lacks_is_all_new(few: Shop) -> None:
    """All its rows are new or removed, and a column that only one release has is not compared."""
    wider = change_model(
        "gold.revenue_daily",
        "select *, 'new' as note from ({sql})",
        columns={**columns_of("gold.revenue_daily"), "note": "VARCHAR"},
        models=[model for model in FEW if model.name != "gold.source_daily"],
    )
    few.publish(models=wider)
    assert moves(few, 1, 2, "gold.revenue_daily") == []
    found = moves(few, 2, 1, "gold.source_daily")
    assert sum(move.rows_new for move in found) == 4
    assert sum(move.rows_gone for move in found) == 0
    assert {(move.rows_after, move.money_before) for move in found} == {(1, Decimal("0.00"))}
    assert sum(move.rows_gone for move in moves(few, 1, 2, "gold.source_daily")) == 4


def test_explained_orders_add_up_to_gold_to_the_kopeck(edited: Shop) -> None:
    """The sums are equal on every day and for every sales type of both releases."""
    for number in (1, 2):
        release = find_release(edited.lake, number)
        with open_session(edited.lake, ENGINE, release) as session:
            cells = fetch(session, "select date, sales_type, revenue, orders_count from gold.revenue_daily")
        for cell in cells.to_pylist():
            explanation = explain(edited.lake, ENGINE, release, cell["date"], sales_type=cell["sales_type"])
            assert (explanation.revenue, explanation.rows.num_rows) == (cell["revenue"], cell["orders_count"])
    explanation = explain(edited.lake, ENGINE, find_release(edited.lake, 2), date(2026, 5, 10))
    assert (explanation.revenue, explanation.rows.num_rows) == (Decimal("0.00"), 0)
    assert (explanation.returns_count, explanation.returns_amount) == (1, Decimal("100.00"))


def test_an_explanation_shows_no_buyer(edited: Shop) -> None:
    """An explanation has no personal columns."""
    explanation = explain(edited.lake, ENGINE, find_release(edited.lake, 1), JULY_2)
    assert explanation.rows.column_names == [
        "order_id", "sales_type", "revenue", "source_name", "manager_name", "status", "ordered_at",
    ]  # fmt: skip
    assert explanation.rows["order_id"].to_pylist() == [5]


def test_an_impossible_explanation_is_refused(few: Shop) -> None:
    """An unknown sales type is refused, and so is a release whose gold differs from its orders."""
    release = current_release(few.lake)
    assert release
    with pytest.raises(
        UsageError, match="wholesale: no order has this sales type; the sales types are b2b, "
    ):
        explain(few.lake, ENGINE, release, JULY_2, sales_type="wholesale")
    gold = open_table(few.lake, "gold.revenue_daily")
    broken = msgspec.structs.replace(
        release,
        release=2,
        parent=1,
        tables={**release.tables, "gold.revenue_daily": gold.replace(gold.read().slice(0, 0))},
        rows={**release.rows, "gold.revenue_daily": 0},
        digests={},
    )
    publish(few.lake, broken)
    with pytest.raises(
        LakeError, match=r"1 orders of 2026-07-02 add up to 500\.00, but gold.* has 0 orders and 0\.00; run"
    ):
        explain(few.lake, ENGINE, broken, JULY_2)
    without = msgspec.structs.replace(release, tables={"silver.orders": release.tables["silver.orders"]})
    with pytest.raises(UsageError, match=r"release 1 has no table gold\.revenue_daily"):
        explain(few.lake, ENGINE, without, JULY_2)
