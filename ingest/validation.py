"""One shop day, CRM against lake, by order id. Reads both, writes nothing.

No filter of the CRM selects by ``ordered_at``. An order is created near its day, or
weeks before it (wholesale), so the CRM is asked for a wide span of creation and for
every order that the lake has on that day; the day is cut out here.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from ingest.bronze import Seen, content, look
from ingest.client import Client
from ingest.entities import ORDERS, Entity
from ingest.progress import Watch
from ingest.walk import Walk
from ingest.windows import SECOND, Window
from lake.errors import IngestIncomplete, TableMissing
from lake.paths import Lake
from lake.session import Connection, connect, create_view
from lake.settings import LakeSettings
from lake.table import open_table, table_exists

KYIV = ZoneInfo("Europe/Kyiv")
BEFORE, AFTER = timedelta(days=45), timedelta(days=7)
HELD = """
with newest as (
    from bronze.orders
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select id, payload
from newest
where not is_deleted and ordered_at between $1 and $2
"""


class Report(msgspec.Struct, frozen=True):
    """What was found: figures as rows (name, CRM, lake), and differences as rows (order id, what)."""

    figures: list[tuple[str, Any, Any]]
    differences: list[tuple[int, str]]

    @property
    def ids(self) -> str:
        """The orders that differ, as a command takes them."""
        return " ".join(str(found) for found, _ in self.differences)


class Side(msgspec.Struct, frozen=True):
    """The orders of the day on one side: payloads by id."""

    payloads: dict[int, bytes]

    @property
    def total(self) -> Decimal:
        """The sum of their grand totals."""
        amounts = (amount_of(body) for body in self.payloads.values())
        return sum(amounts, Decimal())


class Placed(msgspec.Struct, frozen=True):
    """When an order was placed: readable also where the rest of it is not."""

    ordered_at: datetime
    grand_total: Any = None


placed_decoder = msgspec.json.Decoder(Placed, float_hook=Decimal)


async def run_validation(day: date, lake: Lake, *, client: Client, engine: LakeSettings) -> Report:
    """Compare the day. Raises IngestIncomplete where the CRM did not show all of it."""
    span = day_of(day)
    connection = connect(engine)
    held = read_held(lake, connection, *span)
    async with client:
        shown = await fetch_shown(client, *span, also=held.payloads)
    return compare(shown, held)


def day_of(day: date) -> tuple[datetime, datetime]:
    """Return the first and the last second of a shop day. Pure."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=KYIV)
    following = day + timedelta(days=1)
    after = datetime(following.year, following.month, following.day, tzinfo=KYIV)
    return midnight.astimezone(UTC), after.astimezone(UTC) - SECOND


def read_held(lake: Lake, connection: Connection, since: datetime, until: datetime) -> Side:
    """Return the orders of the day as the lake holds them."""
    if not table_exists(lake, "bronze.orders"):
        raise TableMissing(f"{lake.place}: nothing was ingested yet; run `just ingest full` first")
    connection.execute("create schema bronze")
    create_view(connection, "bronze.orders", open_table(lake, "bronze.orders"))
    rows = connection.execute(HELD, [since, until + SECOND]).fetchall()
    return Side(
        {found: payload.encode() for found, payload in rows if in_day(payload.encode(), since, until)}
    )


async def fetch_shown(client: Client, since: datetime, until: datetime, *, also: Iterable[int]) -> Side:
    """Return the orders of the day as the CRM shows them."""
    found: dict[int, bytes] = {}

    async def keep(entity: Entity, rows: list[Seen]) -> None:
        found.update({row.id: row.payload for row in rows if row.id is not None})

    walk = Walk(client, keep, Watch(budget=client.settings.requests_per_minute, bar=False))
    receipts = await walk.window(ORDERS, Window("created", since - BEFORE, until + AFTER))
    if short := [receipt for receipt in receipts if not receipt.complete]:
        raise IngestIncomplete(f"the CRM did not show all orders to compare: {short[0].reason}; try again")
    for missing in [order for order in also if order not in found]:
        body, _ = await client.fetch_one(ORDERS, missing)
        if body is not None:
            found[missing] = body
    return Side({order: body for order, body in found.items() if in_day(body, since, until)})


def in_day(payload: bytes, since: datetime, until: datetime) -> bool:
    """True where the order was placed on the day. Pure."""
    try:
        at = placed_decoder.decode(payload).ordered_at
    except msgspec.DecodeError:
        return False
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return since <= at < until + SECOND


def amount_of(payload: bytes) -> Decimal:
    """Return an order's total, 0 for one that is no amount: it is among the differences then. Pure."""
    try:
        return Decimal(str(placed_decoder.decode(payload).grand_total))
    except ArithmeticError:
        return Decimal()


def compare(shown: Side, held: Side) -> Report:
    """Return how the CRM's day and the lake's differ. Pure."""
    differences = [
        (found, difference(shown.payloads.get(found), held.payloads.get(found)))
        for found in sorted(shown.payloads.keys() | held.payloads.keys())
    ]
    return Report(
        figures=[
            ("orders", len(shown.payloads), len(held.payloads)),
            ("grand total, ₴", shown.total, held.total),
        ],
        differences=[(found, what) for found, what in differences if what],
    )


def difference(shown: bytes | None, held: bytes | None) -> str:
    """Return in which keys two payloads of an order differ; empty where they don't. Pure."""
    if shown is None:
        return "not on this day in the CRM"
    if held is None:
        return "not on this day in the lake"
    epoch = datetime.fromtimestamp(0, UTC)
    if look(ORDERS, shown, epoch).hash == look(ORDERS, held, epoch).hash:
        return ""
    ours, theirs = (content(ORDERS, msgspec.json.decode(body)) for body in (held, shown))
    return ", ".join(key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key))
