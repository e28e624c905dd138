"""Cost of a release by the size of the shop: ``python -m tests.bench.releases [--orders N]…``.

Prints the times of rollback, opening, publishing and ``diff`` for a shop of each size; the
ratio of the largest shop to the smallest; and the ratio of ``diff`` to a DuckDB query that
compares the same two versions row by row. DuckDB generates the lakes: orders of three
years, some of them edited once.
"""

import logging
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import click
import duckdb
import msgspec
import structlog
from deltalake import write_deltalake

from lake.delta.parquet import GROUP, writer_properties
from lake.delta.tables import create_table, open_table
from lake.history.diff import day_moves
from lake.history.order_diff import order_moves
from lake.history.rollback import run_resume, run_rollback
from lake.paths import Lake
from lake.query.catalogue import publish
from lake.query.session import connect, fetch, open_session, scan
from lake.releases.asof import refuse_absent, refuse_unretained, resolve
from lake.releases.release import LEDGER, RELEASES, Release, current_release, find_release
from lake.releases.release import publish as publish_alone
from lake.releases.tags import write_tag
from lake.settings import LakeSettings
from tests.bench.maintenance import seconds
from transform.models import read_models

ENGINE = LakeSettings()
START, MONTHS = date(2023, 11, 1), 36
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ORDERS, DAILY, OBSERVATIONS = "silver.orders", "gold.revenue_daily", "bronze.orders"
LATER = NOW + timedelta(days=30)
EDITED = 300
# Releases of three months, if every sync publishes one.
SYNCS = 25_920
# Columns of the model, derived from the order's id.
ROWS = f"""
select
    i as id,
    1 + i % 5 as source_id,
    12 + i % 8 as status_id,
    i % 4 as status_group_id,
    i % 16000 as buyer_id,
    case i % 3 when 0 then 22 when 1 then 15 end as manager_id,
    'Source ' || i % 5 as source_name,
    'Status ' || i % 8 as status_name,
    'Manager ' || i % 3 as manager_name,
    'Buyer ' || i % 16000 as buyer_name,
    ['retail', 'b2b', 'other'][1 + i % 3] as sales_type,
    i % 8 = 7 as is_return,
    day as order_date,
    (hash(i) % 500000 / 100)::decimal(18, 2) as grand_total,
    day::timestamptz + interval 10 hour as ordered_at,
    date_trunc('month', day)::date as month,
from (select i, date '{START}' + (i * {MONTHS * 30} // $orders)::integer as day from range($orders) as r(i))
"""
PLAIN = """
select coalesce(b.order_date, a.order_date) as day, count(*), sum(a.grand_total), sum(b.grand_total)
from before as b
full outer join after as a on a.id = b.id
where a is distinct from b
group by all
"""


def make_shop(folder: str, orders: int) -> Lake:
    """Return a lake of ``orders`` orders with two releases; some orders are edited in the second."""
    lake = Lake(root=f"{folder}/{orders}")
    with connect(ENGINE) as connection:
        rows = f"select {columns()} from ({ROWS.replace('$orders', str(orders))})"
        write(connection, lake, ORDERS, rows)
        write(connection, lake, OBSERVATIONS, "select id, ordered_at as fetched_at, month from made", by=[])
        write_daily(connection, lake)
        publish(lake, next_release(lake))
        edit(connection, lake, orders)
        write_daily(connection, lake)
        publish(lake, next_release(lake))
    return lake


def columns() -> str:
    """Return the select list of the model's columns; a column that ROWS lacks is empty."""
    [model] = [model for model in read_models() if model.name == ORDERS]
    made = {name for name in schema_of(model.header.columns) if f"as {name}," in ROWS}
    return ", ".join(
        f"{name}::{kind} as {name}" if name in made else f"{filler(kind)} as {name}"
        for name, kind in schema_of(model.header.columns).items()
    )


def schema_of(declared: dict[str, str]) -> dict[str, str]:
    """Return DuckDB's type of each column, the partition column included."""
    return {**{name: kind.rstrip("?") for name, kind in declared.items()}, "month": "DATE"}


def filler(kind: str) -> str:
    """Return an SQL value of a type, for a column whose values do not matter."""
    return f"null::{kind}" if kind != "TIMESTAMPTZ" else "timestamptz '2026-01-01 00:00:00+00'"


def write(
    connection: duckdb.DuckDBPyConnection, lake: Lake, name: str, query: str, *, by: list[str] | None = None
) -> None:
    """Create a table of the query's rows. The rows of silver.orders also become DuckDB's table ``made``."""
    if name == ORDERS:
        connection.execute(f"create or replace table made as {query}")
        query = "from made"
    reader = connection.sql(query).to_arrow_reader(100_000)
    create_table(lake, name, reader.schema, partition_by=["month"] if by is None else by)
    write_deltalake(lake.uri(name), reader, mode="append", writer_properties=writer_properties(reader.schema))


def write_daily(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Create gold.revenue_daily from the orders in ``made``."""
    rows = fetch(
        connection,
        "select order_date as date, sales_type, sum(grand_total)::decimal(18,2) as revenue,"
        " count(*)::bigint as orders_count, month from made where not is_return group by all",
    )
    create_table(lake, DAILY, rows.schema, partition_by=["month"]).replace(rows)


def edit(connection: duckdb.DuckDBPyConnection, lake: Lake, orders: int) -> None:
    """Change the total of some orders of the last month, and replace its partition."""
    connection.execute(f"update made set grand_total = grand_total + 1 where id >= {orders - EDITED}")
    [months] = connection.execute(
        "select list(distinct month) from made where id >= $1", [orders - EDITED]
    ).fetchall()
    rows = connection.sql("from made where month in $1", params=[months[0]]).to_arrow_table()
    table = open_table(lake, ORDERS)
    table.replace(rows.cast(table.schema), months[0])


def next_release(lake: Lake) -> Release:
    """Return the next release, with the head version of each table."""
    parent = current_release(lake)
    return Release(
        release=parent.release + 1 if parent else 1,
        published_at=NOW + timedelta(hours=parent.release if parent else 0),
        kind="sync",
        parent=parent.release if parent else None,
        tables={name: open_table(lake, name).version for name in (ORDERS, DAILY)},
        consumed={OBSERVATIONS: open_table(lake, OBSERVATIONS).version},
    )


def roll_back(lake: Lake) -> None:
    """Roll back to the first release a month later, catalogue included, as the command does."""
    current, target = find_release(lake, None), resolve(lake, "first")
    refuse_unretained(lake, target, now=LATER, settings=ENGINE)
    refuse_absent(lake, target, current)
    run_rollback(lake, target, current=current, now=LATER, settings=ENGINE)


def fill_ledger(lake: Lake) -> None:
    """Append releases of three months of syncs to the ledger, all with the current release's tables."""
    current = find_release(lake, None)
    rows = [
        msgspec.structs.replace(
            current, release=current.release + number, parent=current.release + number - 1
        )
        for number in range(1, SYNCS + 1)
    ]
    table = open_table(lake, RELEASES)
    for first in range(0, SYNCS, GROUP):
        group = rows[first : first + GROUP]
        table.append(LEDGER.rows(group))


def time_rollback(lake: Lake) -> float:
    """Return the seconds of the shortest of seven rollbacks; each is undone before the next."""
    taken: list[float] = []
    for _ in range(7):
        began = time.perf_counter()
        roll_back(lake)
        taken.append(time.perf_counter() - began)
        run_resume(lake, now=LATER)
        second, current = find_release(lake, 2), find_release(lake, None)
        run_rollback(lake, second, current=current, now=NOW, settings=ENGINE)
        run_resume(lake, now=LATER)
    return min(taken)


def publish_next(lake: Lake, how: Callable[[Lake, Release], Release]) -> None:
    """Publish the current release's tables once more, as the next release."""
    current = find_release(lake, None)
    how(lake, msgspec.structs.replace(current, release=current.release + 1, parent=current.release))


def count_changed_days(lake: Lake, before: Release, after: Release) -> int:
    """Return the number of days on which orders differ, by reading both versions whole."""
    with connect(ENGINE) as connection:
        for side, release in (("before", before), ("after", after)):
            rows = scan(connection, open_table(lake, ORDERS, release.tables[ORDERS]))
            connection.execute(f"create view {side} as {rows}")
        return len(connection.execute(PLAIN).fetchall())


def figures(lake: Lake) -> dict[str, float]:
    """Return the seconds of each operation, the shortest of several runs."""
    first, second = find_release(lake, 1), find_release(lake, 2)
    write_tag(lake, first, "first", now=NOW)
    days = day_moves(lake, ENGINE, first, second, table=ORDERS)
    assert len(days) == count_changed_days(lake, first, second), "the two comparisons differ"
    assert order_moves(lake, ENGINE, first, second).rows.num_rows == EDITED
    timings = {
        "open a release (just sql)": seconds(lambda: open_session(lake, ENGINE, second).close()),
        "find it by time (as of)": seconds(lambda: resolve(lake, "2026-11-01T12:30Z")),
        "diff of orders": seconds(lambda: day_moves(lake, ENGINE, first, second, table=ORDERS), 5),
        "diff --orders": seconds(lambda: order_moves(lake, ENGINE, first, second), 5),
        "plain full outer join": seconds(lambda: count_changed_days(lake, first, second), 3),
        "publish": seconds(lambda: publish_next(lake, publish_alone)),
        "publish with catalogue": seconds(lambda: publish_next(lake, publish)),
    }
    timings["rollback with catalogue"] = time_rollback(lake)
    fill_ledger(lake)
    timings[f"the same, {SYNCS:,} releases"] = time_rollback(lake)
    return timings


@click.command()
@click.option("--orders", type=int, multiple=True, default=(50_000, 1_000_000), show_default=True)
def main(orders: tuple[int, ...]) -> None:
    """Make a lake of each size and print the cost of a release in it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        by_size = {}
        for count in sorted(orders):
            began = time.perf_counter()
            lake = make_shop(folder, count)
            print(f"{count:,} orders made in {time.perf_counter() - began:.1f} s", flush=True)
            by_size[count] = figures(lake)
    small, large = by_size[min(by_size)], by_size[max(by_size)]
    for name in small:
        each = "  ".join(f"{figure[name] * 1e3:9.1f} ms" for figure in by_size.values())
        print(f"{name:28}{each}   ratio {large[name] / small[name]:.2f}")
    for count, figure in by_size.items():
        times = figure["plain full outer join"] / figure["diff of orders"]
        print(f"diff of orders at {count:,}: {times:.1f} x as fast as a plain full outer join")


if __name__ == "__main__":
    main()
