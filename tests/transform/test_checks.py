"""Checks: every fault a check is there for is planted, and caught."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from lake.errors import CheckFailed, ModelError
from lake.session import Connection, connect
from tests.models.tables import make_given
from tests.transform.shop import ENGINE, HISTORY, MODELS
from transform.checks import Outcome, checks_of, refuse, run_check, run_checks
from transform.models import Check
from transform.settings import RulesSettings
from transform.workspace import build_model

CHECKS = {f"{check.model}.{check.name}": check for model in MODELS for check in checks_of(model)}
OF_KEYS = [name for name in CHECKS if name.endswith(".key_is_unique")]
OF_NULLS = [
    (f"{model.name}.{column.name}_is_there", model.name, column.name)
    for model in MODELS
    for column in model.header.contract.columns
    if not column.nullable
]
# What makes each of the other checks fail, each way it can.
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
    ("silver.orders.source_is_known", "update silver.orders set source_id = 77 where id = 1"),
    ("silver.orders.status_is_known", "update silver.orders set status_id = 77 where id = 1"),
    ("silver.orders.manager_is_known", "update silver.orders set manager_id = 77 where id = 2"),
    (
        "silver.orders.none_is_refused",
        "create or replace table bronze.rejected as"
        " select 'orders' as entity, 1::bigint as id, 'odd' as reason,"
        " timestamptz '2090-01-01' as fetched_at",
    ),
    (
        "silver.order_lines.price_is_not_negative",
        "update silver.order_lines set price = -1 where order_id = 1",
    ),
    ("silver.order_lines.are_there", "delete from silver.order_lines where order_id = 2"),
    ("gold.returns_daily.returns_are_orders", "update gold.returns_daily set returns_count = 9"),
    ("gold.returns_daily.returns_are_orders", "update gold.returns_daily set returns_count = -1"),
    ("gold.revenue_daily.equals_orders", "update gold.revenue_daily set revenue = revenue + 0.01"),
    ("gold.revenue_daily.equals_orders", "update gold.revenue_daily set orders_count = orders_count + 1"),
    ("gold.revenue_daily.equals_orders", "update gold.revenue_daily set sales_type = 'other'"),
    ("gold.revenue_daily.equals_orders", "delete from gold.revenue_daily where date = '2026-05-10'"),
    (
        "gold.revenue_daily.equals_orders",  # a ghost of nothing: no sum would show it
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
    ("gold.source_daily.adds_up", "update gold.source_daily set revenue = revenue + 0.01"),
    ("gold.source_daily.adds_up", "update gold.source_daily set orders_count = orders_count + 1"),
    ("gold.source_daily.adds_up", "delete from gold.source_daily where date = '2026-05-10'"),
    ("gold.source_daily.adds_up", "delete from gold.revenue_daily where date = '2026-05-10'"),
]


@pytest.fixture(scope="module")
def built() -> Connection:
    """Every model, built of good rows."""
    connection = connect(ENGINE)
    make_given(connection, HISTORY, RulesSettings(), MODELS)
    for model in MODELS:
        build_model(connection, model)
    return connection


@pytest.fixture
def faulty(built: Connection) -> Iterator[Connection]:
    """The same; what a test plants is gone after it."""
    built.execute("begin")
    yield built
    built.execute("rollback")


def test_good_rows_break_nothing(built: Connection) -> None:
    """And there is something in every table, so that there is something to break."""
    assert [outcome for outcome in run_checks(built, list(CHECKS.values())) if outcome.failures] == []
    for model in MODELS:
        assert built.execute(f"select count(*) from {model.name}").fetchall() > [(0,)], model.name


def test_every_check_has_a_fault_that_is_planted() -> None:
    """A check that was never seen failing is none."""
    planted = {*OF_KEYS, *(name for name, _, _ in OF_NULLS), *(name for name, _ in FAULTS)}
    assert planted == CHECKS.keys()


@pytest.mark.parametrize("name", OF_KEYS)
def test_a_row_that_is_there_twice_is_caught(faulty: Connection, name: str) -> None:
    """In every table, whatever its key is made of, missing values too."""
    check = CHECKS[name]
    faulty.execute(f"insert into {check.model} by name from {check.model} limit 1")
    outcome = run_check(faulty, check)
    assert (outcome.failures, outcome.check.severity) == (1, "error")
    assert "rows=2" in outcome.example


@pytest.mark.parametrize(("name", "model", "column"), OF_NULLS)
def test_a_missing_value_is_caught(faulty: Connection, name: str, model: str, column: str) -> None:
    """In every column that promises one."""
    faulty.execute(f"create or replace table {model} as select * replace (null as {column}) from {model}")
    ((rows,),) = faulty.execute(f"select count(*) from {model}").fetchall()
    outcome = run_check(faulty, CHECKS[name])
    assert (outcome.failures, outcome.check.severity) == (rows, "error")


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_planted_fault_is_caught(faulty: Connection, name: str, fault: str) -> None:
    """Once for each way to go wrong."""
    faulty.execute(fault)
    outcome = run_check(faulty, CHECKS[name])
    assert outcome.failures >= 1
    assert outcome.example


def test_a_stated_fact_that_is_neither_true_nor_false_is_caught(faulty: Connection) -> None:
    """NULL must not pass for true."""
    faulty.execute("update silver.orders set sales_type = null where id = 1")
    assert run_check(faulty, CHECKS["silver.orders.sales_type_is_known"]).example == "id=1"


def test_an_order_without_lines_is_let_pass_where_its_payload_has_none(faulty: Connection) -> None:
    """Orders with money and no products do occur."""
    faulty.execute("delete from silver.order_lines where order_id = 2")
    faulty.execute("""update bronze.orders set payload = '{"products":[]}' where id = 2""")
    assert run_check(faulty, CHECKS["silver.order_lines.are_there"]).failures == 0


def test_instants_are_shown_in_what_a_check_found(faulty: Connection) -> None:
    """The key of a status's history has one."""
    faulty.execute(
        "insert into silver.order_status_history from silver.order_status_history where order_id = 3"
    )
    found = run_check(faulty, CHECKS["silver.order_status_history.key_is_unique"])
    assert found.example.startswith("order_id=3, since=2026-06-01 09:00:00")


def outcome(severity: str, failures: int) -> Outcome:
    """Return what a check found."""
    return Outcome(Check("is_fine", "gold.x", "all is fine", severity, ""), failures, "id=1")


def test_an_error_refuses_and_a_warning_is_logged() -> None:
    """The first is told, the others are counted."""
    with capture_logs() as logged:
        refuse([outcome("warn", 7), outcome("error", 0)])
    assert [(entry["check"], entry["rows"]) for entry in logged] == [("gold.x.is_fine", 7)]
    said = (
        r"^gold\.x\.is_fine: 2 rows break «all is fine», the first is id=1 \(1 more checks failed\); nothing"
    )
    with pytest.raises(CheckFailed, match=said):
        refuse([outcome("warn", 1), outcome("error", 2), outcome("error", 3)])


@pytest.mark.parametrize("sql", ["select * from silver.nothing", "select 'x'::int as id", "selec"])
def test_a_check_that_cannot_be_run_is_no_check_passed(built: Connection, sql: str) -> None:
    """One line, with the check's name."""
    with pytest.raises(ModelError, match=r"^gold\.x\.is_fine: the check can't be run: ") as refused:
        run_check(built, Check("is_fine", "gold.x", "all is fine", "warn", sql))
    assert "\n" not in str(refused.value)
