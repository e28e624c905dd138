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
from ingest.progress import Watch
from ingest.run import RunRequest, effective, run_sync
from ingest.sandbox.command import run as run_sandbox
from ingest.sandbox.settings import Sandbox
from ingest.settings import IngestSettings, SourceSettings
from ingest.validation import run_validation
from lake.cli.main import group, main, open_lake
from lake.cli.output import show_table
from lake.clock import SHOP
from lake.config import Config, read_config
from lake.errors import ConfigError, IngestIncomplete, LakeError, UsageError
from lake.ledgers.runs import Run
from lake.settings import LakeSettings

# It names a folder.
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


@group("Copy KeyCRM into bronze: every state it shows, nothing twice.")
def ingest() -> None:
    """Collect the commands."""


@ingest.command()
def incremental() -> None:
    """Copy what changed since the last complete run, what is recent, and the lists that are due."""
    run_request(RunRequest(kind="incremental"))


@ingest.command()
def full() -> None:
    """Copy everything, from the first order on; a killed one is continued. 20 minutes for 40,000 orders."""
    run_request(RunRequest(kind="full"))


@ingest.command()
@click.option(
    "--from", "since", required=True, help="Shop day or ISO time; a day begins at its midnight in Kyiv."
)
@click.option("--to", "until", required=True, help="Shop day or ISO time; a day ends with its last second.")
def window(since: str, until: str) -> None:
    """Copy again what was created or updated in a span of time."""
    span = instant(since), instant(until, end=True)
    if span[0] > span[1]:
        raise UsageError(f"--from {since} is after --to {until}")
    run_request(RunRequest(kind="window", since=span[0], until=span[1]))


@ingest.command()
@click.option("--days", type=click.IntRange(1, 36500), help="Orders created in so many days; 30 if not said.")
@click.option("--all", "everything", is_flag=True, help="All history.")
def sweep(days: int | None, everything: bool) -> None:
    """Compare content: find silent edits, deletions and ids that were missed."""
    if days and everything:
        raise UsageError("--days and --all: choose one")
    run_request(RunRequest(kind="sweep", days=None if everything else days or 30))


@ingest.command()
@click.option(
    "--days", type=click.IntRange(1, 36500), help="Orders created in so many days; all if not said."
)
@click.option("--run", "run_id", help="Its id in ops.runs; one is made if not said.")
def resync(days: int | None, run_id: str | None) -> None:
    """Read again what the CRM has, and put down what it shows, for a build to be compared with.

    The first half of `just resync`, which builds, compares and publishes.
    """
    if run_id is not None and not RUN_ID.fullmatch(run_id):
        raise UsageError(f"{run_id!r} is no id of a run; write 20260901T100000Z-0a1b2c3d")
    run_request(RunRequest(kind="resync", days=days, run_id=run_id))


@ingest.command()
@click.argument("ids", type=click.IntRange(1, 2**62), nargs=-1, required=True)
def order(ids: tuple[int, ...]) -> None:
    """Copy orders by their IDs; one that the CRM has no longer leaves the numbers."""
    run_request(RunRequest(kind="orders", ids=ids))


@ingest.command()
@click.argument("day")
def validate(day: str) -> None:
    """Compare one shop DAY (YYYY-MM-DD), CRM against lake, by order id; exit 1 where they differ."""
    try:
        shop_day = date.fromisoformat(day)
    except ValueError:
        raise UsageError(f"{day!r} is no day; write 2026-09-01") from None
    if not 1970 <= shop_day.year < 2100:
        raise UsageError(f"{day} is before or after any shop")
    config, lake = open_lake()
    client = open_client(config, rank=0)
    report = asyncio.run(run_validation(shop_day, lake, client=client, engine=config.section(LakeSettings)))
    show_table(("", "CRM", "lake"), report.figures)
    if report.differences:
        show_table(("order", "differs in"), report.differences)
        sys.stdout.flush()
        raise LakeError(
            f"{day}: {len(report.differences)} orders differ;"
            f" `just ingest order {report.ids}` copies them again"
        )
    print(f"{day}: CRM and lake agree" + ("" if report.orders else ": neither has an order of that day"))


@ingest.command()
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes any free port.")
@click.option("--clock", help="Shop time to begin at, ISO; the end of its history if not said.")
def sandbox(port: int | None, clock: str | None) -> None:
    """Run a living shop that speaks the CRM's API, on this machine."""
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
    """Run one ingest and say in a line what it brought. Raises IngestIncomplete."""
    config, lake = open_lake()
    request = effective(request, lake)
    run = run_until_stopped(
        run_sync(
            request,
            lake,
            client=open_client(config, rank=request.rank),
            settings=config.section(IngestSettings),
            engine=config.section(LakeSettings),
            watch=Watch(budget=config.section(SourceSettings).requests_per_minute),
        )
    )
    print(summary(run))
    if run.verdict != "complete":
        raise IngestIncomplete(
            f"{run.kind} ingest is incomplete: {run.reason}; what arrived is kept, the next run asks again"
        )


def run_until_stopped(running: Coroutine[Any, Any, Run]) -> Run:
    """Return a run; SIGTERM and SIGHUP end it as Ctrl-C does: what arrived is kept, a receipt is written."""

    async def stoppable() -> Run:
        task = asyncio.current_task()
        assert task, "a coroutine runs in a task"
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await running

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:  # not inside: asyncio would print it where a second Ctrl-C comes
        raise click.exceptions.Abort() from None


def open_client(config: Config, *, rank: int) -> Client:
    """Return a client with its place in the budget. Raises ConfigError without a key."""
    source = config.section(SourceSettings)
    key = os.environ.get("KEYCRM_API_KEY", "").strip()
    if not key.isprintable():
        raise ConfigError("KEYCRM_API_KEY has characters that no key has; copy it anew")
    if not key:
        raise ConfigError(
            f"KEYCRM_API_KEY is not set; put the key for {source.base_url} there (a sandbox takes `sandbox`)"
        )
    file = budget_file(source.budget_folder, base_url=source.base_url, key=key)
    budget = Budget(file, requests=source.requests_per_minute, rank=rank)
    return Client(source, key=key, limiter=Limiter(budget))


def instant(text: str, *, end: bool = False) -> datetime:
    """Return a time that a person wrote: ISO with a zone, or a shop day, which is a day in Kyiv."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 2026-09-01 or 2026-09-01T10:00:00Z") from None
    if not 1970 <= found.year < 2100:
        raise UsageError(f"{text} is before or after any shop")
    if len(text) == len("2026-09-01"):
        found = (found + timedelta(days=1, seconds=-1)) if end else found
        return found.replace(tzinfo=SHOP)
    if found.tzinfo is None:
        raise UsageError(f"{text!r} has no zone; write 2026-09-01T10:00:00Z, or +03:00 for Kyiv in summer")
    return found


def summary(run: Run) -> str:
    """Return what a run brought, in one line."""
    seconds = (run.finished_at - run.started_at).total_seconds()
    brought = ", ".join(
        f"{rows:,} {name.removeprefix('bronze.')}" for name, rows in sorted(run.appended.items())
    )
    return (
        f"{run.kind} ingest {run.verdict}: {brought or 'nothing new'}; {run.requests:,} requests"
        f" in {seconds:.1f} s ({run.waited_seconds:.1f} s waiting for the budget)"
        + (f"; {run.rejected} rejected, see bronze.rejected" if run.rejected else "")
    )


for command in ERASURE:
    ingest.add_command(command)

if __name__ == "__main__":
    main(ingest, "python -m ingest")
