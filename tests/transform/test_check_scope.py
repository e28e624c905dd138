"""Check scope: a check of rebuilt rows gives the same result as a check of all rows."""

import pytest

from lake.errors import CheckFailed
from lake.ledgers.findings import read_findings
from lake.releases.release import find_release
from tests.support.built_lake import ENGINE, Shop, instant
from tests.transform.test_build import edit_order
from transform.build import Build
from transform.check_scope import check_candidates
from transform.scope import Keys, Months
from transform.settings import RulesSettings
from transform.workspace import BUILT, scratch

pytestmark = pytest.mark.slow

UNKNOWN = "silver.order_lines.product_is_known"
SOLD = "order_id | position | product_id | name | price | fetched_at\n"
ORDER = "id | ordered_at | source_id | manager_id | status_id | grand_total | payload | fetched_at\n"
# Faults in the rebuilt rows after order 2 got another total: one for each kind of check.
FAULTS = [
    ("silver.orders.key_is_unique", "insert into {built} from {built}"),
    ("silver.orders.sales_type_is_there", "update {built} set sales_type = null"),
    ("silver.orders.total_is_not_negative", "update {built} set grand_total = -0.01"),
    ("silver.orders.are_all_there", "delete from {built}"),
    ("silver.order_lines.are_there", "delete from {built}"),
    ("silver.customers.orders_are_purchases", "update {built} set orders_count = 9"),
    ("gold.revenue_daily.key_is_unique", "insert into {built} from {built} where date = '2026-06-10'"),
    ("gold.revenue_daily.equals_orders", "update {built} set revenue = revenue + 0.01"),
    ("gold.revenue_daily.types_add_up", "update {built} set orders_count = orders_count + 1"),
    ("gold.profit_daily.profit_is_what_is_left", "update {built} set profit = profit + 0.01"),
    ("gold.brand_daily.adds_up", "delete from {built}"),
]


def sell_unknown(shop: Shop, minute: int, *products: int, total: str = "200.00") -> None:
    """Observe order 2 with products that are not in the catalogue."""
    lines = [
        f" 2 | {position} | {product} | Олія | 200.00 | {instant(minute)}"
        for position, product in enumerate(products or (99,), 1)
    ]
    shop.observe("bronze.order_products", SOLD + "\n".join(lines))
    payload = f'{{"products":{list(range(1, len(lines) + 1))}}}'
    shop.observe(
        "bronze.orders",
        ORDER + f" 2 | 2026-06-10 10:00 | 1 | 22 | 12 | {total} | {payload} | {instant(minute)}",
    )


def lose_lines(shop: Shop, minute: int) -> None:
    """Observe order 3 without the line that its payload lists, as if a table of bronze had lost it."""
    payload = f'{{"products":[1]}} | {instant(minute)}'
    shop.observe("bronze.orders", ORDER + f" 3 | 2026-06-11 10:00 | 1 | 15 | 12 | 300.00 | {payload}")


def failures_in_full(shop: Shop) -> dict[str, int]:
    """Return the failures of every check in a full build."""
    full = Build(shop.lake, ENGINE, RulesSettings(), shop.models, full=True).build_candidates()
    return {found.name: found.failures for found in check_candidates(full, {}) if found.failures}


def edit_other_order(shop: Shop, minute: int) -> None:
    """Observe order 1 with another total, which does not affect the finding."""
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | status_id | grand_total | payload | fetched_at\n"
        f' 1 | 2026-05-10 10:00 | 4 | 12 | {100 + minute}.00 | {{"products":[1]}} | {instant(minute)}',
    )
    shop.observe(
        "bronze.order_products",
        "order_id | position | product_id | price | fetched_at\n"
        f" 1 | 1 | 7 | {100 + minute}.00 | {instant(minute)}",
    )


def test_an_open_finding_is_carried_over_if_nothing_affects_it(shop: Shop) -> None:
    """If no change affects a finding, it keeps its rows and its example."""
    sell_unknown(shop, 1)
    first = shop.publish()
    assert first.checks[UNKNOWN] == 1
    edit_other_order(shop, 2)
    assert shop.publish().checks == failures_in_full(shop)
    finding = read_findings(shop.lake)[UNKNOWN]
    assert (finding.state, finding.rows, finding.example) == ("new", 1, "product_id=99")


def test_a_finding_is_healed_by_a_table_outside_its_model(shop: Shop) -> None:
    """A finding heals if the missing product enters the catalogue while another order changes."""
    sell_unknown(shop, 1)
    shop.publish()
    edit_other_order(shop, 2)
    shop.observe("bronze.products", f"id | name | custom_fields | fetched_at\n 99 | Олія | [] | {instant(2)}")
    assert UNKNOWN not in shop.publish().checks
    assert failures_in_full(shop) == find_release(shop.lake, None).checks
    assert read_findings(shop.lake)[UNKNOWN].state == "healed"


def test_a_fault_outside_the_rebuilt_rows_is_found(shop: Shop) -> None:
    """If a product is deleted while another order changes, the old lines that sold it are checked."""
    edit_other_order(shop, 2)
    shop.observe("bronze.products", f"id | is_deleted | fetched_at\n 8 | true | {instant(2)}")
    assert shop.publish().checks[UNKNOWN] == failures_in_full(shop)[UNKNOWN] == 1


def test_a_corrected_order_heals_its_finding(shop: Shop) -> None:
    """A finding heals if the order has another line."""
    sell_unknown(shop, 1)
    shop.publish()
    edit_order(shop, minute=2)
    assert UNKNOWN not in shop.publish().checks
    assert failures_in_full(shop) == find_release(shop.lake, None).checks


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_fault_in_rebuilt_rows_is_found(shop: Shop, name: str, fault: str) -> None:
    """A check that passed in the release finds a fault in the rebuilt rows."""
    edit_order(shop, total="250.00")
    candidates = Build(shop.lake, ENGINE, RulesSettings(), shop.models).build_candidates()
    model = name.rpartition(".")[0]
    assert isinstance(candidates.tables[model].scope, Keys | Months)
    candidates.workspace.duckdb.execute(fault.format(built=scratch(BUILT, model)))
    found = {outcome.name: outcome for outcome in check_candidates(candidates, {})}
    assert (found[name].failures > 0, found[name].check.severity) == (True, "error")


def test_an_incremental_build_that_breaks_a_check_publishes_nothing(shop: Shop) -> None:
    """If the lines of an order are lost, nothing is published."""
    shown = shop.read()
    lose_lines(shop, 1)
    assert Build(shop.lake, ENGINE, RulesSettings(), shop.models).is_incremental
    with pytest.raises(CheckFailed, match=r"silver\.order_lines\.are_there: 1 row of 300\.00 ") as refused:
        shop.build()
    assert refused.value.exit_code == 3
    assert shop.read() == shown
    assert shop.releases() == [1]


def test_findings_of_a_refused_build_are_not_those_of_the_release(shop: Shop) -> None:
    """After a refused build changed a finding, the next build runs the check again on all rows."""
    sell_unknown(shop, 1)
    shop.publish()
    sell_unknown(shop, 2, 97, 98)
    lose_lines(shop, 2)
    with pytest.raises(CheckFailed, match="are_there"):
        shop.build()
    assert read_findings(shop.lake)[UNKNOWN].rows == 2
    sell_unknown(shop, 3)
    shop.observe("bronze.order_products", f"{SOLD} 3 | 1 | 8 | Тонік | 300.00 | {instant(2)}")
    assert {move.table for move in shop.publish().moved} == {"silver.orders"}
    finding = read_findings(shop.lake)[UNKNOWN]
    assert (finding.state, finding.rows, finding.example) == ("open", 1, "product_id=99")
