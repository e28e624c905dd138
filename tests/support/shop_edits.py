"""Changes to a shop under test, and comparisons of the shop with the lake."""

from datetime import timedelta
from decimal import Decimal
from functools import partial

import msgspec

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop
from ingest.sandbox.faults import Fault
from ingest.sandbox.running import RunningShop
from lake.delta.tables import open_table
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


def lake_orders(lake: Lake, engine: LakeSettings) -> dict[int, tuple[Decimal, int, int, Decimal]]:
    """Return every order of the lake: total, status, number of lines, pieces."""
    rows = open_session(lake, engine, None).execute(NEWEST).fetchall()
    return {row[0]: row[1:] for row in rows}


def shop_orders(shop: ThreadedShop) -> dict[int, tuple[Decimal, int, int, Decimal]]:
    """Return every order of the shop in the same form."""
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
    """Return the head version of every bronze table."""
    return {name: open_table(lake, name).version for name in lake.tables("bronze")}


def edit(shop: ThreadedShop, *changes: edits.Edit) -> None:
    """Apply changes to the shop now."""
    for change in changes:
        shop.call(partial(apply, change))


def apply(change: edits.Edit, running: RunningShop) -> None:
    """Apply one change to a running shop."""
    edits.apply(running.world, change)


def pass_time(shop: ThreadedShop, **span: float) -> None:
    """Let time pass in the shop."""
    shop.call(lambda running: running.world.advance(running.world.now + timedelta(**span)))


def add_fault(shop: ThreadedShop, **fault: object) -> None:
    """Add a fault to the shop's plan."""
    shop.call(lambda running: running.shop.plan.add(msgspec.convert(fault, Fault)))
