"""Checks: each check finds the faults that it is made for."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from lake.errors import CheckFailed, ModelError
from lake.query.session import Connection, connect
from tests.support.built_lake import ENGINE, HISTORY, MODELS, Shop, change_model, instant
from tests.support.text_tables import make_given
from transform.build import Build
from transform.checks import UNIQUE, Outcome, checks_of, refuse_failures, run_check, run_checks
from transform.header import read_header
from transform.models import Check, Model
from transform.scope import Months
from transform.settings import RulesSettings
from transform.workspace import build_model

AGAIN = (
    "id | ordered_at | source_id | manager_id | buyer_id | status_id | grand_total | fetched_at\n"
    f" 9 | 2026-08-10 10:00 | 1 | 22 | 31 | 12 | 90.00 | {instant(1)}"
)
CHECKS = {f"{check.model}.{check.name}": check for model in MODELS for check in checks_of(model)}
OF_KEYS = [name for name in CHECKS if name.endswith(".key_is_unique")]
OF_NULLS = [
    (f"{model.name}.{column.name}_is_there", model.name, column.name)
    for model in MODELS
    for column in model.header.contract.columns
    if not column.nullable
]
# Rows that fill every table: two products twice in one order, another buyer, a cost, a status that ended.
GOOD = {
    **HISTORY,
    "bronze.orders": HISTORY["bronze.orders"]
    + """
        7  | 2026-07-04 10:00 | 4         | null       | 32       | 12        | 700.00 | {"products":[1,2]}
        8  | 2026-07-05 10:00 | 1         | 22         | null     | 12        | 800.00 | {"products":[1,2]}
        9  | 2026-07-05 10:00 | 1         | 22         | null     | 12        | -5.00  | {"products":[]}
    """,
    "bronze.order_products": HISTORY["bronze.order_products"]
    + """
        7        | 1        | 7          | Крем  | 100.00 | 100.00     | 1
        7        | 2        | 8          | Тонік | 600.00 | 600.00     | 1
        8        | 1        | 8          | Тонік | 700.00 | 700.00     | 1
        8        | 2        | 7          | Крем  | 100.00 | 100.00     | 1
    """,
    "bronze.expenses": """
        order_id | position | id | amount | expense_type_id | actual_currency | status
        2        | 1        | 91 | 27.30  | 5               | null            | null
        2        | 2        | 92 | 60.00  | 5               | UAH             | paid
        2        | 3        | 93 | 10.00  | 5               | USD             | canceled
    """,
    "bronze.rejected": "entity | id | reason | payload\n"
    ' orders | 10 | odd | {"grand_total": 7.00}\n orders | null | odd | {"grand_total": 8.00}',
    "bronze.buyers": HISTORY["bronze.buyers"] + "\n 32 | Марія",
    "bronze.offers": "id | product_id | quantity | in_reserve | purchased_price\n 70 | 7 | 5 | 1 | 40.00",
}
LEFT = """
insert into bronze.orders by name
select * replace (fetched_at - interval 1 hour as fetched_at, 19 as status_id) from bronze.orders where id = 8
"""
# No order is dated after its last change; it would be a preorder.
DATED = "update bronze.orders set updated_at = greatest(updated_at, ordered_at)"
COST = "update bronze.order_products set purchased_price = 40 where product_id = 7 and order_id in (1, 7)"
# Faults for each of the other checks, one for each way to fail.
FAULTS = [
    ("silver.orders.total_is_not_negative", "update silver.orders set grand_total = -0.01 where id = 1"),
    ("silver.orders.sales_type_is_known", "update silver.orders set sales_type = 'wholesale' where id = 1"),
    (
        "silver.orders.date_is_within_reason",
        "update silver.orders set order_date = '0206-06-01' where id = 1",
    ),
    (
        "silver.orders.date_is_within_reason",
        "update silver.orders set order_date = '2206-06-01' where id = 1",
    ),
    ("silver.orders.are_all_there", "delete from silver.orders where id = 5"),
    ("silver.orders.are_all_there", "update silver.orders set id = 99 where id = 5"),
    ("silver.orders.are_all_there", "update bronze.orders set is_deleted = true where id = 5"),
    ("silver.orders.are_all_there", "insert into rules.excluded_sources values (4)"),
    ("silver.orders.are_all_there", "delete from rules.excluded_sources"),
    (
        "silver.set_aside_orders.none_is_set_aside",
        "insert into silver.set_aside_orders from silver.set_aside_orders",
    ),
    (
        "silver.set_aside_orders.currencies_have_rates",
        "update silver.set_aside_orders set rule = 'currency_has_rate'",
    ),
    (
        "silver.set_aside_expenses.none_is_set_aside",
        "update silver.set_aside_expenses set is_canceled = false",
    ),
    (
        "silver.set_aside_expenses.currencies_have_rates",
        "update silver.set_aside_expenses set is_canceled = false",
    ),
    ("silver.orders.are_all_there", "delete from silver.set_aside_orders"),
    ("silver.excluded_orders.are_all_there", "delete from silver.set_aside_orders"),
    *[
        ("silver.orders.amounts_are_within_limits", f"update bronze.orders set {column} = 1 where id = 1")
        for column in ("products_total", "total_discount", "shipping_price")
    ],
    (
        "silver.order_lines.costs_are_within_limits",
        "update silver.order_lines set unit_cost = null where order_id = 1",
    ),
    *[
        ("silver.offers.values_are_within_limits", f"update bronze.offers set {column} = -100000001")
        for column in ("quantity", "in_reserve", "purchased_price")
    ],
    ("silver.orders.source_is_known", "update silver.orders set source_id = 77 where id = 1"),
    ("silver.orders.status_is_known", "update silver.orders set status_id = 77 where id = 1"),
    ("silver.orders.manager_is_known", "update silver.orders set manager_id = 77 where id = 2"),
    ("silver.orders.none_is_refused", "delete from silver.refused_orders"),
    ("silver.orders.none_is_refused", "delete from silver.unnamed_orders"),
    (
        "silver.order_lines.price_is_not_negative",
        "update silver.order_lines set price = -1 where order_id = 1",
    ),
    ("silver.order_lines.are_there", "delete from silver.order_lines where order_id = 2"),
    ("silver.order_lines.product_is_known", "update silver.order_lines set product_id = 77"),
    ("silver.order_expenses.type_is_known", "update silver.order_expenses set expense_type_id = 77"),
    ("silver.orders.buyer_is_known", "update silver.orders set buyer_id = 77 where id = 1"),
    ("silver.orders.day_has_come", "update silver.orders set ordered_at = '2099-01-01' where id = 1"),
    ("silver.products.category_is_known", "update silver.products set category_id = 77 where id = 7"),
    ("silver.categories.parent_is_known", "update silver.categories set parent_id = 77"),
    ("silver.categories.parent_is_known", "update silver.categories set parent_id = id"),
    ("silver.excluded_orders.are_all_there", "delete from silver.excluded_orders"),
    ("silver.excluded_orders.are_all_there", "update silver.excluded_orders set id = 99"),
    ("silver.excluded_orders.are_all_there", "update silver.excluded_orders set id = 5"),
    ("silver.customers.orders_are_purchases", "update silver.customers set orders_count = 9"),
    (
        "silver.customers.second_is_not_before_first",
        "update silver.customers set second_order_date = '2000-01-01'",
    ),
    (
        "silver.order_status_history.stay_goes_forward",
        "update silver.order_status_history set left_at = '2000-01-01'",
    ),
    (
        "silver.order_status_history.stay_ends_as_seen",
        "update silver.order_status_history set left_at = null",
    ),
    ("silver.order_status_history.stay_ends_as_seen", "update silver.order_status_history set until = null"),
    ("silver.offer_days.end_with_offers", "update silver.offer_days set quantity = quantity + 0.001"),
    ("silver.offer_days.end_with_offers", "delete from silver.offer_days"),
    ("silver.offer_days.end_with_offers", "delete from silver.offers"),
    ("silver.offer_costs.spans_are_of_days", "update silver.offer_costs set until_date = since_date"),
    ("silver.offer_costs.equal_days", "update silver.offer_costs set purchased_price = 41"),
    ("silver.offer_costs.equal_days", "delete from silver.offer_costs"),
    (
        "silver.offer_costs.equal_days",  # two prices for one day
        "insert into silver.offer_costs by name"
        " select * replace (date '2020-01-01' as since_date) from silver.offer_costs",
    ),
    ("silver.product_pairs.greater_id_is_other", "update silver.product_pairs set product_id = 99"),
    ("silver.product_pairs.equal_baskets", "update silver.product_pairs set orders_count = 9"),
    (
        "silver.product_pairs.equal_baskets",
        "delete from silver.product_pairs where product_id <> other_product_id",
    ),
    ("silver.product_pairs.equal_baskets", "update silver.product_pairs set order_month = '2020-01-01'"),
    ("gold.returns_daily.returns_are_orders", "update gold.returns_daily set returns_count = 9"),
    ("gold.returns_daily.returns_are_orders", "update gold.returns_daily set returns_count = -1"),
    ("gold.revenue_daily.equals_orders", "update gold.revenue_daily set revenue = revenue + 0.01"),
    ("gold.revenue_daily.equals_orders", "update gold.revenue_daily set orders_count = orders_count + 1"),
    ("gold.revenue_daily.equals_orders", "update gold.revenue_daily set sales_type = 'other'"),
    ("gold.revenue_daily.equals_orders", "delete from gold.revenue_daily where date = '2026-05-10'"),
    (
        "gold.revenue_daily.equals_orders",  # a row of zero revenue, which no sum shows
        "insert into gold.revenue_daily by name select * replace (date '2026-05-11' as date, 0 as revenue)"
        " from gold.revenue_daily limit 1",
    ),
    ("gold.product_daily.equals_lines", "update gold.product_daily set revenue = revenue + 0.05"),
    ("gold.product_daily.equals_lines", "update gold.product_daily set quantity = quantity + 0.001"),
    ("gold.product_daily.equals_lines", "update gold.product_daily set revenue = null"),
    ("gold.product_daily.equals_lines", "delete from gold.product_daily where date = '2026-05-10'"),
    (
        "gold.product_daily.equals_lines",
        "update gold.product_daily set date = '2026-05-11' where product_id = 7",
    ),
    ("gold.returns_daily.equals_orders", "update gold.returns_daily set returns_amount = 0.01"),
    ("gold.returns_daily.equals_orders", "update gold.returns_daily set returns_count = 1 - returns_count"),
    ("gold.returns_daily.equals_orders", "update gold.returns_daily set return_rate = 0.5"),
    ("gold.returns_daily.equals_orders", "delete from gold.returns_daily where date = '2026-05-10'"),
    ("gold.returns_daily.equals_orders", "update gold.returns_daily set sales_type = 'other'"),
    ("gold.revenue_daily.types_add_up", "update gold.revenue_daily set revenue = revenue + 0.01"),
    ("gold.revenue_daily.types_add_up", "update gold.revenue_daily set orders_count = orders_count + 1"),
    ("gold.revenue_daily.types_add_up", "delete from gold.revenue_daily where sales_type = 'b2b'"),
    *[
        (f"gold.{table}.equals_orders", f"{fault} where date = '2026-06-10'")
        for table in ("manager_daily", "promocode_daily")
        for fault in (
            f"update gold.{table} set revenue = revenue + 0.01",
            f"update gold.{table} set orders_count = orders_count + 1",
            f"update gold.{table} set date = '2026-06-09'",
            f"delete from gold.{table}",
        )
    ],
    ("gold.manager_daily.equals_orders", "update gold.manager_daily set manager_id = 7"),
    ("gold.promocode_daily.equals_orders", "update gold.promocode_daily set promocode = 'X'"),
    ("gold.promocode_daily.equals_orders", "update gold.promocode_daily set discount = 0.01"),
    *[
        (f"gold.{table}.{name}", f"{fault} where date = '2026-05-10'")
        for table in ("category_daily", "brand_daily")
        for name in ("equals_lines", "adds_up")
        for fault in (
            f"update gold.{table} set revenue = revenue + 0.02",
            f"update gold.{table} set quantity = quantity + 0.001",
            f"update gold.{table} set date = '2026-05-11'",
            f"delete from gold.{table}",
        )
    ],
    ("gold.category_daily.equals_lines", "update gold.category_daily set category_id = 6"),
    ("gold.brand_daily.equals_lines", "update gold.brand_daily set brand = 'X'"),
    ("gold.expenses_daily.equals_expenses", "update gold.expenses_daily set amount = amount + 0.01"),
    ("gold.expenses_daily.equals_expenses", "update gold.expenses_daily set expenses_count = 9"),
    ("gold.expenses_daily.equals_expenses", "update gold.expenses_daily set expense_type_id = 6"),
    ("gold.expenses_daily.equals_expenses", "delete from gold.expenses_daily"),
    ("gold.profit_daily.profit_is_what_is_left", "update gold.profit_daily set profit = profit + 0.01"),
    ("gold.profit_daily.equals_its_parts", "update gold.profit_daily set revenue = revenue + 0.01"),
    ("gold.profit_daily.equals_its_parts", "update gold.profit_daily set expenses = expenses + 0.01"),
    ("gold.profit_daily.equals_its_parts", "update gold.profit_daily set uncosted_revenue = 0"),
    ("gold.profit_daily.equals_its_parts", "delete from gold.profit_daily where date = '2026-05-10'"),
    ("gold.profit_daily.equals_its_parts", "update gold.profit_daily set date = '2026-05-11'"),
    ("gold.profit_daily.costs_are_of_lines", "update gold.profit_daily set cost = cost + 0.01"),
    ("gold.profit_daily.costs_are_of_lines", "update gold.profit_daily set cost = null"),
    ("gold.profit_daily.costs_are_of_lines", "update gold.profit_daily set costed_revenue = 0"),
    ("gold.profit_daily.costs_are_of_lines", "update gold.profit_daily set cost_coverage = 1"),
    ("gold.profit_daily.costs_are_of_lines", "update gold.profit_daily set cost_coverage = null"),
    ("gold.profit_daily.costs_are_of_lines", "update gold.profit_daily set sales_type = 'other'"),
    ("gold.customer_daily.buyer_type_is_known", "update gold.customer_daily set buyer_type = 'old'"),
    ("gold.customer_daily.buyers_are_of_orders", "update gold.customer_daily set buyers_count = 9"),
    (
        "gold.customer_daily.buyers_are_of_orders",
        "update gold.customer_daily set buyers_count = 0 where buyer_type = 'new'",
    ),
    (
        "gold.customer_daily.unknown_are_no_buyers",
        "update gold.customer_daily set buyers_count = 1 where buyer_type = 'unknown'",
    ),
    ("gold.customer_daily.adds_up", "update gold.customer_daily set revenue = revenue + 0.01"),
    ("gold.customer_daily.adds_up", "update gold.customer_daily set orders_count = orders_count + 1"),
    ("gold.customer_daily.adds_up", "delete from gold.customer_daily where buyer_type = 'unknown'"),
    ("gold.customer_daily.new_are_first", "update gold.customer_daily set buyer_type = 'new'"),
    ("gold.customer_daily.new_are_first", "update gold.customer_daily set buyer_type = 'returning'"),
    (
        "gold.customer_daily.new_are_first",  # bought earlier at an excluded source
        "update silver.excluded_orders set order_date = '2020-01-01'",
    ),
    ("gold.customer_cohorts.months_go_forward", "update gold.customer_cohorts set months_since = -1"),
    ("gold.customer_cohorts.buyers_are_of_cohort", "update gold.customer_cohorts set buyers_count = 9"),
    ("gold.customer_cohorts.buyers_are_of_cohort", "update gold.customer_cohorts set buyers_count = 0"),
    ("gold.customer_cohorts.add_up", "update gold.customer_cohorts set revenue = revenue + 0.01"),
    ("gold.customer_cohorts.add_up", "update gold.customer_cohorts set orders_count = orders_count + 1"),
    ("gold.customer_cohorts.add_up", "update gold.customer_cohorts set months_since = months_since + 1"),
    ("gold.customer_cohorts.add_up", "delete from gold.customer_cohorts where months_since = 0"),
    ("gold.customer_rfm.scores_are_fifths", "update gold.customer_rfm set recency_score = 0"),
    ("gold.customer_rfm.scores_are_fifths", "update gold.customer_rfm set monetary_score = 6"),
    ("gold.customer_rfm.recency_is_not_less", "update gold.customer_rfm set recency_days = -1"),
    ("gold.customer_rfm.who_is_here_ordered", "update gold.customer_rfm set frequency = 0"),
    ("gold.customer_rfm.equals_orders", "update gold.customer_rfm set frequency = frequency + 1"),
    ("gold.customer_rfm.equals_orders", "update gold.customer_rfm set monetary = monetary + 0.01"),
    ("gold.customer_rfm.equals_orders", "update gold.customer_rfm set last_order_date = date '2020-01-01'"),
    ("gold.customer_rfm.equals_orders", "delete from gold.customer_rfm where buyer_id = 31"),
    ("gold.customer_rfm.equals_orders", "update gold.customer_rfm set buyer_id = 99 where buyer_id = 31"),
    *[
        ("gold.customer_rfm.scores_follow", f"update gold.customer_rfm set {score} = 6 - {score}")
        for score in ("recency_score", "frequency_score", "monetary_score")
    ],
    ("gold.purchase_gaps.days_go_forward", "update gold.purchase_gaps set days = -1"),
    ("gold.purchase_gaps.equal_purchases", "update gold.purchase_gaps set days = days + 1"),
    ("gold.purchase_gaps.equal_purchases", "update gold.purchase_gaps set buyers_count = 9"),
    ("gold.purchase_gaps.equal_purchases", "update gold.purchase_gaps set first_month = '2020-01-01'"),
    ("gold.purchase_gaps.equal_purchases", "delete from gold.purchase_gaps where days is null"),
    ("gold.basket_pairs.counts_fit", "update gold.basket_pairs set both_count = 1"),
    ("gold.basket_pairs.counts_fit", "update gold.basket_pairs set other_count = 99"),
    ("gold.basket_pairs.pair_is_of_two", "update gold.basket_pairs set other_product_id = product_id"),
    ("gold.basket_pairs.equal_orders", "update gold.basket_pairs set both_count = both_count + 1"),
    ("gold.basket_pairs.equal_orders", "update gold.basket_pairs set product_count = product_count + 1"),
    ("gold.basket_pairs.equal_orders", "update gold.basket_pairs set other_count = other_count + 1"),
    *[
        ("gold.basket_pairs.ratios_follow", f"update gold.basket_pairs set {ratio} = {ratio} * 0.9")
        for ratio in ("support", "confidence", "other_confidence", "lift")
    ],
    ("gold.stock_daily.equals_looks", "update gold.stock_daily set quantity = quantity + 0.001"),
    ("gold.stock_daily.equals_looks", "update gold.stock_daily set reserve = null"),
    ("gold.stock_daily.equals_looks", "update gold.stock_daily set date = '2020-01-01'"),
    ("gold.stock_daily.equals_looks", "delete from gold.stock_daily"),
    ("gold.stock_daily.equals_looks", "update bronze.offers set is_deleted = true"),
    ("gold.stock_health.abc_is_known", "update gold.stock_health set abc = 'D'"),
    ("gold.stock_health.supply_is_not_negative", "update gold.stock_health set days_of_supply = -1"),
    ("gold.stock_health.equals_sales", "update gold.stock_health set sold_quantity = sold_quantity + 1"),
    ("gold.stock_health.equals_sales", "update gold.stock_health set quantity = quantity + 1"),
    ("gold.stock_health.equals_sales", "update gold.stock_health set offers_count = offers_count + 1"),
    ("gold.stock_health.equals_sales", "delete from gold.stock_health where product_id = 8"),
    ("gold.stock_health.classes_follow", "update gold.stock_health set abc = 'C'"),
    (
        "gold.stock_health.classes_follow",
        "update gold.stock_health set abc = if(abc = 'A', 'B', 'A')",
    ),
    ("gold.stock_health.classes_follow", "update gold.stock_health set abc = 'A'"),
    (
        "gold.order_status_times.hours_are_not_negative",
        "update gold.order_status_times set median_hours = -1",
    ),
    ("gold.order_status_times.longest_is_longest", "update gold.order_status_times set longest_hours = 99"),
    ("gold.order_status_times.equals_history", "update gold.order_status_times set stays_count = 9"),
    ("gold.order_status_times.equals_history", "update gold.order_status_times set status_id = 9"),
    ("gold.order_status_times.equals_history", "delete from gold.order_status_times"),
    ("gold.order_status_times.hours_fit", "update gold.order_status_times set hours = hours + 1"),
    ("gold.source_daily.adds_up", "update gold.source_daily set revenue = revenue + 0.01"),
    ("gold.source_daily.adds_up", "update gold.source_daily set orders_count = orders_count + 1"),
    ("gold.source_daily.adds_up", "delete from gold.source_daily where date = '2026-05-10'"),
    ("gold.source_daily.adds_up", "delete from gold.revenue_daily where date = '2026-05-10'"),
]


@pytest.fixture(scope="module")
def built() -> Connection:
    """Return a DuckDB with every model built from good rows."""
    connection = connect(ENGINE)
    make_given(connection, GOOD, RulesSettings(), MODELS)
    for more in (LEFT, DATED, COST):
        connection.execute(more)
    for model in MODELS:
        build_model(connection, model)
    return connection


@pytest.fixture
def faulty(built: Connection) -> Iterator[Connection]:
    """The same DuckDB; the faults that a test adds are rolled back after it."""
    built.execute("begin")
    yield built
    built.execute("rollback")


def test_good_rows_pass_every_check(built: Connection) -> None:
    """All checks pass on good rows, and every table has rows."""
    outcomes = run_checks(built, list(CHECKS.values()))
    # Two tables have rows only if something is odd.
    assert {outcome.name for outcome in outcomes if outcome.failures} == {
        "silver.set_aside_orders.none_is_set_aside",
        "silver.orders.none_is_refused",
    }
    for model in MODELS:
        assert built.execute(f"select count(*) from {model.name}").fetchall() > [(0,)], model.name


def test_every_check_has_a_planted_fault() -> None:
    """Every check is tested with at least one fault."""
    planted = {*OF_KEYS, *(name for name, _, _ in OF_NULLS), *(name for name, _ in FAULTS)}
    assert planted == CHECKS.keys()


@pytest.mark.parametrize("name", OF_KEYS)
def test_a_repeated_row_is_found(faulty: Connection, name: str) -> None:
    """The key check finds a repeated row in every table, even if its key has nulls."""
    check = CHECKS[name]
    faulty.execute(f"insert into {check.model} by name from {check.model} limit 1")
    outcome = run_check(faulty, check)
    assert (outcome.failures, outcome.check.severity) == (1, "error")
    assert "rows=2" in outcome.example


@pytest.mark.parametrize(("name", "model", "column"), OF_NULLS)
def test_a_missing_value_is_found(faulty: Connection, name: str, model: str, column: str) -> None:
    """A null is found in every column that may not be null."""
    faulty.execute(f"create or replace table {model} as select * replace (null as {column}) from {model}")
    ((rows,),) = faulty.execute(f"select count(*) from {model}").fetchall()
    outcome = run_check(faulty, CHECKS[name])
    assert (outcome.failures, outcome.check.severity) == (rows, "error")


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_planted_fault_is_found(faulty: Connection, name: str, fault: str) -> None:
    """Every fault of the list is found by its check."""
    faulty.execute(fault)
    outcome = run_check(faulty, CHECKS[name])
    assert outcome.failures >= 1
    assert outcome.example


def test_a_condition_that_is_null_fails(faulty: Connection) -> None:
    """A condition that is NULL for a row counts as a failure."""
    faulty.execute("update silver.orders set sales_type = null where id = 1")
    assert run_check(faulty, CHECKS["silver.orders.sales_type_is_known"]).example == "id=1"


def test_an_order_without_lines_passes_if_its_payload_has_none(faulty: Connection) -> None:
    """Orders with money and without products are valid."""
    faulty.execute("delete from silver.order_lines where order_id = 2")
    faulty.execute("""update bronze.orders set payload = '{"products":[]}' where id = 2""")
    assert run_check(faulty, CHECKS["silver.order_lines.are_there"]).failures == 0


def test_an_example_shows_instants(faulty: Connection) -> None:
    """The example of a failed check shows instants, such as those in the key of the status history."""
    faulty.execute(
        "insert into silver.order_status_history from silver.order_status_history where order_id = 3"
    )
    found = run_check(faulty, CHECKS["silver.order_status_history.key_is_unique"])
    assert found.example.startswith("order_id=3, since=2026-06-01 09:00:00")


def outcome(severity: str, failures: int) -> Outcome:
    """Return an outcome with a number of failures."""
    return Outcome(Check("is_fine", "gold.x", "all is fine", severity, ""), failures, "id=1")


def test_an_error_refuses_and_a_warning_is_logged() -> None:
    """The message describes the first failed check and counts the others."""
    with capture_logs() as logged:
        refuse_failures([outcome("warn", 7), outcome("error", 0)])
    assert [(entry["check"], entry["rows"]) for entry in logged] == [("gold.x.is_fine", 7)]
    message = (
        r"^gold\.x\.is_fine: 2 rows break «all is fine», the first is id=1 \(1 more check failed\); nothing"
    )
    with pytest.raises(CheckFailed, match=message):
        refuse_failures([outcome("warn", 1), outcome("error", 2), outcome("error", 3)])


@pytest.mark.parametrize("sql", ["select * from silver.nothing", "select 'x'::int as id", "selec"])
def test_a_check_that_cannot_run_is_an_error(built: Connection, sql: str) -> None:
    """A check whose SQL can't be run is reported in one line with its name."""
    with pytest.raises(ModelError, match=r"^gold\.x\.is_fine: the check can't be run: ") as refused:
        run_check(built, Check("is_fine", "gold.x", "all is fine", "warn", sql))
    assert "\n" not in str(refused.value)


def test_a_new_check_reads_all_rows(few: Shop) -> None:
    """A new check is an input of the build, so it runs on all rows even if nothing else changed."""
    never = Check(
        "is_never", "silver.orders", "no order is", "error", "select id from silver.orders", frozenset()
    )
    models = [
        msgspec.structs.replace(model, checks=(*model.checks, never))
        if model.name == "silver.orders"
        else model
        for model in few.models
    ]
    with pytest.raises(CheckFailed, match="is_never: 5 rows"):
        few.build(models=models)
    assert few.build() is None


def test_a_check_of_all_history_reads_all_rows(shop: Shop, tmp_path: Path) -> None:
    """A check of first purchases reads all rows, because it would pass on the rebuilt months alone."""
    (check,) = [check for check in CHECKS.values() if check.name == "new_are_first"]
    assert check.needs_all_rows
    (daily,) = [model for model in MODELS if model.name == check.model]
    first = "o.order_date = c.first_order_date"
    assert first in daily.sql
    sql = daily.sql.replace(first, f"({first} or o.order_date >= '2026-08-01')")
    broken = change_model(daily.name, sql, models=MODELS)
    other = shop.rebuilt_copy(tmp_path / "broken", models=broken)
    other.observe("bronze.orders", AGAIN)
    candidates = Build(other.lake, ENGINE, RulesSettings(), broken).build_candidates()
    assert candidates.tables[daily.name].scope == Months(frozenset({date(2026, 8, 1)}))
    with pytest.raises(CheckFailed, match=r"new_are_first: 1 row "):
        other.build(models=broken)


@pytest.mark.parametrize("name", [UNIQUE, "id_is_there", "is_fine"])
def test_two_checks_of_one_name_are_refused(name: str) -> None:
    """Two checks of one name are refused, because one of them would never run."""
    text = f"""/* grain = "g"
    key = ["id"]
    rebuild = "whole"
    columns = {{ id = "BIGINT" }}
    checks = {{ {name} = "id > 0" }} */ select 1::bigint as id"""
    header, sql = read_header(text, "silver.a")
    beside = (Check("is_fine", "silver.a", "it is", "error", "select 1"),)
    model = Model("silver.a", header, sql, frozenset(), beside)
    with pytest.raises(ModelError, match=rf"^silver\.a: two checks are named {name}; rename yours$"):
        checks_of(model)
