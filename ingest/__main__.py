"""The ingest's commands: ``python -m ingest incremental | full | sandbox``."""

import asyncio
import os
from datetime import UTC, datetime

import click
import msgspec

from ingest.client import Client
from ingest.limiter import Limiter
from ingest.progress import Watch
from ingest.sandbox.command import run as run_sandbox
from ingest.sandbox.settings import Sandbox
from ingest.settings import IngestSettings, SourceSettings
from ingest.sync import run_sync
from lake.cli import group, main, open_lake
from lake.config import read_config
from lake.errors import ConfigError, IngestIncomplete, LakeError, UsageError
from lake.runs import Run
from lake.settings import LakeSettings


@group("Copy KeyCRM into bronze: every state it shows, nothing twice.")
def ingest() -> None:
    """Collect the commands."""


@ingest.command()
def incremental() -> None:
    """Copy what changed since the last complete run, what is recent, and the lists that are due."""
    run_kind("incremental")


@ingest.command()
def full() -> None:
    """Copy everything, from the first order on. At 60 requests a minute: 16 minutes for 46,000 orders."""
    run_kind("full")


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


def run_kind(kind: str) -> None:
    """Run one ingest and say in a line what it brought. Raises IngestIncomplete."""
    config, lake = open_lake()
    source = config.section(SourceSettings)
    key = os.environ.get("KEYCRM_API_KEY", "").strip()
    if not key:
        raise ConfigError(
            "KEYCRM_API_KEY is not set; put the CRM's API key there (the sandbox takes `sandbox`)"
        )
    run = asyncio.run(
        run_sync(
            kind,
            lake,
            client=Client(source, key=key, limiter=Limiter(source.requests_per_minute)),
            settings=config.section(IngestSettings),
            engine=config.section(LakeSettings),
            watch=Watch(),
        )
    )
    print(summary(run))
    if run.verdict != "complete":
        raise IngestIncomplete(
            f"{run.kind} ingest is incomplete: {run.reason}; what arrived is kept, the next run asks again"
        )


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


if __name__ == "__main__":
    main(ingest, "python -m ingest")
