"""Validation of one shop day: CRM against lake, by order id. Reads both, writes nothing.

No filter of the CRM selects by ``ordered_at``. An order is created near its day, or weeks before
it (wholesale). So the CRM is asked for a wide span of creation time and for every order that the
lake has on that day; the day is selected here.

The CRM's orders are typed like those of an ingest, so one query counts both sides from the same
columns. Two orders are equal if the hashes of their content are: the lake's payload may have
been redacted by an erasure.
"""

from collections.abc import Iterable, Set
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from ingest.client import Client
from ingest.entities import ORDERS, Entity
from ingest.mending import DECODE_ERRORS
from ingest.observations import Observation, observe, strip
from ingest.paging import Pager
from ingest.progress import ProgressReporter
from ingest.schemas import LISTS
from ingest.typed_rows import type_rows
from ingest.windows import BEGINNING, SECOND, Window
from lake.clock import ZONE
from lake.delta.tables import open_table, table_exists
from lake.errors import IngestIncomplete, TableMissing
from lake.messages import counted
from lake.paths import Lake
from lake.query.session import Connection, connect, create_view
from lake.releases.release import Release, current_release
from lake.releases.released_table import open_released
from lake.settings import LakeSettings

# Span of creation time that is read around a day.
BEFORE, AFTER = timedelta(days=45), timedelta(days=7)
OWN_COLUMNS = tuple(LISTS[ORDERS.table].columns)
COLUMNS = (*OWN_COLUMNS, "payload_hash", "payload")
# Finds the newest observations first: the payloads of a large shop do not fit into memory.
DAY_ORDERS = f"""
with newest as (
    select id, max(fetched_at) as fetched_at
    from bronze.orders
    group by id
)

select {", ".join(COLUMNS)}
from bronze.orders join newest using (id, fetched_at)
where not is_deleted and ordered_at >= $1 and ordered_at < $2
"""
HASHES = """
select id, arg_max(payload_hash, fetched_at)
from bronze.orders
where id in (select unnest($1))
group by id
"""
# The instants, in microseconds since 1970, at which two days begin.
DAY_BOUNDS = "select epoch_us(timezone($1, $2::timestamp)), epoch_us(timezone($1, $3::timestamp))"
TOTALS = "select count(*), coalesce(sum(grand_total), 0) from side"
# Counted like silver.orders and gold.revenue_daily: without excluded sources and returns.
REVENUE = """
select coalesce(sum(grand_total), 0)
from side
where
    coalesce(source_id not in (select source_id from rules.excluded_sources), true)
    and not (
        status_id in (select status_id from rules.return_statuses)
        or coalesce(status_group_id in (select status_group_id from rules.return_status_groups), false)
    )
"""
RULES = ("excluded_sources", "return_statuses", "return_status_groups")


class Report(msgspec.Struct, frozen=True):
    """The result: figures as rows (name, CRM, lake), and differences as rows (order id, fields).

    ``orders`` is the number of the day's orders on either side. ``damaged`` are the differing orders whose
    content is the CRM's: their columns do not follow from it.
    """

    figures: list[tuple[str, Any, Any]]
    differences: list[tuple[int, str]]
    orders: int
    damaged: frozenset[int] = frozenset()

    @property
    def remedy(self) -> str:
        """The commands that copy the orders that differ."""
        changed = [order for order, _ in self.differences if order not in self.damaged]
        commands = [f"`{command_of(changed)}` copies them again"] if changed else []
        if self.damaged:
            commands.append(
                f"`{command_of(sorted(self.damaged))} --again` replaces"
                f" {counted(len(self.damaged), 'damaged row')}, whose columns do not follow from the payload"
            )
        return "; ".join(commands)


class Side(msgspec.Struct, frozen=True):
    """The orders of the day on one side, in COLUMNS; ``refused`` has the reason of each that can't be typed.

    Such an order has only its id, so its money is in no figure. ``hashes`` are the content hashes of the
    orders that were looked at, those of other days too.
    """

    orders: pa.Table
    refused: dict[int, str] = {}
    hashes: dict[int, str] = {}

    @property
    def by_id(self) -> dict[int, dict[str, Any]]:
        """The orders' columns by their id."""
        return {row["id"]: row for row in self.orders.to_pylist()}


class OrderTime(msgspec.Struct, frozen=True):
    """When an order was placed; readable even if other fields are not."""

    ordered_at: datetime


time_decoder = msgspec.json.Decoder(OrderTime)


async def run_validation(day: date, lake: Lake, *, client: Client, engine: LakeSettings) -> Report:
    """Compare the day. Raises IngestIncomplete if the CRM did not show all of it.

    Revenue follows the rules of the current release. If there is none, there are no rules yet and
    no revenue.
    """
    connection = connect(engine)
    span = day_of(connection, day)
    ours = read_lake(lake, connection, *span)
    async with client:
        theirs = await fetch_crm(client, *span, also=ours.by_id)
    orders = len(theirs.by_id.keys() | ours.by_id.keys())
    found = differences(theirs, ours)
    hashes = newest_hashes(connection, [order for order, _ in found])
    damaged = frozenset(order for order, _ in hashes.items() & theirs.hashes.items())
    return Report(figures(lake, connection, theirs, ours), found, orders, damaged)


def day_of(connection: Connection, day: date) -> tuple[datetime, datetime]:
    """Return the first and the last second of a shop day, by the time zones that gold is built with."""
    [bounds] = connection.execute(DAY_BOUNDS, [ZONE, day, day + timedelta(days=1)]).fetchall()
    since, after = (BEGINNING + timedelta(microseconds=bound) for bound in bounds)
    return since, after - SECOND


def read_lake(lake: Lake, connection: Connection, since: datetime, until: datetime) -> Side:
    """Return the orders of the day in the lake."""
    if not table_exists(lake, ORDERS.table):
        raise TableMissing(f"{lake.place}: nothing was ingested yet; run `just ingest full` first")
    connection.execute("create schema bronze")
    create_view(connection, ORDERS.table, open_table(lake, ORDERS.table))
    return Side(connection.sql(DAY_ORDERS, params=[since, until + SECOND]).to_arrow_table())


async def fetch_crm(client: Client, since: datetime, until: datetime, *, also: Iterable[int]) -> Side:
    """Return the orders of the day in the CRM; if one of ``also`` is not listed, it is fetched by id."""
    rows_by_id: dict[int, Observation] = {}
    listed: set[int] = set()
    wanted = set(also)

    async def keep(entity: Entity, rows: list[Observation]) -> None:
        for row in rows:
            if row.id is None:
                continue
            listed.add(row.id)
            rows_by_id.pop(row.id, None)
            if row.id in wanted or may_be_on_day(row.payload, since, until):
                rows_by_id[row.id] = row

    pager = Pager(client, keep, ProgressReporter(budget=client.settings.requests_per_minute, bar=False))
    receipts = await pager.fetch_window(ORDERS, Window("created", since - BEFORE, until + AFTER))
    if short := [receipt for receipt in receipts if not receipt.complete]:
        raise IngestIncomplete(f"the CRM did not show all orders to compare: {short[0].reason}; try again")
    for missing in wanted - listed:
        body, fetched_at = await client.fetch_object(ORDERS, missing)
        if body is not None:
            await keep(ORDERS, [observe(ORDERS, body, fetched_at)])
    return type_side(list(rows_by_id.values()), since, until, lake_ids=wanted)


def may_be_on_day(payload: bytes, since: datetime, until: datetime) -> bool:
    """True if the order was placed in the span, or if its time can't be read. Pure."""
    placed_at = order_time(payload)
    return placed_at is None or since <= placed_at < until + SECOND


def order_time(payload: bytes) -> datetime | None:
    """Return when an order was placed; None if its field is no readable instant. Pure."""
    try:
        placed_at = time_decoder.decode(payload).ordered_at
    except DECODE_ERRORS:
        return None
    return placed_at if placed_at.tzinfo else placed_at.replace(tzinfo=UTC)


def type_side(rows: list[Observation], since: datetime, until: datetime, *, lake_ids: Set[int]) -> Side:
    """Return the day's orders among the rows, typed like those of an ingest. Pure.

    If a rejected order has no readable time, it is on this day if it is one of ``lake_ids``.
    """
    typed = type_rows(ORDERS, rows, run_id="")
    orders = typed.tables[ORDERS.table].select(COLUMNS)
    is_of_day = pc.and_(
        pc.greater_equal(orders["ordered_at"], pa.scalar(since, orders["ordered_at"].type)),
        pc.less(orders["ordered_at"], pa.scalar(until + SECOND, orders["ordered_at"].type)),
    )
    payloads = {row.id: row.payload for row in rows}
    refused = {
        row["id"]: row["reason"]
        for row in typed.rejected.to_pylist()
        if may_be_on_day(payloads[row["id"]], since, until)
        and (order_time(payloads[row["id"]]) or row["id"] in lake_ids)
    }
    only_ids = pa.Table.from_pylist(
        [{"id": order} for order in refused], schema=nullable_schema(orders.schema)
    )
    hashes = {row.id: row.hash for row in rows if row.id is not None}
    return Side(pa.concat_tables([orders.filter(is_of_day).cast(only_ids.schema), only_ids]), refused, hashes)


def nullable_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with every column nullable. Pure."""
    return pa.schema([field.with_nullable(True) for field in schema])


def figures(lake: Lake, connection: Connection, theirs: Side, ours: Side) -> list[tuple[str, Any, Any]]:
    """Return the number and the money of the day's orders, in the CRM and in the lake."""
    (orders, total), (our_orders, our_total) = query_sides(connection, TOTALS, theirs, ours)
    rows = [("orders", orders, our_orders), ("grand total", total, our_total)]
    release = current_release(lake)
    if release is None:
        return rows
    open_rules(lake, connection, release)
    (revenue,), (our_revenue,) = query_sides(connection, REVENUE, theirs, ours)
    return [*rows, (f"revenue by the rules of release {release.release}", revenue, our_revenue)]


def command_of(orders: Iterable[int]) -> str:
    """Return the command that copies orders by their ids. Pure."""
    return f"just ingest order {' '.join(map(str, orders))}"


def query_sides(connection: Connection, query: str, *sides: Side) -> list[tuple[Any, ...]]:
    """Return the one row of a query over each side."""
    rows = []
    for side in sides:
        connection.register("side", side.orders)
        rows.append(connection.execute(query).fetchall()[0])
        connection.unregister("side")
    return rows


def open_rules(lake: Lake, connection: Connection, release: Release) -> None:
    """Create views of the rules that a release was built with."""
    connection.execute("create schema rules")
    for name in (f"rules.{rule}" for rule in RULES):
        create_view(connection, name, open_released(lake, release, name))


def differences(crm: Side, lake: Side) -> list[tuple[int, str]]:
    """Return the orders that differ between the sides, and the fields that do. Pure."""
    theirs, ours = crm.by_id, lake.by_id
    results = [
        (order, f"can't be typed: {crm.refused[order]}")
        if order in crm.refused
        else (order, difference(theirs.get(order), ours.get(order)))
        for order in sorted(theirs.keys() | ours.keys())
    ]
    return [(order, fields) for order, fields in results if fields]


def newest_hashes(connection: Connection, orders: list[int]) -> dict[int, str]:
    """Return the content hash of each order's newest observation in the lake, whatever its day."""
    return dict(connection.execute(HASHES, [orders]).fetchall())


def difference(crm: dict[str, Any] | None, lake: dict[str, Any] | None) -> str:
    """Return the fields in which two observations of an order differ; empty if none does. Pure."""
    if crm is None:
        return "not on this day in the CRM"
    if lake is None:
        return "not on this day in the lake"
    if crm["payload_hash"] == lake["payload_hash"]:
        return ", ".join(name for name in OWN_COLUMNS if crm[name] != lake[name])
    theirs, ours = contents(crm), contents(lake)
    if theirs is None or ours is None:  # redacted, or no UTF-8: compare the columns
        names = [name for name in OWN_COLUMNS if crm[name] != lake[name]]
        return ", ".join(names) or "something that is no column"
    return ", ".join(key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key))


def contents(order: dict[str, Any]) -> dict[str, Any] | None:
    """Return the content behind an order's hash; None if its payload has been redacted since. Pure."""
    body = order["payload"].encode()
    if observe(ORDERS, body, datetime.fromtimestamp(0, UTC)).hash != order["payload_hash"]:
        return None
    try:
        content = strip(ORDERS, msgspec.json.decode(body))
    except DECODE_ERRORS:
        return None
    return content if isinstance(content, dict) else None
