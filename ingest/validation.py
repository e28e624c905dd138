"""One shop day, CRM against lake, by order id. Reads both, writes nothing.

No filter of the CRM selects by ``ordered_at``. An order is created near its day, or
weeks before it (wholesale), so the CRM is asked for a wide span of creation and for
every order that the lake has on that day; the day is cut out here.

What the CRM shows is typed as an ingest would type it, so both sides are counted from
the same columns by the same query. Two orders are the same where the hash of their
content is: the lake's payload may have lost a person since.
"""

from collections.abc import Iterable, Set
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from ingest.client import Client
from ingest.entities import ORDERS, Entity
from ingest.observations import Seen, look, strip, type_rows
from ingest.paging import Walk
from ingest.progress import Watch
from ingest.protocol import GARBAGE
from ingest.schemas import LISTS
from ingest.windows import SECOND, Window
from lake.clock import SHOP
from lake.delta.table import open_table, table_exists
from lake.errors import IngestIncomplete, TableMissing
from lake.paths import Lake
from lake.query.session import Connection, connect, create_view
from lake.releases.release import Release, current_release
from lake.settings import LakeSettings

BEFORE, AFTER = timedelta(days=45), timedelta(days=7)
OWN = tuple(LISTS[ORDERS.table].columns)
COLUMNS = (*OWN, "payload_hash", "payload")
# What the figures are made of: it must be the same even where the hash is.
COUNTED = ("source_id", "status_id", "status_group_id", "grand_total", "ordered_at")
# The columns first, the payloads of the day's orders after: a large shop's do not fit into memory.
HELD = f"""
with newest as (
    select id, max(fetched_at) as fetched_at
    from bronze.orders
    group by id
)

select {", ".join(COLUMNS)}
from bronze.orders join newest using (id, fetched_at)
where not is_deleted and ordered_at >= $1 and ordered_at < $2
"""
TOTALS = "select count(*), coalesce(sum(grand_total), 0) from side"
# As silver.orders and gold.revenue_daily count: no excluded sources, no returns.
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
    """What was found: figures as rows (name, CRM, lake), and differences as rows (order id, what).

    ``orders`` are those of the day on either side.
    """

    figures: list[tuple[str, Any, Any]]
    differences: list[tuple[int, str]]
    orders: int

    @property
    def ids(self) -> str:
        """The orders that differ, as a command takes them."""
        return " ".join(str(found) for found, _ in self.differences)


class Side(msgspec.Struct, frozen=True):
    """The orders of the day on one side, in COLUMNS; ``refused`` says of some why they can't be typed.

    A refused order has its id and nothing else, so its money counts nowhere.
    """

    orders: pa.Table
    refused: dict[int, str] = {}

    @property
    def by_id(self) -> dict[int, dict[str, Any]]:
        """The orders' columns by their id."""
        return {row["id"]: row for row in self.orders.to_pylist()}


class Placed(msgspec.Struct, frozen=True):
    """When an order was placed: readable also where the rest of it is not."""

    ordered_at: datetime


placed_decoder = msgspec.json.Decoder(Placed)


async def run_validation(day: date, lake: Lake, *, client: Client, engine: LakeSettings) -> Report:
    """Compare the day. Raises IngestIncomplete where the CRM did not show all of it.

    Revenue is by the rules of the current release; without one there are no rules yet, and no revenue.
    """
    span = day_of(day)
    connection = connect(engine)
    held = read_held(lake, connection, *span)
    async with client:
        shown = await fetch_shown(client, *span, also=held.by_id)
    orders = len(shown.by_id.keys() | held.by_id.keys())
    return Report(figures(lake, connection, shown, held), differences(shown, held), orders)


def day_of(day: date) -> tuple[datetime, datetime]:
    """Return the first and the last second of a shop day. Pure."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=SHOP)
    following = day + timedelta(days=1)
    after = datetime(following.year, following.month, following.day, tzinfo=SHOP)
    return midnight.astimezone(UTC), after.astimezone(UTC) - SECOND


def read_held(lake: Lake, connection: Connection, since: datetime, until: datetime) -> Side:
    """Return the orders of the day as the lake holds them."""
    if not table_exists(lake, ORDERS.table):
        raise TableMissing(f"{lake.place}: nothing was ingested yet; run `just ingest full` first")
    connection.execute("create schema bronze")
    create_view(connection, ORDERS.table, open_table(lake, ORDERS.table))
    return Side(connection.sql(HELD, params=[since, until + SECOND]).to_arrow_table())


async def fetch_shown(client: Client, since: datetime, until: datetime, *, also: Iterable[int]) -> Side:
    """Return the orders of the day as the CRM shows them."""
    found: dict[int, Seen] = {}
    met: set[int] = set()
    wanted = set(also)

    async def keep(entity: Entity, rows: list[Seen]) -> None:
        for row in rows:
            if row.id is None:
                continue
            met.add(row.id)
            found.pop(row.id, None)
            if row.id in wanted or may_be_of(row.payload, since, until):
                found[row.id] = row

    walk = Walk(client, keep, Watch(budget=client.settings.requests_per_minute, bar=False))
    receipts = await walk.window(ORDERS, Window("created", since - BEFORE, until + AFTER))
    if short := [receipt for receipt in receipts if not receipt.complete]:
        raise IngestIncomplete(f"the CRM did not show all orders to compare: {short[0].reason}; try again")
    for missing in wanted - met:
        body, at = await client.fetch_one(ORDERS, missing)
        if body is not None:
            await keep(ORDERS, [look(ORDERS, body, at)])
    return typed(list(found.values()), since, until, held=wanted)


def may_be_of(payload: bytes, since: datetime, until: datetime) -> bool:
    """True unless the order says that it was placed on another day. Pure."""
    at = placed_at(payload)
    return at is None or since <= at < until + SECOND


def placed_at(payload: bytes) -> datetime | None:
    """Return when an order was placed; None where that can't be read as an instant. Pure."""
    try:
        at = placed_decoder.decode(payload).ordered_at
    except GARBAGE:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def typed(rows: list[Seen], since: datetime, until: datetime, *, held: Set[int]) -> Side:
    """Return the day's orders among the rows, as an ingest would type them. Pure.

    A refused one whose day can't be read is of this day where the lake has ``held`` it so.
    """
    found = type_rows(ORDERS, rows, run_id="")
    orders = found.tables[ORDERS.table].select(COLUMNS)
    is_of_day = pc.and_(
        pc.greater_equal(orders["ordered_at"], pa.scalar(since, orders["ordered_at"].type)),
        pc.less(orders["ordered_at"], pa.scalar(until + SECOND, orders["ordered_at"].type)),
    )
    payloads = {row.id: row.payload for row in rows}
    refused = {
        row["id"]: row["reason"]
        for row in found.rejected.to_pylist()
        if may_be_of(payloads[row["id"]], since, until)
        and (placed_at(payloads[row["id"]]) or row["id"] in held)
    }
    only_ids = pa.Table.from_pylist([{"id": order} for order in refused], schema=nullable(orders.schema))
    return Side(pa.concat_tables([orders.filter(is_of_day).cast(only_ids.schema), only_ids]), refused)


def nullable(schema: pa.Schema) -> pa.Schema:
    """Return the schema with columns that may all be empty. Pure."""
    return pa.schema([field.with_nullable(True) for field in schema])


def figures(lake: Lake, connection: Connection, shown: Side, held: Side) -> list[tuple[str, Any, Any]]:
    """Return the orders and the money of the day, each of the CRM and of the lake."""
    (orders, total), (held_orders, held_total) = both(connection, TOTALS, shown, held)
    found = [("orders", orders, held_orders), ("grand total, ₴", total, held_total)]
    release = current_release(lake)
    if release is None:
        return found
    open_rules(lake, connection, release)
    (revenue,), (held_revenue,) = both(connection, REVENUE, shown, held)
    return [*found, (f"revenue by the rules of release {release.release}, ₴", revenue, held_revenue)]


def both(connection: Connection, query: str, *sides: Side) -> list[tuple[Any, ...]]:
    """Return the one row that a query finds on each side."""
    found = []
    for side in sides:
        connection.register("side", side.orders)
        found.append(connection.execute(query).fetchall()[0])
        connection.unregister("side")
    return found


def open_rules(lake: Lake, connection: Connection, release: Release) -> None:
    """Let the connection see the rules that a release was built with."""
    connection.execute("create schema rules")
    for name in (f"rules.{rule}" for rule in RULES):
        create_view(connection, name, open_table(lake, name, release.tables[name]))


def differences(shown: Side, held: Side) -> list[tuple[int, str]]:
    """Return the orders that are not the same on both sides, and what differs. Pure."""
    theirs, ours = shown.by_id, held.by_id
    found = [
        (order, f"can't be typed: {shown.refused[order]}")
        if order in shown.refused
        else (order, difference(theirs.get(order), ours.get(order)))
        for order in sorted(theirs.keys() | ours.keys())
    ]
    return [(order, what) for order, what in found if what]


def difference(shown: dict[str, Any] | None, held: dict[str, Any] | None) -> str:
    """Return in which keys two looks at an order differ; empty where they don't. Pure."""
    if shown is None:
        return "not on this day in the CRM"
    if held is None:
        return "not on this day in the lake"
    if shown["payload_hash"] == held["payload_hash"]:
        return ", ".join(name for name in COUNTED if shown[name] != held[name])
    theirs, ours = contents(shown), contents(held)
    if theirs is None or ours is None:  # redacted, or no UTF-8: the columns say what they can
        return ", ".join(name for name in OWN if shown[name] != held[name]) or "something that is no column"
    return ", ".join(key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key))


def contents(order: dict[str, Any]) -> dict[str, Any] | None:
    """Return the content that an order's hash was made of; None where its payload is no longer that. Pure."""
    body = order["payload"].encode()
    if look(ORDERS, body, datetime.fromtimestamp(0, UTC)).hash != order["payload_hash"]:
        return None
    try:
        found = strip(ORDERS, msgspec.json.decode(body))
    except GARBAGE:
        return None
    return found if isinstance(found, dict) else None
