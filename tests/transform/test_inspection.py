"""Inspection: a check that looks at a part finds what it would find everywhere."""

from lake.findings import read_findings
from lake.release import find_release
from tests.transform.shop import ENGINE, Shop, look
from tests.transform.test_build import edit_order
from transform.build import Build
from transform.inspection import inspect
from transform.settings import RulesSettings

UNKNOWN = "silver.order_lines.product_is_known"
SOLD = "order_id | position | product_id | name | price | fetched_at\n 2 | 1 | 99 | Олія | 200.00 | "
ORDER = "id | ordered_at | source_id | manager_id | status_id | grand_total | payload | fetched_at\n"


def sell_unknown(shop: Shop, minute: int) -> None:
    """Show that order 2 has a product that no catalogue has."""
    shop.see("bronze.order_products", SOLD + look(minute))
    shop.see(
        "bronze.orders",
        ORDER + f' 2 | 2026-06-10 10:00 | 1 | 22 | 12 | 200.00 | {{"products":[1]}} | {look(minute)}',
    )


def everywhere(shop: Shop) -> dict[str, int]:
    """Return what every check finds in a full build of what there is."""
    full = Build(shop.lake, ENGINE, RulesSettings(), shop.models, full=True).candidates()
    return {found.name: found.failures for found in inspect(full, {}) if found.failures}


def another_order(shop: Shop, minute: int) -> None:
    """Show order 1 with another total: a change that has nothing to do with the finding."""
    shop.see(
        "bronze.orders",
        "id | ordered_at | source_id | status_id | grand_total | payload | fetched_at\n"
        f' 1 | 2026-05-10 10:00 | 4 | 12 | {100 + minute}.00 | {{"products":[1]}} | {look(minute)}',
    )
    shop.see(
        "bronze.order_products",
        "order_id | position | product_id | price | fetched_at\n"
        f" 1 | 1 | 7 | {100 + minute}.00 | {look(minute)}",
    )


def test_a_standing_finding_stands_while_nothing_touches_it(shop: Shop) -> None:
    """It is told as it was, without another look at all of history."""
    sell_unknown(shop, 1)
    first = shop.published()
    assert first.checks[UNKNOWN] == 1
    another_order(shop, 2)
    assert shop.published().checks == everywhere(shop)
    finding = read_findings(shop.lake)[UNKNOWN]
    assert (finding.state, finding.rows, finding.example) == ("new", 1, "product_id=99")


def test_a_finding_is_healed_by_a_table_that_its_model_does_not_read(shop: Shop) -> None:
    """The product enters the catalogue while another order changes."""
    sell_unknown(shop, 1)
    shop.published()
    another_order(shop, 2)
    shop.see("bronze.products", f"id | name | custom_fields | fetched_at\n 99 | Олія | [] | {look(2)}")
    assert UNKNOWN not in shop.published().checks
    assert everywhere(shop) == find_release(shop.lake, None).checks
    assert read_findings(shop.lake)[UNKNOWN].state == "healed"


def test_a_fault_far_from_what_was_built_is_found(shop: Shop) -> None:
    """A product is gone while another order changes: the old lines that sold it are looked at."""
    another_order(shop, 2)
    shop.see("bronze.products", f"id | is_deleted | fetched_at\n 8 | true | {look(2)}")
    assert shop.published().checks[UNKNOWN] == everywhere(shop)[UNKNOWN] == 1


def test_a_finding_that_is_mended_where_it_was_is_healed(shop: Shop) -> None:
    """The order has another line by now."""
    sell_unknown(shop, 1)
    shop.published()
    edit_order(shop, minute=2)
    assert UNKNOWN not in shop.published().checks
    assert everywhere(shop) == find_release(shop.lake, None).checks
