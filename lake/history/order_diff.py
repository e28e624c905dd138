"""Order diff: which orders moved the days between two releases, and what changed in each.

An order moved where its day, status, sales type, total or lines are others; a new name
of its buyer or manager is no such thing, and is only counted.
"""

from collections.abc import Collection
from datetime import date

import msgspec
import pyarrow as pa

from lake.history.diff import SIDES, Shown, compared, show_both
from lake.paths import Lake
from lake.query.quote import literal, literals
from lake.query.quote import name as quoted
from lake.query.session import fetch
from lake.releases.release import Release
from lake.releases.restores import refuse_left_out
from lake.settings import LakeSettings

ORDERS, LINES = "silver.orders", "silver.order_lines"
# What is told of by value; of all other columns only that they changed, but for the look itself.
TOLD = ("order_date", "status_id", "status_name", "sales_type", "is_return", "grand_total")
SILENT = ("id", "month", "observed_at")
LINE = "order_id, product_id, sold_name, quantity, price"
NO_LINES = (
    "select null::bigint as order_id, null::bigint as product_id, null::varchar as sold_name,"
    " null::decimal(18, 3) as quantity, null::decimal(18, 2) as price where false"
)
PAIRS = """
create temp table pairs as
with gone as (
    select {line} from only_before."silver.order_lines"
    except all
    select {line} from only_after."silver.order_lines"
),

come as (
    select {line} from only_after."silver.order_lines"
    except all
    select {line} from only_before."silver.order_lines"
),

either as (
    select '-' as sign, * from gone
    union all
    select '+' as sign, * from come
),

lines as (
    select
        order_id,
        list(
            sign || ' ' || rtrim(rtrim(quantity::varchar, '0'), '.') || ' × '
            || coalesce(sold_name, 'product ' || product_id, '?') || ' at '
            -- Unit prices may be finer than a kopeck; zeros beyond it say nothing.
            || regexp_replace(price::varchar, '(\\.\\d\\d)0+$', '\\1')
            order by sign desc, product_id, sold_name, price, quantity
        ) as lines,
    from either
    group by all
),

ids as (
    select id from only_before."silver.orders"
    union
    select id from only_after."silver.orders"
    union
    select order_id from lines
)

select
    i.id as order_id,
    case when a.id is null then 'gone' when b.id is null then 'new' else 'edited' end as change,
    b.order_date as date_before,
    a.order_date as date_after,
    nullif(concat_ws(' ', b.status_id, b.status_name), '') as status_before,
    nullif(concat_ws(' ', a.status_id, a.status_name), '') as status_after,
    b.sales_type as sales_type_before,
    a.sales_type as sales_type_after,
    b.grand_total as total_before,
    a.grand_total as total_after,
    (case when b.is_return then 0 else coalesce(b.grand_total, 0) end)::decimal(18, 2) as revenue_before,
    (case when a.is_return then 0 else coalesce(a.grand_total, 0) end)::decimal(18, 2) as revenue_after,
    coalesce(l.lines, []) as lines,
    case
        when a.id is null or b.id is null then []
        else list_filter([{others}]::varchar[], lambda name: name is not null)
    end as also,
    (
        a.id is null
        or b.id is null
        or a.order_date <> b.order_date
        or a.status_id <> b.status_id
        or a.sales_type <> b.sales_type
        or a.is_return <> b.is_return
        or a.grand_total <> b.grand_total
        or l.lines is not null
    ) as is_moved,
from ids as i
left join before."silver.orders" as b on b.id = i.id
left join after."silver.orders" as a on a.id = i.id
left join lines as l on l.order_id = i.id
where a.id is not null or b.id is not null
"""
MOVED = """
select * exclude (is_moved)
from pairs
where is_moved and {days}
order by coalesce(date_after, date_before), order_id
"""


class OrderMoves(msgspec.Struct, frozen=True):
    """The orders that moved, a row each, and how many others differ, but in nothing that is told.

    Columns: order_id, change (new, gone, edited), then date, status, sales_type, total and
    revenue, ``_before`` and ``_after`` each; ``lines``: those gone (-) and come (+); ``also``:
    the other columns that differ.
    """

    rows: pa.Table
    others: int


def order_moves(
    lake: Lake,
    settings: LakeSettings,
    before: Release,
    after: Release,
    *,
    days: Collection[date] | None = None,
) -> OrderMoves:
    """Return the orders that moved between two releases; ``days``: only those of these days, then or now.

    Raises UsageError where neither release shows orders, NoRelease for a release that a
    restored lake was not given.
    """
    for release in (before, after):
        refuse_left_out(lake, release)
    with compared(settings) as connection:
        shown = show_both(connection, lake, ORDERS, before, after)
        if LINES in before.tables or LINES in after.tables:
            show_both(connection, lake, LINES, before, after)
        else:
            for side in SIDES:
                connection.execute(f"create view {side}.{quoted(LINES)} as {NO_LINES}")
        connection.execute(PAIRS.format(line=LINE, others=differing(shown)))
        rows = fetch(connection, MOVED.format(days=within(days)))
        ((others,),) = connection.execute(
            f"select count(*) from pairs where not is_moved and len(also) > 0 and {within(days)}"
        ).fetchall()
    return OrderMoves(rows, others)


def differing(shown: Shown) -> str:
    """Return the SQL of the names of an order's other columns that differ."""
    return ", ".join(
        f"case when a.{quoted(column)} is distinct from b.{quoted(column)} then {literal(column)} end"
        for column in shown.columns
        if column not in TOLD + SILENT
    )


def within(days: Collection[date] | None) -> str:
    """Return the condition that leaves the orders of the days."""
    if days is None:
        return "true"
    listed = literals(sorted(days))
    return f"(date_before in ({listed}) or date_after in ({listed}))" if days else "false"
