"""Guards: limits on how a release may differ from the one that serves; each guard finds its fault."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from lake.errors import CheckFailed
from lake.ledgers.findings import read_findings
from lake.releases.release import Move, current_release, publish
from tests.support.built_lake import ENGINE, FEW, Shop, change_model, ingested_shop, instant
from tests.transform.test_build import edit_order
from transform.build import Build
from transform.candidate import TIMES
from transform.guards import Decrease, run_guards
from transform.next_release import Candidates
from transform.settings import RulesSettings, TransformSettings
from transform.workspace import DIFF, scratch

pytestmark = pytest.mark.slow

MAY, JUNE, JULY = (date(2026, month, 1) for month in (5, 6, 7))
ORDERS = 120
DELETED_ROWS = "id | is_deleted | fetched_at\n"


def candidates_of(shop: Shop) -> Candidates:
    """Return the candidates of the next build."""
    return Build(shop.lake, ENGINE, RulesSettings(), shop.models).build_candidates()


def failures(candidates: Candidates) -> dict[str, int]:
    """Return the failures of each guard."""
    found = run_guards(candidates, TransformSettings(), reason=None)
    return {outcome.check.name: outcome.failures for outcome in found}


@pytest.fixture(scope="module")
def release_of_many(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop of 120 orders of 10 ₴ each, with a release; no test changes it."""
    rows = [
        f"{order} | 2026-07-{1 + order % 28:02} 10:00 | 1 | 22 | 12 | 10.00" for order in range(1, ORDERS + 1)
    ]
    header = "id | ordered_at | source_id | manager_id | status_id | grand_total"
    folder = tmp_path_factory.mktemp("many") / "lake"
    shop = ingested_shop(folder, {"bronze.orders": "\n".join([header, *rows])}, FEW)
    shop.publish()
    return shop


@pytest.fixture
def many(release_of_many: Shop, tmp_path: Path) -> Shop:
    """A shop of 120 orders of 10 ₴ each, with a release, for one test."""
    return release_of_many.copy(tmp_path / "lake")


def delete_orders(shop: Shop, orders: int) -> None:
    """Observe that the first orders were deleted."""
    shop.observe(
        "bronze.orders",
        DELETED_ROWS + "\n".join(f"{one} | true | {instant(1)}" for one in range(1, orders + 1)),
    )


def test_an_ordinary_change_passes_every_guard(shop: Shop) -> None:
    """An observed order may move its own month and the month that it goes to."""
    edit_order(shop, ordered_at="2026-05-20 10:00", total="250.00")
    assert failures(candidates_of(shop)) == {
        "no_older_month_moved": 0,
        "newest_day_stays": 0,
        "totals_hold": 0,
    }


@pytest.mark.parametrize(("month", "refused"), [(MAY, 1), (JUNE, 0), (JULY, 0)])
def test_a_month_older_than_every_observed_order_may_not_move(shop: Shop, month: date, refused: int) -> None:
    """If only order 2 of June was observed, a move in May has another cause."""
    edit_order(shop, total="250.00")
    candidates = candidates_of(shop)
    orders = candidates.tables["silver.orders"]
    move = Move("silver.orders", month, 1, 1, Decimal("100.00"), Decimal("90.00"))
    candidates.tables["silver.orders"] = msgspec.structs.replace(orders, moved=(move,))
    found = {one.check.name: one for one in run_guards(candidates, TransformSettings(), reason=None)}
    assert found["no_older_month_moved"].failures == refused
    assert found["no_older_month_moved"].amount == (Decimal("10.00") if refused else None)


def test_names_may_change_in_any_month(shop: Shop) -> None:
    """A renamed manager changes each of his orders, and no amount."""
    shop.observe("bronze.managers", f"id | full_name | fetched_at\n 22 | Марта Н. | {instant(1)}")
    candidates = candidates_of(shop)
    assert candidates.tables["silver.orders"].moved
    assert not any(failures(candidates).values())


def refused_by(shop: Shop, sql: str, folder: Path, seen: str) -> set[str]:
    """Return the checks that refuse a build with faulty orders; nothing is published.

    ``sql`` drops or changes orders once buyer 31 is renamed. The order ``seen`` is observed too.
    The checks of silver.orders and of its readers do not run.
    """
    wrong = change_model("silver.orders", sql)
    models = [msgspec.structs.replace(one, checks=()) for one in wrong]
    other = shop.rebuilt_copy(folder, models=models)
    shown = other.read()
    other.observe("bronze.buyers", f"id | full_name | fetched_at\n 31 | Оксана Нова | {instant(1)}")
    other.observe(
        "bronze.orders",
        "id | ordered_at | source_id | buyer_id | status_id | grand_total | fetched_at\n"
        f" {seen} | {instant(1)}",
    )
    before = other.heads()
    with pytest.raises(CheckFailed, match=r"^release\..* nothing was committed") as refused:
        other.build(models=models)
    assert refused.value.exit_code == 3
    assert other.read() == shown
    assert other.heads() | {"ops.findings": 0} == before | {"ops.findings": 0}
    assert not other.strays()
    return {name for name, found in read_findings(other.lake).items() if found.severity == "error"}


def test_a_build_that_moves_an_older_month_publishes_nothing(few: Shop, tmp_path: Path) -> None:
    """Order 4 of July was observed, and orders of May change their total."""
    total = "(grand_total - if(buyer_name = 'Оксана Нова', 1, 0))::decimal(18, 2)"
    sql = f"select * replace ({total} as grand_total) from ({{sql}})"
    seen = "4 | 2026-07-01 10:00 | 1 | 31 | 19 | 400.00"
    assert refused_by(few, sql, tmp_path / "rebuilt", seen) == {"release.no_older_month_moved"}


def test_a_build_that_loses_the_newest_day_publishes_nothing(few: Shop, tmp_path: Path) -> None:
    """Order 1 of May was observed, and order 5, the newest, is missing."""
    sql = "from ({sql}) where id <> 5 or buyer_name = 'Оксана'"
    seen = "1 | 2026-05-10 10:00 | 4 | 31 | 12 | 100.00"
    assert refused_by(few, sql, tmp_path / "rebuilt", seen) == {"release.newest_day_stays"}


@pytest.mark.parametrize(("order", "refused"), [(9, 1), (2, 0)])
def test_the_newest_day_goes_back_only_with_observed_orders(shop: Shop, order: int, refused: int) -> None:
    """The release has a later order that the candidate lacks, and that was not observed again."""
    edit_order(shop, total="250.00")
    candidates = candidates_of(shop)
    diff = scratch(DIFF, "silver.orders")
    later = f"{order} as id, date '2026-09-01' as order_date"
    removed = f"select * replace ({later}) from {diff} where {TIMES} < 0 limit 1"
    candidates.workspace.duckdb.execute(f"insert into {diff} {removed}")
    assert failures(candidates)["newest_day_stays"] == refused


def test_a_large_decrease_publishes_nothing(many: Shop) -> None:
    """If a quarter of all orders is deleted, there is one finding with the amount, and the last
    release serves.
    """
    before = many.read()
    delete_orders(many, 30)
    with pytest.raises(CheckFailed, match=r"totals_hold.* of 300.00 ₴ .*90.*--because"):
        many.build()
    assert many.read() == before
    finding = read_findings(many.lake)["release.totals_hold"]
    assert (finding.state, finding.severity, finding.amount) == ("new", "error", Decimal("300.00"))


def test_a_reason_allows_a_decrease_and_is_recorded(many: Shop) -> None:
    """A reason allows a decrease, even after a refusal; the finding heals with the next build."""
    delete_orders(many, 30)
    with pytest.raises(CheckFailed, match="totals_hold"):
        many.build()
    release = many.publish(reason="the import of March was taken back")
    assert release.rows["silver.orders"] == 90
    assert "release.totals_hold" in release.checks
    finding = read_findings(many.lake)["release.totals_hold"]
    assert finding.severity == "warn"
    assert finding.example.endswith("because the import of March was taken back")
    many.observe("bronze.managers", f"id | full_name | fetched_at\n 22 | Марта | {instant(2)}")
    assert "release.totals_hold" not in many.publish().checks
    assert read_findings(many.lake)["release.totals_hold"].state == "healed"


@pytest.mark.parametrize("orders", [1, 24])
def test_a_small_decrease_is_published(many: Shop, orders: int) -> None:
    """A total may decrease by a fifth if the settings do not change this share."""
    delete_orders(many, orders)
    assert many.publish().rows["silver.orders"] == ORDERS - orders


CORRECTED = {
    "a total that was mistyped": "12 | 10.00 | false",
    "a return": "19 | 10000.00 | false",
    "a deletion": "12 | 10000.00 | true",
    "a total that is set aside": "12 | -5.00 | false",
}


@pytest.mark.parametrize("how", CORRECTED)
def test_one_corrected_order_stops_nothing(many: Shop, tmp_path: Path, how: str) -> None:
    """An order with most of the money of the shop loses it; the loss of others would be refused."""
    observe = "id | ordered_at | source_id | manager_id | status_id | grand_total | is_deleted"
    large = "200 | 2026-07-10 10:00 | 1 | 22"
    many.observe("bronze.orders", f"{observe} | fetched_at\n{large} | 12 | 10000.00 | false | {instant(1)}")
    many.publish()
    many.observe("bronze.orders", f"{observe} | fetched_at\n{large} | {CORRECTED[how]} | {instant(2)}")
    assert "release.totals_hold" not in many.publish().checks
    assert many.read() == many.rebuilt_copy(tmp_path / "rebuilt").read()
    delete_orders(many, 40)
    with pytest.raises(CheckFailed, match="totals_hold"):
        many.build()


def test_a_large_order_does_not_hide_the_loss_of_others(many: Shop) -> None:
    """What others lose besides it is compared with the limit."""
    rows = "\n".join(f"{order} | 2026-07-10 10:00 | 1 | 22 | 12 | 300.00" for order in (200, 201))
    header = "id | ordered_at | source_id | manager_id | status_id | grand_total"
    many.observe(
        "bronze.orders",
        f"{header} | fetched_at\n" + rows.replace("\n", f" | {instant(1)}\n") + f" | {instant(1)}",
    )
    many.publish()
    many.observe("bronze.orders", DELETED_ROWS + f"200 | true | {instant(2)}")
    many.publish()
    many.observe(
        "bronze.orders",
        DELETED_ROWS + "\n".join(f"{one} | true | {instant(3)}" for one in (201, *range(1, 40))),
    )
    with pytest.raises(CheckFailed, match=r"totals_hold.*money"):
        many.build()


def test_a_large_order_that_lost_nothing_hides_no_loss(many: Shop) -> None:
    """Its manager is renamed in the same build in which many orders lose their totals."""
    header = "id | ordered_at | source_id | manager_id | status_id | grand_total | fetched_at\n"
    many.observe("bronze.managers", f"id | full_name | fetched_at\n15 | Назар | {instant(1)}")
    many.observe("bronze.orders", f"{header}200 | 2026-07-10 10:00 | 1 | 15 | 12 | 300.00 | {instant(1)}")
    many.publish()
    many.observe("bronze.managers", f"id | full_name | fetched_at\n15 | Назар Н. | {instant(2)}")
    rows = [f"{order} | 2026-07-10 10:00 | 1 | 22 | 12 | 0.00 | {instant(2)}" for order in range(1, 41)]
    many.observe("bronze.orders", header + "\n".join(rows))
    with pytest.raises(CheckFailed, match=r"totals_hold.*money"):
        many.build()


NEW_SOURCE = "id | name | currency_code | fetched_at\n9 | Etsy | EUR | " + instant(1)
OTHER_NAME = "id | name | currency_code | fetched_at\n1 | Insta | UAH | " + instant(1)
OTHER_CURRENCY = "id | name | currency_code | fetched_at\n7 | Etsy | EUR | " + instant(2)


@pytest.mark.parametrize("source", [NEW_SOURCE, OTHER_NAME])
def test_another_source_is_no_reason(many: Shop, source: str) -> None:
    """A source that is new, renamed, or has the shop's currency by name, moves no order."""
    many.observe("bronze.sources", source)
    delete_orders(many, 30)
    with pytest.raises(CheckFailed, match="totals_hold"):
        many.build()


def test_another_currency_is_a_reason_for_its_source_alone(many: Shop) -> None:
    """The loss of orders of other sources is refused in the same build."""
    header = "id | ordered_at | source_id | manager_id | status_id | grand_total | fetched_at\n"
    many.observe("bronze.sources", f"id | name | fetched_at\n7 | Etsy | {instant(1)}")
    rows = [f"{order} | 2026-07-02 10:00 | 7 | 22 | 12 | 10.00 | {instant(1)}" for order in range(200, 260)]
    many.observe("bronze.orders", header + "\n".join(rows))
    many.publish()
    many.observe("bronze.sources", OTHER_CURRENCY)
    delete_orders(many, 50)
    with pytest.raises(CheckFailed, match="totals_hold"):
        many.build()
    rows = [f"{order} | 2026-07-02 10:00 | 1 | 22 | 12 | 10.00 | {instant(3)}" for order in range(1, 51)]
    many.observe("bronze.orders", header + "\n".join(rows))
    release = many.publish()
    assert release.rows["silver.orders"] == ORDERS
    assert read_findings(many.lake)["release.totals_hold"].severity == "warn"


def test_the_settings_limit_the_decrease(many: Shop) -> None:
    """If the share is zero, no total may decrease."""
    delete_orders(many, 1)
    with pytest.raises(CheckFailed, match="totals_hold"):
        many.build(guards=TransformSettings(largest_fall=0))


def test_changed_rules_need_a_reason_for_a_decrease(many: Shop) -> None:
    """A wrong id in the settings does not empty the shop, but changed rules may move any month."""
    rules = RulesSettings(excluded_sources=(1, 3))
    with pytest.raises(CheckFailed, match=r"totals_hold.*rows 120 -> 0.*just transform --because"):
        many.build(rules=rules)
    assert many.publish(rules=rules, reason="wholesale is another shop").rows["silver.orders"] == 0


def test_other_excluded_runs_are_a_reason(many: Shop) -> None:
    """A run is excluded by an operator when publishing is resumed, so no other reason is needed."""
    release = current_release(many.lake)
    assert release
    publish(many.lake, msgspec.structs.replace(release, release=2, parent=1, models_hash=""))
    delete_orders(many, 30)
    assert many.publish().rows["silver.orders"] == 90


def test_changed_models_need_a_reason_for_a_decrease(many: Shop) -> None:
    """A new version of the code that drops orders publishes nothing."""
    models = [
        msgspec.structs.replace(one, sql=f"select * from ({one.sql}) where id > 40")
        if one.name == "silver.orders"
        else msgspec.structs.replace(one, checks=())
        for one in many.models
    ]
    with pytest.raises(CheckFailed, match="totals_hold"):
        many.build(models=[msgspec.structs.replace(one, checks=()) for one in models])


@pytest.mark.parametrize(
    ("before", "after", "falls"),
    [("-100", "-90", False), ("0", "-5", False), ("100", "80", False), ("100", "79", True)],
)
def test_a_total_of_zero_or_less_can_not_decrease(before: str, after: str, falls: bool) -> None:
    """A share of zero, or of a negative total, is not a limit."""
    fall = Decrease("silver.orders", "money", Decimal(before), Decimal(after))
    assert fall.exceeds(Decimal("0.2")) == falls
