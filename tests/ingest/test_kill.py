"""kill -9 at any moment of any kind of run: the next run repairs the lake. A hundred kills in four tests."""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ingest.__main__ import ingest as ingest_command
from ingest.entities import ENTITIES
from ingest.full_load import read_full_load
from ingest.run import RunRequest
from ingest.run_kinds import LOAD_LIFETIME
from ingest.sandbox import edits
from ingest.sandbox.command import TEST_KEY, ThreadedShop, serving
from lake.cli.main import set_up_log
from lake.errors import IngestIncomplete
from lake.ledgers.runs import Run, watermark
from lake.paths import Lake
from lake.query.session import open_session
from lake.settings import LakeSettings
from tests.ingest.conftest import SMALL
from tests.support.forked_worker import ForkedWorker
from tests.support.running import environ_of
from tests.support.shop_edits import edit, lake_orders, pass_time, shop_orders

Ingest = Callable[..., Run]
KILLS = 25
FIRST_LOAD_KILLS = 4
FIRST, LAST = datetime(2024, 8, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
NAMED = (3, 4, 5, 300)
ALL_TIME = ("--from", "2024-08-01", "--to", "2027-01-01")
# The command to kill and the number of its requests: the kill comes after a random one of them.
KINDS = {
    "full": (("full",), 69),
    "incremental": (("incremental",), 14),
    "sweep": (("sweep", "--all"), 16),
    "window": (("window", *ALL_TIME), 24),
    "order": (("order", *map(str, NAMED)), 4),
}
# Orders whose lines or expenses with the order's own stamp are not as many as in its payload.
TORN = """
select o.id
from bronze.orders as o
left join (select order_id, fetched_at, count(*) as parts from bronze.order_products group by all) as l
    on l.order_id = o.id and l.fetched_at = o.fetched_at
left join (select order_id, fetched_at, count(*) as parts from bronze.expenses group by all) as e
    on e.order_id = o.id and e.fetched_at = o.fetched_at
where
    not o.is_deleted
    and (
        coalesce(l.parts, 0) <> json_array_length(o.payload, '$.products')
        or coalesce(e.parts, 0) <> json_array_length(o.payload, '$.expenses')
    )
"""
# Ids with two successive observations of equal content.
DOUBLED = """
select id
from (
    select id, payload_hash, lag(payload_hash) over (partition by id order by fetched_at) as before
    from bronze.{table}
)
where payload_hash = before
"""
HEADERS = tuple(entity.name for entity in ENTITIES)
# The content of each id's newest observation.
NEWEST = """
select id, payload_hash
from bronze.{table}
qualify row_number() over (partition by id order by fetched_at desc) = 1
"""


def work(command: tuple[str, ...], environ: dict[str, str]) -> None:
    """Run a command of the ingest in a process of its own."""
    os.environ.clear()
    os.environ.update(environ)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    set_up_log(debug=False)
    with suppress(IngestIncomplete):
        ingest_command.main(list(command), standalone_mode=False)


def kill_midway(
    command: tuple[str, ...],
    environ: dict[str, str],
    shop: ThreadedShop,
    dice: random.Random,
    worker: ForkedWorker,
) -> bool:
    """Start a run and kill it just after one of its requests; True if it was still running."""
    after, moment = dice.randrange(1, KINDS[command[0]][1] + 1), dice.uniform(0.0, 0.06)
    shop.call(lambda running: running.shop.tally.reset())

    def has_asked() -> bool:
        if shop.shop.shop.tally.counts().requests < after:
            return False
        time.sleep(moment)
        return True

    return worker.run(work, command, environ, kill_when=has_asked).is_killed


def check_whole(lake: Lake, engine: LakeSettings) -> None:
    """Fail if an order is torn or an observation is doubled."""
    session = open_session(lake, engine, None)
    assert session.execute(TORN).fetchall() == []
    for table in HEADERS:
        assert session.execute(DOUBLED.format(table=table)).fetchall() == [], table


@pytest.fixture
def shop() -> Iterator[ThreadedShop]:
    """A shop with 24 days and some 480 orders: a full load reads several windows of several pages."""
    with serving(msgspec.structs.replace(SMALL, days=24)) as running:
        yield running


@pytest.fixture(scope="module")
def worker() -> Iterator[ForkedWorker]:
    """A process whose children have nothing left to import."""
    opened = ForkedWorker("tests.ingest.test_kill")
    yield opened
    opened.close()


def newest(lake: Lake, engine: LakeSettings, table: str) -> set[tuple[int, str]]:
    """Return the id and the hash of each newest observation of a table."""
    rows = open_session(lake, engine, None).execute(NEWEST.format(table=table)).fetchall()
    return {(number, digest) for number, digest in rows}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_kills_leave_nothing_torn_doubled_or_lost(
    seed: int,
    ingest: Ingest,
    shop: ThreadedShop,
    lake: Lake,
    engine: LakeSettings,
    worker: ForkedWorker,
    tmp_path: Path,
) -> None:
    """If any kind of run is killed while the shop changes, one finished run of that kind is enough.

    In the end every table has the rows of a lake that was never disturbed.
    """
    dice = random.Random(20261123 + seed)
    environ = environ_of(lake, shop.url, KEYCRM_API_KEY=TEST_KEY, KEYLAKE_INGEST_ORDERS_PER_WINDOW="100")
    killed = dict.fromkeys(KINDS, 0)
    for number in range(4 * KILLS):
        if sum(killed.values()) >= KILLS and min(killed.values()) >= KILLS / 10:
            break
        kind = "full" if number < FIRST_LOAD_KILLS else list(KINDS)[(seed + number // 3) % len(KINDS)]
        if number % 2 == 0 and number:
            pass_time(shop, hours=8)
        edit(shop, *(edits.SetStatus(order_id, dice.choice((12, 19, 22)), bump=True) for order_id in NAMED))
        before = watermark(lake)
        killed[kind] += kill_midway(KINDS[kind][0], environ, shop, dice, worker)
        if number < FIRST_LOAD_KILLS or number % 3 < 2:
            continue  # the first load is killed four times in a row, the others up to three times
        now = shop.call(lambda running: running.world.now)
        read = (
            read_full_load(lake, now=now, lifetime=LOAD_LIFETIME).windows("orders") if kind == "full" else []
        )
        request = RunRequest(kind="orders", ids=NAMED) if kind == "order" else None
        if kind == "window":
            request = RunRequest(kind="window", since=FIRST, until=LAST)
        run = ingest(kind, request=request)
        assert run.verdict == "complete", (number, run.reason)
        again = {
            (one.since, one.until) for one in run.windows if (one.entity, one.by) == ("orders", "created")
        }
        assert not again & {(one.since, one.until) for one in read}, "complete windows are not read again"
        after = watermark(lake)
        assert before is None or (after and after >= before)
        ours, theirs = lake_orders(lake, engine), shop_orders(shop)
        seen = NAMED if kind == "order" else theirs.keys()
        assert {order_id: ours.get(order_id) for order_id in seen} == {
            order_id: theirs[order_id] for order_id in seen
        }, number
        if kind in ("full", "sweep"):
            assert ours == theirs, f"after kill {number + 1}"
    ingest("full")
    check_whole(lake, engine)
    assert all(kills >= KILLS / 10 for kills in killed.values()), killed
    undisturbed = Lake(root=str(tmp_path / "undisturbed"))
    worker.run(work, ("full",), environ_of(undisturbed, shop.url, KEYCRM_API_KEY=TEST_KEY))
    for table in HEADERS:
        assert not newest(undisturbed, engine, table) - newest(lake, engine, table), table
