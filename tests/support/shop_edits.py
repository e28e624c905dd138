"""What the tests of the ingest do to a shop, and how they look at the lake."""

from datetime import timedelta
from decimal import Decimal
from functools import partial

import msgspec

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop
from ingest.sandbox.faults import Fault
from ingest.sandbox.running import RunningShop
from lake.delta.table import open_table
from lake.paths import Lake
from lake.query.session import open_session
from lake.settings import LakeSettings

NEWEST = """
select o.id, o.grand_total, o.status_id, count(l.position) as lines, coalesce(sum(l.quantity), 0) as pieces
from (from bronze.orders qualify row_number() over (partition by id order by fetched_at desc) = 1) as o
left join bronze.order_products as l on l.order_id = o.id and l.fetched_at = o.fetched_at
where not o.is_deleted
group by all
"""


def held(lake: Lake, engine: LakeSettings) -> dict[int, tuple[Decimal, int, int, Decimal]]:
    """Return every order as the lake holds it: total, status, lines, pieces."""
    rows = open_session(lake, engine, None).execute(NEWEST).fetchall()
    return {row[0]: row[1:] for row in rows}


def true(shop: ThreadedShop) -> dict[int, tuple[Decimal, int, int, Decimal]]:
    """Return every order as it is in the shop."""
    return {
        order.id: (
            Decimal(order.grand_total),
            order.status_id,
            len(order.lines),
            sum((Decimal(line.quantity) for line in order.lines), Decimal()),
        )
        for order in shop.call(lambda running: running.world.truth()).orders
        if not order.is_deleted
    }


def versions(lake: Lake) -> dict[str, int]:
    """Return the head of every bronze table."""
    return {name: open_table(lake, name).version for name in lake.tables("bronze")}


def edit(shop: ThreadedShop, *changes: edits.Edit) -> None:
    """Change something in the shop, now."""
    for change in changes:
        shop.call(partial(apply, change))


def apply(change: edits.Edit, running: RunningShop) -> None:
    """Apply one change to a running shop."""
    edits.apply(running.world, change)


def live(shop: ThreadedShop, **span: float) -> None:
    """Let time pass in the shop."""
    shop.call(lambda running: running.world.advance(running.world.now + timedelta(**span)))


def break_(shop: ThreadedShop, **fault: object) -> None:
    """Plan a fault."""
    shop.call(lambda running: running.shop.plan.add(msgspec.convert(fault, Fault)))
