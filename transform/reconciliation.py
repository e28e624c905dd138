"""Resync: what was built, held against what the CRM showed, before any of it is committed.

The witness of a resync is compared with the candidate ``silver.orders``: the same ids, the
same count and money on every day of the shop, and each order in the very state that was
shown. Orders that bronze has a newer look at (a sync ran meanwhile) are compared by
that one. An order that bronze refused is left out and counted: its last good state
serves, as in every build.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from lake.errors import CheckFailed, UsageError
from lake.ledgers.completeness import has_witness, open_witnesses
from lake.ledgers.runs import Run, newest_run
from lake.paths import Lake
from lake.query.session import Connection, fetch, scan
from transform.build import Proposal

FIRST_IDS = 5
# Of an id: the last look of the run at it, the newest that bronze has, and by which it counts.
LOOKS = """
create table resync.looks as
with shown as (
    select
        id,
        max(fetched_at) as fetched_at,
        arg_max({{
            'total': grand_total,
            'at': ordered_at,
            'source': source_id,
            'status': status_id,
            'hash': payload_hash
        }}, fetched_at) as said
    from ({witnesses})
    where run_id = $run_id
    group by id
),

held as (
    select
        id,
        max(fetched_at) as fetched_at,
        arg_max({{
            'total': grand_total,
            'at': ordered_at,
            'source': source_id,
            'status': status_id,
            'hash': payload_hash
        }}, fetched_at) as said,
        arg_max(is_deleted, fetched_at) as is_deleted,
        arg_max(created_at, fetched_at) as created_at,
        arg_max(run_id, fetched_at) as run_id,
    from bronze.orders
    group by id
),

refused as (
    select distinct payload_hash as hash from bronze.rejected where entity = 'orders'
),

looks as (
    select
        id,
        shown.said as shown,
        held.said as held,
        held.is_deleted,
        case
            when
                held.fetched_at > shown.fetched_at
                or (shown.id is null and held.fetched_at >= $began_at and held.run_id <> $run_id)
                then 'newer'
            when refused.hash is not null and refused.hash is distinct from held.said.hash then 'refused'
            when shown.id is not null then 'shown'
            -- A tombstone has no created_at.
            when held.is_deleted or held.created_at between $since and $until then 'not shown'
        end as counts_by,
    from shown
    full join held using (id)
    left join refused on refused.hash = shown.said.hash
)

select
    id,
    counts_by,
    case counts_by when 'newer' then held when 'shown' then shown end as said,
    counts_by = 'shown' or (counts_by = 'newer' and not is_deleted) as is_there,
from looks
"""
SIDES = """
create table resync.expected as
select
    id,
    (said.at at time zone 'Europe/Kyiv')::date as day,
    said.total as total,
    said.status as status_id,
    said.hash as hash,
from resync.looks
where
    is_there
    and coalesce(said.source not in (select source_id from rules.excluded_sources), true);

create table resync.built as
select
    o.id,
    o.order_date as day,
    o.grand_total as total,
    o.status_id,
    b.payload_hash as hash,
from silver.orders as o
left join resync.looks as l on l.id = o.id
left join bronze.orders as b on b.id = o.id and b.fetched_at = o.observed_at
-- What nobody ever saw is none of the CRM's either.
where l.id is null or l.counts_by in ('newer', 'shown', 'not shown');
"""
SUMS = """
select
    (select count(*) from resync.expected) as orders_shown,
    (select coalesce(sum(total), 0)::decimal(38, 2) from resync.expected) as money_shown,
    (select count(distinct day) from resync.expected) as days,
    (select count(*) from resync.built) as orders_built,
    (select coalesce(sum(total), 0)::decimal(38, 2) from resync.built) as money_built,
    (select count(*) from resync.looks where counts_by = 'newer') as newer,
    (select count(*) from resync.looks where counts_by = 'refused') as refused
"""
DAYS = """
with expected as (
    select day, count(*) as orders, sum(total)::decimal(38, 2) as money
    from resync.expected
    group by day
),

built as (
    select day, count(*) as orders, sum(total)::decimal(38, 2) as money
    from resync.built
    group by day
)

select
    coalesce(e.day, b.day) as day,
    coalesce(e.orders, 0),
    coalesce(e.money, 0),
    coalesce(b.orders, 0),
    coalesce(b.money, 0),
    count(*) over () as days
from expected as e
full join built as b on b.day is not distinct from e.day
where e.orders is distinct from b.orders or e.money is distinct from b.money
order by day
limit 1
"""
IDS = """
select
    id,
    case
        when b.id is null then 'is not built'
        when e.id is null then 'is not in the CRM'
        when e.total is distinct from b.total
            then format('is {} there, {} built', coalesce(e.total::varchar, '?'), b.total::varchar)
        when e.day is distinct from b.day
            then format('is of {} there, of {} built', coalesce(e.day::varchar, '?'), b.day::varchar)
        else 'is built from another state'
    end as what,
    count(*) over () as orders
from resync.expected as e
full join resync.built as b using (id)
where
    b.id is null
    or e.id is null
    or e.total is distinct from b.total
    or e.day is distinct from b.day
    or e.status_id is distinct from b.status_id
    or e.hash is distinct from b.hash
order by id
limit $first
"""


class DayOff(msgspec.Struct, frozen=True):
    """The first shop day on which the CRM and what was built differ, and how many such days there are."""

    day: date | None
    orders_shown: int
    money_shown: Decimal
    orders_built: int
    money_built: Decimal
    days: int


class Comparison(msgspec.Struct, frozen=True):
    """What the CRM showed in a resync, and what was built of it.

    ``newer`` orders were compared by a later look of somebody else, ``refused`` ones not at all.
    """

    orders_shown: int
    money_shown: Decimal
    days: int
    orders_built: int
    money_built: Decimal
    newer: int
    refused: int
    day_off: DayOff | None
    orders_off: int
    first_off: tuple[tuple[int, str], ...]

    @property
    def agrees(self) -> bool:
        """True where nothing differs."""
        return not self.orders_off and self.day_off is None

    @property
    def line(self) -> str:
        """What was compared, in one line."""
        newer = f"; {self.newer:,} changed meanwhile, by their newer look" if self.newer else ""
        refused = f"; {self.refused:,} refused and left out, see bronze.rejected" if self.refused else ""
        return (
            f"as the CRM shows it: {self.orders_shown:,} orders of {self.days:,} days,"
            f" {self.money_shown:,.2f} ₴{newer}{refused}"
        )

    @property
    def fault(self) -> str:
        """How the two differ, in one line: amounts, the first day, the first orders."""
        day = self.day_off
        days = (
            f"; days that differ: {day.days}, the first {day.day} ({day.orders_shown} orders,"
            f" {day.money_shown:,.2f} ₴ there, {day.orders_built}, {day.money_built:,.2f} ₴ built)"
            if day
            else ""
        )
        ids = ", ".join(f"{found} {what}" for found, what in self.first_off)
        return (
            f"the CRM shows {self.orders_shown:,} orders, {self.money_shown:,.2f} ₴; built were"
            f" {self.orders_built:,}, {self.money_built:,.2f} ₴{days};"
            f" orders that differ: {self.orders_off}, {ids}"
            + (", …" if self.orders_off > len(self.first_off) else "")
        )


def compare(connection: Connection, lake: Lake, run: Run) -> Comparison:
    """Compare the candidates with the run's witness. Raises UsageError where that is gone."""
    since, until = span_of(run)
    witnesses = open_witnesses(lake)
    is_empty = not any(window.seen for window in run.windows if window.entity == "orders")
    if witnesses is None or not (is_empty or has_witness(witnesses, run.run_id)):
        raise UsageError(f"run {run.run_id}: what it saw is not kept any more; run `just resync`")
    facts = {"run_id": run.run_id, "began_at": run.started_at, "since": since, "until": until}
    connection.execute("create schema resync")
    connection.execute(LOOKS.format(witnesses=scan(connection, witnesses)), facts)
    connection.execute(SIDES)
    (sums,) = fetch(connection, SUMS).to_pylist()
    days = connection.execute(DAYS).fetchall()
    ids = connection.execute(IDS, {"first": FIRST_IDS}).fetchall()
    return Comparison(
        **sums,
        day_off=DayOff(*days[0]) if days else None,
        orders_off=ids[0][2] if ids else 0,
        first_off=tuple((found, what) for found, what, _ in ids),
    )


def refuse_difference(comparison: Comparison, proposal: Proposal) -> None:
    """Raise CheckFailed where what was built is not what the CRM shows."""
    if comparison.agrees:
        return
    runs = ", ".join(proposal.excluded_runs)
    without = f"; runs left out: {runs} (`just resume --include-run`)" if runs else ""
    raise CheckFailed(f"{comparison.fault}{without}; nothing was committed, the last release serves")


def witness_run(lake: Lake, run_id: str) -> Run:
    """Return the receipt of a resync that is whole. Raises UsageError."""
    run = newest_run(lake, lambda one: one.run_id == run_id)
    if run is None or run.kind != "resync" or run.verdict != "complete":
        found = f"it is {run.kind}, {run.verdict}" if run else "there is no such run"
        raise UsageError(f"run {run_id}: {found}; a complete resync is asked for, see `just resync`")
    return run


def span_of(run: Run) -> tuple[datetime, datetime]:
    """Return from when to when orders were created that the run read. Pure."""
    spans = [
        (window.since, window.until)
        for window in run.windows
        if window.entity == "orders" and window.by == "created" and window.since and window.until
    ]
    if not spans:  # a shop without orders
        return run.started_at, run.started_at
    return min(since for since, _ in spans), max(until for _, until in spans)


def reconciled_through(run: Run, comparison: Comparison) -> datetime | None:
    """Return the source's time when the run began; None where it was of a part of history. Pure."""
    if run.watermark is None or run.source_time is None or comparison.refused:
        return None
    return run.source_time - (run.finished_at - run.started_at)


def difference(proposal: Proposal) -> list[list[Any]]:
    """Return what would move, as rows: table, month, rows and money before and after, money moved. Pure."""
    return [
        [
            move.table,
            f"{move.month:%Y-%m}" if move.month else None,
            move.rows_before,
            move.rows_after,
            move.money_before,
            move.money_after,
            None if move.money_after is None else move.money_after - (move.money_before or Decimal()),
        ]
        for move in proposal.moved
    ]
