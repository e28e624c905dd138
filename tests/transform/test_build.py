"""Build: only differing rows are written, and they are published as one release."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from lake.delta.tables import open_table
from lake.errors import CheckFailed, ModelError
from lake.ledgers.findings import FINDINGS, HEALED, read_findings
from lake.paths import Lake
from lake.releases.release import Move, current_release
from tests.support.built_lake import ENGINE, FEW, MODELS, Shop, change_model, ingested_shop, instant
from transform.build import Build
from transform.models import Check
from transform.settings import RulesSettings, SalesRule

pytestmark = pytest.mark.slow

HISTORY_OF_STATUSES = "silver.order_status_history"
MAY, JUNE, JULY, AUGUST = (date(2026, month, 1) for month in (5, 6, 7, 8))
DATED = [model.name for model in MODELS if model.header.month]
ORDER_2 = "id | ordered_at | source_id | manager_id | status_id | grand_total | payload | fetched_at\n 2 | "
ORDER_9 = "id | ordered_at | source_id | manager_id | status_id | grand_total | fetched_at\n 9 | "
LINE_2 = "order_id | position | product_id | price | fetched_at\n 2 | 1 | 7 | "


def edit_order(
    shop: Shop, *, ordered_at: str = "2026-06-10 10:00", total: str = "200.00", minute: int = 1
) -> None:
    """Observe order 2 again, with one line."""
    shop.observe("bronze.order_products", LINE_2 + f"{total} | {instant(minute)}")
    shop.observe(
        "bronze.orders",
        ORDER_2 + f'{ordered_at} | 1 | 22 | 12 | {total} | {{"products":[1]}} | {instant(minute)}',
    )


def months_moved(moved: tuple[Move, ...], table: str) -> set[date | None]:
    """Return the months of a table that moved."""
    return {move.month for move in moved if move.table == table}


def test_first_release_has_every_table_and_its_bronze_versions(first_release: Shop) -> None:
    """The first release records rows and money of each table, and a move of every table."""
    release = current_release(first_release.lake)
    assert release
    assert (release.release, release.kind, release.parent) == (1, "full", None)
    names = {model.name for model in MODELS} | set(first_release.lake.tables("rules"))
    assert release.tables.keys() == release.rows.keys() == {move.table for move in release.moved} == names
    assert release.tables == {name: at for name, at in first_release.heads().items() if name in names}
    assert release.consumed == {name: at for name, at in first_release.heads().items() if "bronze" in name}
    assert release.rows["silver.orders"] == 5
    assert release.money["silver.orders"] == Decimal("1500.00")
    assert release.money["gold.revenue_daily"] == Decimal("1100.00")
    assert release.money["gold.returns_daily"] == Decimal("400.00")
    assert release.checks == {}


def test_an_empty_shop_is_published(tmp_path: Path) -> None:
    """Tables without rows have columns and no money, and later builds extend them."""
    assert Shop(Lake(root=str(tmp_path / "nothing"))).build() is None
    shop = ingested_shop(tmp_path / "empty", {})
    release = shop.publish()
    assert {rows for name, rows in release.rows.items() if not name.startswith("rules")} == {0}
    assert release.money["gold.revenue_daily"] == 0
    assert shop.build() is None
    edit_order(shop)
    assert shop.publish().money["gold.revenue_daily"] == 200


def test_no_change_makes_no_commit_and_no_release(few: Shop) -> None:
    """A build without changes commits nothing, even if it is a full build."""
    before = few.heads()
    assert few.build() is None
    assert few.build(full=True) is None
    assert few.heads() == before


def test_an_unchanged_lake_is_current(shop: Shop) -> None:
    """A release is current if the versions, models and rules are those it was built from."""
    assert Build(shop.lake, ENGINE, RulesSettings(), MODELS).is_current
    assert not Build(shop.lake, ENGINE, RulesSettings(return_statuses=(19,)), MODELS).is_current
    assert not Build(shop.lake, ENGINE, RulesSettings(), MODELS[1:]).is_current
    edit_order(shop)
    assert not Build(shop.lake, ENGINE, RulesSettings(), MODELS).is_current


def test_an_observation_without_effect_makes_no_gold_version(shop: Shop) -> None:
    """A new observation of an order of an excluded source is a new version of bronze, and of no
    gold table.
    """
    before = shop.heads()
    for minute, status in ((1, 1), (2, 12)):
        shop.observe(
            "bronze.orders",
            "id | ordered_at | source_id | buyer_id | status_id | fetched_at\n"
            f" 6 | 2026-07-03 10:00 | 3 | 31 | {status} | {instant(minute)}",
        )
    release = shop.publish()
    assert {move.table for move in release.moved} == {"silver.order_status_history"}
    moved = {name for name, at in shop.heads().items() if before[name] != at}
    assert moved == {"bronze.orders", "silver.order_status_history", "ops.releases"}


def test_only_months_that_differ_are_written(shop: Shop) -> None:
    """Unchanged months keep their files."""
    before = {name: shop.files(name) for name in DATED}
    edit_order(shop, total="250.00")
    release = shop.publish()
    assert (release.release, release.kind, release.parent) == (2, "sync", 1)
    for name in DATED:
        after = shop.files(name)
        differ = {month for month in before[name] | after if before[name].get(month) != after.get(month)}
        assert differ == {month.isoformat()[:7] for month in months_moved(release.moved, name) if month}
        assert differ <= {"2026-06"}, name
    assert Move("gold.revenue_daily", JUNE, 2, 2, Decimal("500.00"), Decimal("550.00")) in release.moved
    assert release.tables["silver.buyers"] == 1 == shop.heads()["silver.buyers"]


def weeks(shop: Shop) -> dict[str, set[str]]:
    """Return the live files of the order status history by week."""
    found: dict[str, set[str]] = {}
    for file in open_table(shop.lake, HISTORY_OF_STATUSES).files():
        found.setdefault(str(file.part), set()).add(file.uri)
    return found


def test_only_differing_weeks_are_written(shop: Shop) -> None:
    """If a table has weekly partitions, its moves are reported by the months in which the weeks begin."""
    header = "id | created_at | status_id | fetched_at\n"
    created = ["07-01", "07-02", "07-09", "07-16", "08-05"]
    orders = [f" {order} | 2026-{day} 10:00 | 12 | {instant(1)}" for order, day in enumerate(created, 11)]
    shop.observe("bronze.orders", header + "\n".join(orders))
    shop.publish()
    before = weeks(shop)
    assert before.keys() == {"2026-06-01", "2026-06-29", "2026-07-06", "2026-07-13", "2026-08-03"}
    shop.observe(
        "bronze.orders",
        header + f" 12 | 2026-07-02 10:00 | 19 | {instant(2)}\n 13 | 2026-07-09 10:00 | 19 | {instant(2)}",
    )
    release = shop.publish()
    after = weeks(shop)
    assert {week for week in before | after if before.get(week) != after.get(week)} == {
        "2026-06-29",
        "2026-07-06",
    }
    # The first week of July begins in June, which has six other rows.
    assert [move for move in release.moved if move.table == HISTORY_OF_STATUSES] == [
        Move(HISTORY_OF_STATUSES, JUNE, 8, 9, None, None),
        Move(HISTORY_OF_STATUSES, JULY, 2, 3, None, None),
    ]
    assert release.rows[HISTORY_OF_STATUSES] == len(shop.read()[HISTORY_OF_STATUSES]) == 13


def test_a_moved_order_changes_its_old_and_its_new_month(shop: Shop, tmp_path: Path) -> None:
    """If an order moves to another month, it counts once and leaves no row in its old day."""
    edit_order(shop, ordered_at="2026-05-20 10:00")
    release = shop.publish()
    for name in ("silver.orders", "silver.order_lines", "gold.revenue_daily", "gold.product_daily"):
        assert months_moved(release.moved, name) == {MAY, JUNE}
    assert release.rows["silver.orders"] == 5
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()


def test_a_month_without_its_last_order_is_empty(shop: Shop, tmp_path: Path) -> None:
    """Order 1 is the only order of May; it is deleted, and later observed again."""
    shop.observe("bronze.orders", f"id | is_deleted | fetched_at\n 1 | true | {instant(1)}")
    release = shop.publish()
    assert Move("silver.orders", MAY, 1, 0, Decimal("100.00"), Decimal("0.00")) in release.moved
    assert "2026-05" not in shop.files("gold.revenue_daily")
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()
    shop.observe(
        "bronze.order_products",
        f"order_id | position | product_id | price | fetched_at\n 1 | 1 | 7 | 100.00 | {instant(2)}",
    )
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | buyer_id | status_id | grand_total | fetched_at\n"
        f" 1 | 2026-05-10 10:00 | 4 | 31 | 12 | 100.00 | {instant(2)}",
    )
    shop.publish()
    assert shop.read(3)["gold.revenue_daily"] == shop.read(1)["gold.revenue_daily"]
    assert shop.read(2)["gold.revenue_daily"] != shop.read(1)["gold.revenue_daily"]


def test_a_new_month_gets_its_first_rows(shop: Shop) -> None:
    """A new month gets files, and the other months keep theirs."""
    may = shop.files("silver.orders")["2026-05"]
    edit_order(shop, ordered_at="2026-08-20 10:00")
    assert months_moved(shop.publish().moved, "gold.product_daily") == {JUNE, AUGUST}
    assert shop.files("silver.orders")["2026-05"] == may


def test_renamed_rows_reach_every_row_that_shows_them(shop: Shop, tmp_path: Path) -> None:
    """New names change only the months that show them, and no money."""
    before = current_release(shop.lake)
    shop.observe("bronze.managers", f"id | full_name | fetched_at\n 15 | Назар Новий | {instant(1)}")
    shop.observe("bronze.statuses", f"id | name | fetched_at\n 19 | Скасовано | {instant(1)}")
    shop.observe("bronze.sources", f"id | name | fetched_at\n 4 | Сайт | {instant(1)}")
    shop.observe("bronze.expense_types", f"id | name | fetched_at\n 5 | Комісія | {instant(1)}")
    shop.observe("bronze.products", f"id | name | fetched_at\n 7 | Крем новий | {instant(1)}")
    release = shop.publish()
    assert months_moved(release.moved, "silver.orders") == {MAY, JUNE, JULY}
    assert months_moved(release.moved, "gold.source_daily") == {MAY}
    assert months_moved(release.moved, "silver.order_expenses") == {JUNE}
    assert months_moved(release.moved, "gold.product_daily") == {MAY, JUNE}
    assert months_moved(release.moved, "gold.revenue_daily") == set()
    assert before
    assert release.money == before.money
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()


def test_a_renamed_buyer_reaches_the_months_of_his_orders(shop: Shop) -> None:
    """A renamed buyer changes the months of his orders, and no gold table."""
    shop.observe("bronze.buyers", f"id | full_name | fetched_at\n 31 | Оксана Нова | {instant(1)}")
    release = shop.publish()
    assert {move.table for move in release.moved} == {"silver.buyers", "silver.orders"}
    assert months_moved(release.moved, "silver.orders") == {MAY, JUNE, JULY}


def test_a_renamed_category_reaches_its_products_and_their_months(shop: Shop) -> None:
    """A renamed category changes only tables that show its name."""
    shop.observe("bronze.categories", f"id | name | fetched_at\n 5 | Уходова | {instant(1)}")
    release = shop.publish()
    touched = {"silver.categories", "silver.products", "gold.category_daily"}
    assert {move.table for move in release.moved} == touched
    assert months_moved(release.moved, "gold.category_daily") == {MAY, JUNE, JULY}


def test_a_changed_rule_rebuilds_only_affected_months(few: Shop) -> None:
    """If a rule changes from a date on, earlier orders keep their sales type, and the release's
    kind is rules.
    """
    rules = RulesSettings(
        sales_types=(
            *RulesSettings().sales_types,
            SalesRule(sales_type="b2b", managers=(22, 7), valid_from=date(2026, 7, 1)),
        )
    )
    release = few.publish(rules=rules)
    assert release.kind == "rules"
    assert months_moved(release.moved, "silver.orders") == {JULY}
    assert months_moved(release.moved, "gold.revenue_daily") == {JULY}
    assert months_moved(release.moved, "rules.manager_sales_types") == {None}
    assert few.build(rules=rules) is None
    assert few.publish().kind == "rules"
    assert few.read(3) == few.read(1)


def test_a_rule_may_lose_its_last_row(few: Shop, tmp_path: Path) -> None:
    """Without excluded sources and return statuses, all orders count."""
    rules = RulesSettings(excluded_sources=(), return_statuses=())
    release = few.publish(rules=rules)
    assert release.rows["rules.excluded_sources"] == 0
    assert release.money["gold.revenue_daily"] == Decimal("2100.00")
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt", rules=rules).read()
    assert few.build(rules=rules) is None


def test_a_changed_model_is_rebuilt_without_new_observations(shop: Shop) -> None:
    """The text of a model is an input of the build."""
    models = change_model(
        "gold.customer_rfm", "select * replace (upper(segment) as segment) from ({sql})", models=MODELS
    )
    release = shop.publish(models=models)
    assert {move.table for move in release.moved} == {"gold.customer_rfm"}


def test_a_removed_model_is_in_no_later_release(few: Shop) -> None:
    """If a model is removed, its table leaves the release; if it is added again, the table returns."""
    without = [model for model in FEW if model.name != "gold.source_daily"]
    edit_order(few, total="250.00")
    assert "gold.source_daily" not in few.publish(models=without).tables
    release = few.publish()
    assert release.rows["gold.source_daily"] == 4
    assert "gold.source_daily" in few.read()


def test_every_release_reads_the_same_after_later_builds(few: Shop) -> None:
    """Later builds do not change what a release reads."""
    kept = [few.read(1)]
    for minute in range(1, 4):
        edit_order(few, total=f"{200 + minute}.00", minute=minute)
        few.publish()
        kept.append(few.read())
    assert [few.read(number) for number in range(1, 5)] == kept
    assert len({str(tables["gold.revenue_daily"]) for tables in kept}) == 4


def test_a_failed_check_commits_nothing(few: Shop) -> None:
    """A failed check has exit code 3 and a finding with its rows; the last release serves until the
    next valid build.
    """
    before, shown = few.heads(), few.read()
    edit_order(few, total="250.00")
    bronze = few.heads()
    broken = change_model(
        "gold.revenue_daily",
        "select * replace ((revenue + 1)::decimal(18, 2) as revenue) from ({sql})",
    )
    with pytest.raises(
        CheckFailed, match=r"gold\.revenue_daily\.equals_orders: 4 rows of 4\.00 ₴ break «revenue and"
    ) as refused:
        few.build(models=broken)
    assert refused.value.exit_code == 3
    assert "\n" not in str(refused.value)
    found = read_findings(few.lake)["gold.revenue_daily.equals_orders"]
    assert (found.state, found.rows, found.amount) == ("new", 4, Decimal("4.00"))
    bronze["ops.findings"] = few.heads()["ops.findings"]
    assert few.heads() == bronze
    del bronze["ops.findings"]
    assert {name: at for name, at in bronze.items() if before[name] != at}.keys() == {
        "bronze.orders",
        "bronze.order_products",
    }
    assert few.read() == shown
    assert few.publish().release == 2
    assert read_findings(few.lake)["gold.revenue_daily.equals_orders"].state == "healed"


def test_findings_of_a_refused_build_heal_with_its_models(few: Shop) -> None:
    """If the refused models are reverted, their findings heal, although nothing has to be built."""
    few.observe("bronze.orders", f"{ORDER_9}2026-07-04 10:00 | 77 | 78 | 12 | 1000.00 | {instant(1)}")
    few.publish()
    broken = change_model(
        "silver.orders", "select * replace (nullif(source_id, 1) as source_id) from ({sql})"
    )
    broken = change_model(
        "gold.revenue_daily", "select * replace (-revenue as revenue) from ({sql})", models=broken
    )
    with pytest.raises(CheckFailed):
        few.build(models=broken)
    assert open_findings(few).keys() > {"silver.orders.source_is_known", "silver.orders.manager_is_known"}
    few.build(dry_run=True)
    assert len(open_findings(few)) > 2
    assert few.build() is None
    assert open_findings(few) == {"silver.orders.source_is_known": 1, "silver.orders.manager_is_known": 1}
    head = few.heads()["ops.findings"]
    assert few.build() is None
    assert few.heads()["ops.findings"] == head


def test_two_checks_of_one_name_are_refused_before_a_build(few: Shop) -> None:
    """Two checks of one name are refused even if there is nothing new to build."""
    twin = Check("key_is_unique", FEW[0].name, "it is", "error", "select 1")
    with pytest.raises(ModelError, match="two checks are named key_is_unique"):
        Build(few.lake, ENGINE, RulesSettings(), [msgspec.structs.replace(FEW[0], checks=(twin,))])


def open_findings(shop: Shop) -> dict[str, int]:
    """Return the rows of each open finding."""
    return {name: one.rows for name, one in read_findings(shop.lake).items() if one.state != HEALED}


def test_a_repeated_failure_is_one_finding(shop: Shop) -> None:
    """A check that fails in several builds has one row in the findings ledger."""
    shop.observe(
        "bronze.orders",
        "id | source_id | status_id | grand_total | payload | fetched_at\n"
        f' 9 | 1 | 12 | 0.01 | {{"products":[1]}} | {instant(1)}',
    )
    for _ in range(2):
        with pytest.raises(CheckFailed, match=r"order_lines\.are_there"):
            shop.build()
        rows = open_table(shop.lake, FINDINGS).read().to_pylist()
        recorded = [(row["fingerprint"], row["state"], row["rows"], row["amount"]) for row in rows]
        assert recorded == [("silver.order_lines.are_there", "new", 1, Decimal("0.01"))]


def test_a_first_build_that_fails_its_checks_publishes_nothing(tmp_path: Path) -> None:
    """If the first build fails its checks, there is no release, and no table of silver or gold."""
    shop = ingested_shop(tmp_path / "lake")
    shop.observe(
        "bronze.orders",
        f'id | grand_total | payload | fetched_at\n 9 | 0.01 | {{"products":[1]}} | {instant(1)}',
    )
    message = r"silver\.order_lines\.are_there: 1 row of 0\.01 .* the first is order_id=9"
    with pytest.raises(CheckFailed, match=message):
        shop.build()
    assert current_release(shop.lake) is None
    assert not [name for name in shop.heads() if name.startswith(("silver", "gold", "rules"))]
    assert "ops.releases" not in shop.heads()


def test_a_warning_is_recorded_and_blocks_nothing(few: Shop) -> None:
    """An unknown source, status and manager are reported as warnings, and the release is published."""
    few.observe(
        "bronze.orders",
        f"{ORDER_9}2026-07-04 10:00 | 77 | 78 | 79 | 1000.00 | {instant(1)}",
    )
    release = few.publish()
    assert release.checks == {
        "silver.orders.source_is_known": 1,
        "silver.orders.status_is_known": 1,
        "silver.orders.manager_is_known": 1,
    }
    assert release.money["gold.revenue_daily"] == Decimal("2100.00")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select * from silver.nothing", r"silver\.buyers: it can't be built: .*nothing"),
        ("select 1 / from bronze.buyers", r"silver\.buyers: it can't be built"),
        ("select * replace ('x'::int as id) from ({sql})", r"silver\.buyers: it can't be built: Conversion"),
        (
            "select * exclude (name) from ({sql})",
            r"silver\.buyers: the select lacks name, which the header declares",
        ),
        ("select *, 1 as more from ({sql})", "the header lacks more, which the select returns"),
        (
            "select * replace (id::double as id) from ({sql})",
            "the select returns id as DOUBLE, the header declares BIGINT",
        ),
        (
            "select name, * exclude (name) from ({sql})",
            "the select returns the columns in the order name, id",
        ),
    ],
)
def test_a_broken_contract_is_one_line(few: Shop, sql: str, message: str) -> None:
    """A model that breaks its contract is reported in one line, before anything is committed."""
    before = few.heads()
    with pytest.raises(ModelError, match=message) as refused:
        few.build(models=change_model("silver.buyers", sql))
    assert "\n" not in str(refused.value)
    assert few.heads() == before
