"""The ingest's commands: ``python -m ingest incremental | full | sweep | validate …``."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Coroutine
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
import msgspec

from ingest.budget import Budget, budget_file
from ingest.client import Client
from ingest.erasure_commands import COMMANDS as ERASURE
from ingest.limiter import Limiter
from ingest.progress import ProgressReporter
from ingest.run import RunRequest, resolve, run_sync
from ingest.sandbox.command import run as run_sandbox
from ingest.sandbox.settings import Sandbox
from ingest.settings import IngestSettings, SourceSettings
from ingest.validation import run_validation
from ingest.verification_commands import COMMANDS as VERIFICATION
from lake.cli.main import group, main, open_lake
from lake.cli.output import show_table
from lake.clock import shop_zone
from lake.config import Config, read_config
from lake.errors import ConfigError, IngestIncomplete, LakeError, UsageError
from lake.ledgers.runs import Run
from lake.messages import counted
from lake.settings import LakeSettings

# The form of a run id, which is the name of a folder.
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


@group("Copy KeyCRM into bronze: each new state once.")
def ingest() -> None:
    """Group the commands."""


@ingest.command()
def incremental() -> None:
    """Copy what changed since the last complete run, recent orders, and the lists that are due."""
    run_request(RunRequest(kind="incremental"))


@ingest.command()
def full() -> None:
    """Copy everything from the first order on. A killed load is continued. 40,000 orders take 20 minutes."""
    run_request(RunRequest(kind="full"))


@ingest.command()
@click.option(
    "--from", "since", required=True, help="Shop day or ISO time; a day begins at midnight in Kyiv."
)
@click.option("--to", "until", required=True, help="Shop day or ISO time; a day ends with its last second.")
def window(since: str, until: str) -> None:
    """Copy again what was created or updated in a span of time."""
    span = instant(since), instant(until, end=True)
    if span[0] > span[1]:
        raise UsageError(f"--from {since} is after --to {until}")
    run_request(RunRequest(kind="window", since=span[0], until=span[1]))


@ingest.command()
@click.option("--days", type=click.IntRange(1, 36500), help="Number of days of orders; default 30.")
@click.option("--all", "everything", is_flag=True, help="All history.")
def sweep(days: int | None, everything: bool) -> None:
    """Compare content to find silent edits, deletions and missed ids."""
    if days and everything:
        raise UsageError("--days and --all: choose one")
    run_request(RunRequest(kind="sweep", days=None if everything else days or 30))


@ingest.command()
@click.option("--days", type=click.IntRange(1, 36500), help="Number of days of orders; default: all history.")
@click.option("--run", "run_id", help="Id of the run in ops.runs; default: a new one.")
def resync(days: int | None, run_id: str | None) -> None:
    """Read again everything that the CRM has, and record it as evidence to compare a build with.

    The first half of `just resync`, which then builds, compares and publishes.
    """
    if run_id is not None and not RUN_ID.fullmatch(run_id):
        raise UsageError(f"{run_id!r} is not a run id; write 20260901T100000Z-0a1b2c3d")
    run_request(RunRequest(kind="resync", days=days, run_id=run_id))


@ingest.command()
@click.argument("ids", type=click.IntRange(0, 2**63 - 1), nargs=-1, required=True)
@click.option("--again", is_flag=True, help="Store them even if their content is unchanged.")
def order(ids: tuple[int, ...], again: bool) -> None:
    """Copy orders by their IDs. If the CRM has deleted one, it leaves the numbers.

    With --again, a row whose columns were damaged on disk is superseded by a new one.
    """
    run_request(RunRequest(kind="orders", ids=ids, again=again))


@ingest.command()
@click.argument("day")
def validate(day: str) -> None:
    """Compare one shop DAY (YYYY-MM-DD) by order id, CRM against lake; exit 1 if they differ."""
    try:
        shop_day = date.fromisoformat(day)
    except ValueError:
        raise UsageError(f"{day!r} is no day; write 2026-09-01") from None
    if not 1970 <= shop_day.year < 2100:
        raise UsageError(f"{day} is out of range; write a day from 1970 to 2099")
    config, lake = open_lake()
    client = open_client(config, rank=0)
    report = asyncio.run(run_validation(shop_day, lake, client=client, engine=config.section(LakeSettings)))
    show_table(("", "CRM", "lake"), report.figures)
    if report.differences:
        show_table(("order", "differs in"), report.differences)
        sys.stdout.flush()
        raise LakeError(f"{day}: {counted(len(report.differences), 'order')} differ; {report.remedy}")
    print(f"{day}: CRM and lake agree" + ("" if report.orders else ": neither has an order of that day"))


@ingest.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes any free one.")
@click.option("--clock", help="ISO time at which the shop starts; default: the end of its history.")
def sandbox(port: int | None, clock: str | None) -> None:
    """Run a simulated shop with the CRM's API on this machine."""
    settings = read_config().section(Sandbox)
    if port is not None:
        settings = msgspec.structs.replace(settings, port=port)
    try:
        start = datetime.fromisoformat(clock).astimezone(UTC) if clock else None
    except ValueError:
        raise UsageError(f"--clock {clock!r} is no ISO time; write 2026-09-01T00:00:00Z") from None
    try:
        run_sandbox(settings, api_key=os.environ.get("KEYCRM_API_KEY") or "sandbox", clock=start)
    except OSError as error:
        raise LakeError(f"the sandbox can't listen on {settings.host}:{settings.port}: {error}") from None


def run_request(request: RunRequest) -> None:
    """Run one ingest and print its summary. Raises IngestIncomplete."""
    config, lake = open_lake()
    request = resolve(request, lake)
    run = run_until_stopped(
        run_sync(
            request,
            lake,
            client=open_client(config, rank=request.rank),
            settings=config.section(IngestSettings),
            engine=config.section(LakeSettings),
            progress=ProgressReporter(budget=config.section(SourceSettings).requests_per_minute),
        )
    )
    print(summary(run))
    if run.verdict != "complete":
        raise IngestIncomplete(
            f"{run.kind} ingest is incomplete: {run.reason};"
            " the rows that arrived are kept, the next run goes on"
        )


def run_until_stopped(running: Coroutine[Any, Any, Run]) -> Run:
    """Return a run. SIGTERM and SIGHUP end it like Ctrl-C: rows are kept, and a receipt is written."""

    async def stoppable() -> Run:
        task = asyncio.current_task()
        assert task, "a coroutine runs in a task"
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await running

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:  # not inside: asyncio would print it if a second Ctrl-C came
        raise click.exceptions.Abort() from None


def open_client(config: Config, *, rank: int) -> Client:
    """Return a client that shares the budget of its key. Raises ConfigError if there is no key."""
    source = config.section(SourceSettings)
    key = os.environ.get("KEYCRM_API_KEY", "").strip()
    if not key.isprintable():
        raise ConfigError("KEYCRM_API_KEY has characters that no key has; copy it again")
    if not key:
        raise ConfigError(
            f"KEYCRM_API_KEY is not set; put the key for {source.base_url} there (a sandbox takes `sandbox`)"
        )
    file = budget_file(source.budget_folder, base_url=source.base_url, key=key)
    budget = Budget(file, requests=source.requests_per_minute, rank=rank)
    return Client(source, key=key, limiter=Limiter(budget))


def instant(text: str, *, end: bool = False) -> datetime:
    """Return the time in an argument: ISO with a zone, or a shop day, which is a day in Kyiv."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 2026-09-01 or 2026-09-01T10:00:00Z") from None
    if not 1970 <= time.year < 2100:
        raise UsageError(f"{text} is out of range; write a time from 1970 to 2099")
    if len(text) == len("2026-09-01"):
        time = (time + timedelta(days=1, seconds=-1)) if end else time
        return time.replace(tzinfo=shop_zone())
    if time.tzinfo is None:
        raise UsageError(f"{text!r} has no zone; write 2026-09-01T10:00:00Z, or +03:00 for Kyiv in summer")
    return time


def summary(run: Run) -> str:
    """Return the result of a run as one line."""
    seconds = (run.finished_at - run.started_at).total_seconds()
    brought = ", ".join(
        f"{rows:,} {name.removeprefix('bronze.')}" for name, rows in sorted(run.appended.items())
    )
    return (
        f"{run.kind} ingest {run.verdict}: {brought or 'nothing new'}; {run.requests:,} requests"
        f" in {seconds:.1f} s ({run.waited_seconds:.1f} s waiting for the budget)"
        + (f"; {run.rejected} rejected, see bronze.rejected" if run.rejected else "")
        + (f"; {run.reason}" if run.reason and run.verdict == "complete" else "")
    )


for command in [*ERASURE, *VERIFICATION]:
    ingest.add_command(command)

if __name__ == "__main__":
    main(ingest, "python -m ingest")
