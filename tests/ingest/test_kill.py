"""kill -9 at any moment of any kind of run: the next one makes the lake what it would have been."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable

from ingest.sandbox import edits
from ingest.sandbox.command import TEST_KEY, ThreadedShop
from lake.paths import Lake
from lake.runs import Run
from lake.session import open_session
from lake.settings import LakeSettings
from tests.ingest.shop import edit, held, live, true
from tests.running import environ_of

Ingest = Callable[..., Run]
KILLS = 100
KINDS = (
    ("incremental",),
    ("full",),
    ("sweep", "--all"),
    ("window", "--from", "2024-09-20", "--to", "2026-01-01"),
    ("order", "3", "4", "5", "600"),
)
# An order's lines carry its own stamp: as many as its payload says, or the order is not whole.
TORN = """
select o.id
from bronze.orders as o
left join bronze.order_products as l on l.order_id = o.id and l.fetched_at = o.fetched_at
where not o.is_deleted
group by o.id, o.fetched_at, o.payload
having count(l.position) <> json_array_length(o.payload, '$.products')
"""
# Two looks one after the other that show the same are one too many.
DOUBLED = """
select id
from (
    select id, payload_hash, lag(payload_hash) over (partition by id order by fetched_at) as before
    from bronze.orders
)
where payload_hash = before
"""


def change(shop: ThreadedShop, dice: random.Random) -> None:
    """Let a day pass, and somebody edit an old order in silence."""
    live(shop, days=1)
    edit(shop, edits.SetStatus(dice.choice(sorted(true(shop))), dice.choice((12, 19, 22)), bump=False))


def kill_midway(command: tuple[str, ...], environ: dict[str, str], seconds: float) -> bool:
    """Start a run and kill it after so many seconds; True where it was still running."""
    child = subprocess.Popen(
        [sys.executable, "-m", "ingest", *command],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.wait()
        return True
    return False


def test_a_hundred_kills_leave_nothing_torn_doubled_or_lost(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """At random moments, of every kind, on a shop that goes on living; also the very first load."""
    dice = random.Random(20261123)
    environ = environ_of(lake, shop.url, KEYCRM_API_KEY=TEST_KEY, KEYLAKE_INGEST_ORDERS_PER_WINDOW="200")
    killed = 0
    for number in range(KILLS):
        command = KINDS[number % len(KINDS)] if number > 5 else ("full",)
        killed += kill_midway(command, environ, dice.uniform(0.3, 1.2))
        if number % 4 == 3:
            session = open_session(lake, engine, None)
            assert session.execute(TORN).fetchall() == []
            ingest("sweep" if number > 12 else "full")
            assert held(lake, engine) == true(shop), f"after kill {number + 1}"
        if number % 3 == 0:
            change(shop, dice)
    session = open_session(lake, engine, None)
    assert session.execute(TORN).fetchall() == []
    assert session.execute(DOUBLED).fetchall() == []
    assert killed > KILLS / 3
