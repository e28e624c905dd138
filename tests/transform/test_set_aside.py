"""Set-aside orders: an odd record costs only itself, is named, and counts once the CRM corrects it."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from lake.errors import CheckFailed
from lake.ledgers.findings import read_findings
from lake.releases.release import find_release
from tests.support.built_lake import Shop, ingested_shop, instant
from transform.settings import Rate, RulesSettings

ORDER = (
    "id | ordered_at | source_id | buyer_id | status_id | grand_total | total_discount | payload"
    " | fetched_at\n"
)
LINE = "order_id | position | product_id | offer_id | price | purchased_price | quantity | fetched_at\n"
PAYLOAD = '{"products":[1]}'
NAMED = "silver.set_aside_orders.none_is_set_aside"
MOST, MOST_FINE, MOST_PIECES = "9999999999999999.99", "99999999999999.9999", "999999999999999.999"
# Odd orders: the day, the total, and the price, cost and quantity of the only line.
ODD = {
    "1970-01-01": ("1970-01-01 00:00", "10.00", "10.00", "null", "1"),
    "the last day of a date": ("9999-12-31 23:30", "10.00", "10.00", "null", "1"),
    "the first day of a date": ("0001-01-01 00:00", "10.00", "10.00", "null", "1"),
    "a negative total": ("2026-07-04 10:00", "-0.20", "10.00", "null", "1"),
    "the largest total": ("2026-07-04 10:00", MOST, "10.00", "null", "1"),
    "the least total": ("2026-07-04 10:00", f"-{MOST}", "10.00", "null", "1"),
    "a discount as a line": ("2026-07-04 10:00", "10.00", "-50.00", "null", "1"),
    "a barcode": ("2026-07-04 10:00", "10.00", "10.00", "null", "4820123456789"),
    "a negative barcode": ("2026-07-04 10:00", "10.00", "0.00", "null", "-4820123456789"),
    "the largest line": ("2026-07-04 10:00", "10.00", MOST_FINE, MOST_FINE, MOST_PIECES),
}
# Odd values that cost less than an order.
ODD_COSTS = ("482000000", MOST_FINE, f"-{MOST_FINE}")


def observe(shop: Shop, minute: int, values: tuple[str, ...], order: int = 9, discount: str = "0") -> None:
    """Observe an order with one line."""
    observe_all(shop, minute, {order: values}, {order: discount})


def observe_all(
    shop: Shop, minute: int, orders: dict[int, tuple[str, ...]], discounts: dict[int, str] | None = None
) -> None:
    """Observe orders with one line each, by id."""
    lines, heads = [], []
    for order, (day, total, price, cost, quantity) in orders.items():
        discount = (discounts or {}).get(order, "0")
        lines.append(f"{order} | 1 | 7 | 70 | {price} | {cost} | {quantity} | {instant(minute)}")
        heads.append(f"{order} | {day} | 1 | 31 | 12 | {total} | {discount} | {PAYLOAD} | {instant(minute)}")
    shop.observe("bronze.order_products", LINE + "\n".join(lines))
    shop.observe("bronze.orders", ORDER + "\n".join(heads))


def test_odd_orders_cost_only_themselves(shop: Shop, tmp_path: Path) -> None:
    """All kinds of odd orders are set aside in one build, in one first load, and come back once corrected."""
    before = shop.read()
    observe_all(shop, 1, dict(enumerate(ODD.values(), 100)))
    total = sum((Decimal(values[1]) for values in ODD.values()), Decimal())
    release = shop.publish()
    shown = shop.read()
    assert {row[0] for row in shown["silver.set_aside_orders"]} == {str(100 + at) for at in range(len(ODD))}
    moved = {move.table for move in release.moved}
    assert moved == {"silver.set_aside_orders", "silver.order_status_history", "gold.uncounted_records"}
    assert all(shown[name] == before[name] for name in shown.keys() - moved)
    finding = read_findings(shop.lake)[NAMED]
    assert (finding.severity, finding.rows, finding.amount) == ("warn", len(ODD), total)
    assert "orders=100 101 102 103" in finding.example
    assert shown == shop.rebuilt_copy(tmp_path / "first load").read()
    corrected = ("2026-07-05 10:00", "10.00", "10.00", "null", "1")
    observe_all(shop, 2, dict.fromkeys(range(100, 100 + len(ODD)), corrected))
    shop.publish()
    shown = shop.read()
    assert shown["silver.set_aside_orders"] == []
    assert len(shown["silver.orders"]) == len(before["silver.orders"]) + len(ODD)
    assert read_findings(shop.lake)[NAMED].state == "healed"
    assert shown == shop.rebuilt_copy(tmp_path / "corrected").read()


def test_an_order_in_the_numbers_becomes_odd(shop: Shop, tmp_path: Path) -> None:
    """An edit takes an order out of every table, and another brings it back."""
    first = shop.read()
    observe(shop, 1, ODD["a barcode"], order=2)
    assert shop.publish().checks == {NAMED: 1}
    shown = shop.read()
    for name in ("silver.orders", "silver.order_lines", "silver.order_expenses"):
        assert [row for row in first[name] if row[0] == "2"]
        assert not [row for row in shown[name] if row[0] == "2"]
    assert shown == shop.rebuilt_copy(tmp_path / "rebuilt").read()


def test_extreme_costs_stock_discounts_and_expenses_cost_only_themselves(shop: Shop, tmp_path: Path) -> None:
    """The order counts; its odd cost, discount or expense does not, and a finding names it."""
    for order, cost in enumerate(ODD_COSTS, 100):
        observe(shop, 1, ("2026-07-04 10:00", "10.00", "10.00", cost, "1"), order, discount=cost)
    # One line taken back, so that the known costs are no share of the day's revenue.
    observe(shop, 1, ("2026-07-06 10:00", "5.00", "95.00", "null", "-1"), 200)
    observe(shop, 1, ("2026-07-06 10:00", "5.00", "100.00", "10", "1"), 201)
    shop.observe(
        "bronze.expenses",
        "order_id | position | id | amount | expense_type_id | fetched_at\n"
        f"100 | 1 | 95 | {MOST_FINE} | 5 | {instant(1)}\n"
        f"100 | 2 | 96 | 7.00 | 5 | {instant(1)}",
    )
    offers = [
        f"{offer} | 7 | {quantity} | {quantity} | {cost} | {cost} | {instant(1)}"
        for offer, (quantity, cost) in enumerate(
            [
                ("999999999", "150"),
                (MOST_PIECES, MOST_FINE),
                (f"-{MOST_PIECES}", f"-{MOST_FINE}"),
                ("1", "482000000"),
            ]
            * 30,
            300,
        )
    ]
    columns = "id | product_id | quantity | in_reserve | purchased_price | price | fetched_at\n"
    shop.observe("bronze.offers", columns + "\n".join(offers))
    checks = shop.publish().checks
    assert checks == {
        "silver.order_lines.costs_are_within_limits": 3,
        "silver.orders.amounts_are_within_limits": 3,
        "silver.offers.values_are_within_limits": 120,
        "silver.set_aside_expenses.none_is_set_aside": 1,
    }
    shown = shop.read()
    assert shown == shop.rebuilt_copy(tmp_path / "rebuilt").read()
    [day] = [row for row in shown["gold.profit_daily"] if row[0] == "2026-07-04"]
    assert day[2:6] == ("30.00", "0.00", "7.00", "23.00")


def test_totals_at_the_limits_do_not_overflow(tmp_path: Path) -> None:
    """Orders at the largest allowed limits are added up exactly."""
    shop = ingested_shop(tmp_path / "lake", {})
    most = RulesSettings(largest_amount=10**10, largest_quantity=10**9)
    for order in range(1, 4):
        observe(shop, order, ("2026-07-04 10:00", "10000000000.00", "10000000000", "10000000000", "1"), order)
        observe(shop, order, ("2026-07-04 10:00", "1", "10", "10", "1000000000"), 10 + order)
    shop.publish(rules=most)
    [day] = shop.read()["gold.profit_daily"]
    assert day[2:6] == ("30000000003.00", "60000000000.00", "0.00", "-29999999997.00")


def test_odd_times_of_a_status_do_not_stop_a_build(shop: Shop, tmp_path: Path) -> None:
    """Times of status changes in any order, and times of no calendar, leave the hours within bounds."""
    times = ("2000-01-01", "2099-12-01", "2000-01-01", "2000-01-02", "2099-11-30", "9999-12-31", "0001-01-01")
    for minute, time in enumerate(times, 1):
        shop.observe(
            "bronze.orders",
            "id | ordered_at | source_id | status_id | grand_total | created_at | status_changed_at"
            f" | closed_at | fetched_at\n9 | 2026-07-04 10:00 | 1 | {12 + 7 * (minute % 2)} | 1"
            f" | {time} | {time} | {time} | {instant(minute)}",
        )
    shop.publish()
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()


def test_sources_in_another_currency_stay_apart_until_there_is_a_rate(few: Shop, tmp_path: Path) -> None:
    """A source that turns to dollars takes its orders of all months out; a dated rate brings some back."""
    few.observe("bronze.sources", f"id | name | currency_code | fetched_at\n1 | Інста | USD | {instant(1)}")
    release = few.publish()
    assert release.checks == {NAMED: 4, "silver.set_aside_orders.currencies_have_rates": 1}
    finding = read_findings(few.lake)["silver.set_aside_orders.currencies_have_rates"]
    assert finding.example == "source_id=1, currency=USD, orders=4, total=1400.00"
    assert release.money["silver.orders"] == Decimal("100.00")
    assert few.read() == few.rebuilt_copy(tmp_path / "apart").read()
    rules = RulesSettings(rates=(Rate("USD", Decimal("40.5"), date(2026, 7, 1)),))
    release = few.publish(rules=rules)
    assert release.checks[NAMED] == 2
    assert release.money["silver.orders"] == Decimal("100.00") + Decimal("40.5") * 900
    assert few.read() == few.rebuilt_copy(tmp_path / "rated", rules=rules).read()


def test_a_new_source_in_another_currency(few: Shop, tmp_path: Path) -> None:
    """An order may be observed before its source, whose currency then decides."""
    values = ("2026-07-04 10:00", "10.00", "10.00", "null", "1")
    observe(few, 1, values)
    few.observe(
        "bronze.orders",
        f"{ORDER}9 | 2026-07-04 10:00 | 8 | 31 | 12 | 10.00 | 0 | null | {instant(2)}",
    )
    assert NAMED not in few.publish().checks
    few.observe("bronze.sources", f"id | name | currency_code | fetched_at\n8 | Etsy | EUR | {instant(3)}")
    assert few.publish().checks[NAMED] == 1
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()


def test_many_odd_orders_are_refused(few: Shop) -> None:
    """If an edit would set more aside than the guard allows, nothing is published; a currency is a reason."""
    good = ("2026-07-04 10:00", "10.00", "10.00", "null", "1")
    observe_all(few, 1, dict.fromkeys(range(100, 200), good))
    few.publish()
    observe_all(few, 2, dict.fromkeys(range(100, 150), ODD["a negative total"]))
    with pytest.raises(CheckFailed, match=r"totals_hold"):
        few.build()
    assert find_release(few.lake, None).release == 2
    few.observe("bronze.sources", f"id | name | currency_code | fetched_at\n1 | Інста | USD | {instant(3)}")
    release = few.publish()
    assert release.rows["silver.orders"] == 1
    finding = read_findings(few.lake)["release.totals_hold"]
    assert finding.severity == "warn"
    assert finding.example.endswith("because the currency of a source changed")
