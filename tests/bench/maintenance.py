"""What maintenance is worth: ``python -m tests.bench.maintenance [--files N] [--month] [--syncs N]``.

Prints ratios within one run: reading before and after compaction, and the size of a
shop's lake after a month of syncs, maintained every night, beside its live bytes.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from unittest.mock import patch

import click
import msgspec
import structlog

from ingest.budget import Budget
from ingest.client import Client
from ingest.limiter import Limiter
from ingest.progress import Watch
from ingest.sandbox.command import TEST_KEY, ThreadedShop, serving
from ingest.sandbox.settings import Sandbox
from ingest.settings import IngestSettings, SourceSettings
from ingest.sync import Wish, run_sync
from lake.maintenance import Size, compact, maintain, sizes
from lake.paths import Lake
from lake.release import list_releases
from lake.runs import last_runs
from lake.session import connect, create_view
from lake.settings import LakeSettings
from lake.table import open_table
from tests.ingest.shop import live
from tests.lake.simulated import BRONZE, Simulated
from transform.build import run_build
from transform.models import read_models
from transform.settings import RulesSettings

NEWEST = """
select count(*), max(text)
from (from b qualify row_number() over (partition by id order by fetched_at desc) = 1)
"""
ENGINE = LakeSettings()


def seconds(work: Callable[[], object], times: int = 7) -> float:
    """Return the shortest of a few goes."""
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def newest_state(lake: Lake) -> None:
    """Open bronze at its head and read the newest state of every id."""
    session = connect(ENGINE)
    create_view(session, "b", open_table(lake, BRONZE))
    session.execute(NEWEST).fetchone()


def small_files(files: int) -> None:
    """Print what reading takes with many small files, and with them merged."""
    with tempfile.TemporaryDirectory() as folder:
        month = Simulated(Lake(root=folder + "/lake"), now=datetime(2026, 9, 1, tzinfo=UTC))
        month.start()
        for place in range(files):
            month.look([place])
        work = {
            "newest state of bronze": lambda: newest_state(month.lake),
            "last runs": lambda: last_runs(month.lake),
        }
        before = {name: seconds(one) for name, one in work.items()}
        began = time.perf_counter()
        compact(month.lake, now=month.now + timedelta(days=1))
        took = time.perf_counter() - began
        print(f"{files} small files in bronze and in the ledger of runs, merged in {took:.2f} s")
        for name, one in work.items():
            after = seconds(one)
            times = before[name] / after
            print(f"  {name:24} {before[name] * 1e3:7.1f} ms -> {after * 1e3:6.1f} ms = {times:.1f} x")


class Later(datetime):
    """A clock that goes ``by`` so much."""

    by = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Later":
        """Return the moment by this clock."""
        return super().now(tz) + cls.by


def sync(shop: ThreadedShop, lake: Lake, kind: str, budget: Path) -> None:
    """Ingest and transform once."""
    source = SourceSettings(base_url=shop.url, requests_per_minute=100_000)
    asyncio.run(
        run_sync(
            msgspec.convert({"kind": kind}, Wish),
            lake,
            client=Client(source, key=TEST_KEY, limiter=Limiter(Budget(budget, requests=100_000))),
            settings=IngestSettings(),
            engine=ENGINE,
            watch=Watch(budget=100_000, bar=False),
        )
    )
    run_build(lake, engine=ENGINE, rules=RulesSettings(), models=read_models())


def month_of_syncs(syncs: int, days: int, engine: LakeSettings) -> None:
    """Print how large a lake is after a month, maintained every night, beside its live bytes."""
    settings = Sandbox(port=0, days=700, day_seconds=0, requests_per_minute=0)
    with (
        serving(settings) as shop,
        tempfile.TemporaryDirectory() as folder,
        patch("ingest.client.datetime", Later),
        patch("transform.build.datetime", Later),
    ):
        lake, budget = Lake(root=folder + "/lake"), Path(folder) / "budget"
        sync(shop, lake, "full", budget)
        for number in range(1, days * syncs + 1):
            live(shop, days=1 / syncs)
            Later.by = timedelta(days=number / syncs)
            sync(shop, lake, "incremental", budget)
            if number % syncs == 0:
                maintain(lake, engine, now=Later.now(UTC))
        found = sizes(lake, engine, now=Later.now(UTC))
        print(f"{days} days, {syncs} syncs a day, {len(list_releases(lake))} releases; megabytes")
        print("  layer          live  retained  reclaimable       log  total / live")
        for layer in ("bronze", "silver", "gold", "ops", ""):
            of_layer = [parts(size) for size in found if size.table.startswith(layer)]
            sums = [sum(column) for column in zip(*of_layer, strict=True)]
            shown = "  ".join(f"{part / 1e6:8.1f}" for part in sums)
            print(f"  {layer or 'all':8}  {shown}  {sum(sums) / sums[0]:12.2f}")
        for size in sorted(found, key=lambda size: -size.total)[:8]:
            print(f"    {size.table:30} {size.total / 1e6:6.1f}")


def parts(size: Size) -> tuple[int, ...]:
    """Return what a table's bytes are."""
    return size.live, size.retained, size.reclaimable, size.log


@click.command()
@click.option("--files", default=300, show_default=True, help="Small files to merge.")
@click.option("--month", is_flag=True, help="Also let a shop live for a month (minutes).")
@click.option("--syncs", default=2, show_default=True, help="Syncs a day of that month.")
@click.option("--days", default=30, show_default=True, help="Days of that month.")
@click.option("--keep-all-days", default=ENGINE.keep_all_days, show_default=True)
def main(files: int, month: bool, syncs: int, days: int, keep_all_days: int) -> None:
    """Print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    small_files(files)
    if month:
        month_of_syncs(syncs, days, LakeSettings(keep_all_days=keep_all_days))


if __name__ == "__main__":
    main()
