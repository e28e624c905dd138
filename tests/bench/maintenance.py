"""Effect of maintenance: ``python -m tests.bench.maintenance [--files N] [--month] [--syncs N]``.

Prints ratios within one run: the time of reads before and after compaction, and the ratio
of all bytes to live bytes in a lake after a month of syncs and scheduled maintenance. The
last days can be as busy as with a real schedule (``--busy-days``): a sync every five
minutes and maintenance every hour. The other days may have fewer syncs, because only the
last release of an older day is retained.
"""

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from unittest.mock import patch

import click
import msgspec
import structlog

from ingest.budget import Budget
from ingest.client import Client
from ingest.limiter import Limiter
from ingest.progress import ProgressReporter
from ingest.run import RunRequest, run_sync
from ingest.sandbox.command import TEST_KEY, ThreadedShop, serving
from ingest.sandbox.settings import Sandbox
from ingest.settings import IngestSettings, SourceSettings
from lake.clock import shop_day, shop_zone
from lake.delta.tables import open_table
from lake.ledgers.runs import last_runs
from lake.maintenance.compaction import compact
from lake.maintenance.vacuum import Size, maintain, sizes
from lake.paths import Lake
from lake.query.session import connect, create_view
from lake.releases.release import list_releases
from lake.settings import LakeSettings
from serve.schedule import BEFORE_THE_HOUR
from tests.support.shop_edits import pass_time
from tests.support.simulated_lake import BRONZE, Simulated
from transform.build import BuildRequest, run_build
from transform.models import read_models
from transform.settings import RulesSettings

NEWEST = """
select count(*), max(text)
from (from b qualify row_number() over (partition by id order by fetched_at desc) = 1)
"""
ENGINE = LakeSettings()
HOUR = timedelta(hours=1)
# Start of the scheduled maintenance within an hour.
UPKEEP = HOUR - timedelta(seconds=BEFORE_THE_HOUR)
# Syncs per day above which maintenance runs every hour.
BUSY = 24


def seconds(work: Callable[[], object], times: int = 7) -> float:
    """Return the seconds of the shortest of ``times`` runs."""
    durations: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return min(durations)


def read_newest_state(lake: Lake) -> None:
    """Open bronze at its head version and read the newest state of every id."""
    session = connect(ENGINE)
    create_view(session, "b", open_table(lake, BRONZE))
    session.execute(NEWEST).fetchone()


def small_files(files: int) -> None:
    """Print the time of reads with many small files, and after compaction."""
    with tempfile.TemporaryDirectory() as folder:
        simulated = Simulated(Lake(root=folder + "/lake"), now=datetime(2026, 9, 1, tzinfo=UTC))
        simulated.start()
        for id in range(files):
            simulated.look([id])
        reads = {
            "newest state of bronze": lambda: read_newest_state(simulated.lake),
            "last runs": lambda: last_runs(simulated.lake),
        }
        before = {name: seconds(read) for name, read in reads.items()}
        began = time.perf_counter()
        compact(simulated.lake, now=simulated.now + timedelta(days=1))
        took = time.perf_counter() - began
        print(f"{files} small files in bronze and in the ledger of runs, compacted in {took:.2f} s")
        for name, read in reads.items():
            after = seconds(read)
            times = before[name] / after
            print(f"  {name:24} {before[name] * 1e3:7.1f} ms -> {after * 1e3:6.1f} ms = {times:.1f} x")


class Later(datetime):
    """A clock that is ahead of the real one by ``by``."""

    by = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Later":
        """Return the time of this clock."""
        return super().now(tz) + cls.by


def sync(shop: ThreadedShop, lake: Lake, kind: str, budget: Path) -> None:
    """Run one ingest and one build."""
    source = SourceSettings(base_url=shop.url, requests_per_minute=100_000)
    asyncio.run(
        run_sync(
            msgspec.convert({"kind": kind}, RunRequest),
            lake,
            client=Client(source, key=TEST_KEY, limiter=Limiter(Budget(budget, requests=100_000))),
            settings=IngestSettings(),
            engine=ENGINE,
            progress=ProgressReporter(budget=100_000, bar=False),
        )
    )
    run_build(lake, BuildRequest(engine=ENGINE, rules=RulesSettings(), models=read_models()))


class Ageing:
    """Dates new files of a folder by the shifted clock, because retention depends on the age of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[Path] = set()

    def age(self) -> None:
        """Shift the modification time of every file written since the last call."""
        for path in self._folder.rglob("*"):
            if path.is_file() and path not in self._known:
                self._known.add(path)
                written = path.stat().st_mtime + Later.by.total_seconds()
                os.utime(path, (written, written))


def month_of_syncs(syncs: Sequence[int], engine: LakeSettings) -> None:
    """Print the size of a lake after days with these numbers of syncs."""
    settings = Sandbox(port=0, days=700, day_seconds=0, requests_per_minute=0)
    with (
        serving(settings) as shop,
        tempfile.TemporaryDirectory() as folder,
        patch("ingest.client.datetime", Later),
        patch("transform.build.datetime", Later),
    ):
        lake, budget = Lake(root=folder + "/lake"), Path(folder) / "budget"
        ageing = Ageing(Path(lake.root))
        midnight = datetime.combine(
            shop_day(datetime.now(UTC)) + timedelta(days=1), datetime.min.time(), shop_zone()
        )
        set_clock(midnight)
        sync(shop, lake, "full", budget)
        largest = 0.0
        for day, times in enumerate(syncs):
            for moment in moments(times):
                set_clock(midnight + timedelta(days=day) + moment)
                if moment % HOUR == UPKEEP:
                    largest = max(largest, share(lake, engine)) if times > BUSY else 0.0
                    maintain(lake, engine, now=Later.now(UTC))
                else:
                    pass_time(shop, days=1 / times)
                    sync(shop, lake, "incremental", budget)
                ageing.age()
        print(f"largest total / live of the last busy days {largest:.2f}")
        print_sizes(lake, engine, f"{len(syncs)} days, the last of {syncs[-1]} syncs")
        for hours in range(1, engine.keep_all_hours + 3):
            set_clock(midnight + timedelta(days=len(syncs), hours=hours) - HOUR + UPKEEP)
            maintain(lake, engine, now=Later.now(UTC))
            ageing.age()
        print_sizes(lake, engine, "after a night without orders")


def set_clock(moment: datetime) -> None:
    """Set the clock to a time."""
    Later.by = moment - datetime.now(UTC)


def moments(syncs: int) -> list[timedelta]:
    """Return the times of day of syncs and maintenance; if a day is not busy, maintenance runs at its end."""
    between = timedelta(days=1) / syncs
    upkeep = [UPKEEP + hour * HOUR for hour in (range(24) if syncs > BUSY else [23])]
    return sorted([*(between * number + between / 2 for number in range(syncs)), *upkeep])


def share(lake: Lake, engine: LakeSettings) -> float:
    """Return the ratio of all bytes to live bytes."""
    tables = sizes(lake, engine, now=Later.now(UTC))
    return sum(size.total for size in tables) / sum(size.live for size in tables)


def print_sizes(lake: Lake, engine: LakeSettings, when: str) -> None:
    """Print the bytes of each layer and of the ten largest tables."""
    tables = sizes(lake, engine, now=Later.now(UTC))
    print(f"{when}: {len(list_releases(lake))} releases; megabytes")
    print("  layer          live  retained  reclaimable       log  total / live")
    for layer in ("bronze", "silver", "gold", "ops", ""):
        of_layer = [parts(size) for size in tables if size.table.startswith(layer)]
        sums = [sum(column) for column in zip(*of_layer, strict=True)]
        figures = "  ".join(f"{part / 1e6:8.1f}" for part in sums)
        print(f"  {layer or 'all':8}  {figures}  {sum(sums) / sums[0]:12.2f}")
    for size in sorted(tables, key=lambda size: -size.total)[:10]:
        figures = "  ".join(f"{part / 1e6:6.1f}" for part in (size.total, *parts(size)))
        print(f"    {size.table:30} {figures}  {size.log_entries:6}", flush=True)


def parts(size: Size) -> tuple[int, ...]:
    """Return a table's bytes by kind: live, retained, reclaimable, log."""
    return size.live, size.retained, size.reclaimable, size.log


@click.command()
@click.option("--files", default=300, show_default=True, help="Small files to compact.")
@click.option("--month", is_flag=True, help="Also run the syncs of a month (takes minutes).")
@click.option("--syncs", default=6, show_default=True, help="Syncs per day of that month.")
@click.option("--days", default=30, show_default=True, help="Days of that month.")
@click.option(
    "--busy-days", default=1, show_default=True, help="Last days of that month, with 288 syncs each."
)
def main(files: int, month: bool, syncs: int, days: int, busy_days: int) -> None:
    """Print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    small_files(files)
    if month:
        month_of_syncs([syncs] * (days - busy_days) + [288] * busy_days, ENGINE)


if __name__ == "__main__":
    main()
