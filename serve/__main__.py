"""Commands of the server and the schedule: ``python -m serve api | schedule | sync | resync | demo``."""

import asyncio
from datetime import UTC, datetime

import click

from lake.cli.main import group, main, open_lake
from lake.cli.options import because as because_option
from lake.errors import UsageError
from lake.query.spill import spill_folder
from lake.settings import LakeSettings
from serve.settings import ScheduleSettings, ServeSettings


@group("Serve the figures of the current release, and run the sync on schedule.")
def serve() -> None:
    """Group of the commands."""


@serve.command()
@click.option("--host", help="Address to listen on; default: the setting.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one. Default: the setting.",
)
def api(host: str | None, port: int | None) -> None:
    """Serve the JSON API and the dashboard, read-only, until stopped."""
    from serve.app import create_app
    from serve.server import run_server

    config, _ = open_lake()
    settings = config.section(ServeSettings)
    spill_folder(config.section(LakeSettings))
    run_server(
        create_app(config),
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
    )


@serve.command()
def sync() -> int:
    """Ingest what changed in the CRM, then build. The exit code is the first that is not 0."""
    from serve.schedule import run_once, sync_job

    config, _ = open_lake()
    return run_once(sync_job(config.section(ScheduleSettings).sync_every_seconds))


@serve.command()
@click.option("--days", type=click.IntRange(1, 36500), help="Number of days of orders; default: all history.")
@click.option("--from-bronze", is_flag=True, help="Rebuild from bronze, without requests to the CRM.")
@click.option("--dry-run", is_flag=True, help="Show the differences, and publish nothing.")
@because_option
def resync(days: int | None, from_bronze: bool, dry_run: bool, because: str | None) -> int:
    """Fetch everything again, build in full, compare with the CRM, and publish only if both agree.

    The last release serves until then. Exit code 3: the build differs from the CRM; 4: the CRM's
    answer was incomplete. If it is interrupted, run it again.
    """
    from serve.resync import run_resync

    if days and from_bronze:
        raise UsageError("--days and --from-bronze: choose one; --from-bronze uses all of bronze")
    _, lake = open_lake()
    return run_resync(
        lake, days=days, from_bronze=from_bronze, dry_run=dry_run, because=because, now=datetime.now(UTC)
    )


@serve.command()
@click.option("--once", is_flag=True, help="Print the published figures and exit.")
def demo(once: bool) -> None:
    """Run a sandbox shop, its lake and the dashboard."""
    from serve.demo import run_demo

    config, lake = open_lake()
    run_demo(lake, config.section(LakeSettings), once=once)


@serve.command()
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds from one sync to the next; default: the setting.",
)
def schedule(every: float | None) -> None:
    """Sync at an interval, maintain hourly, sweep and compare daily. Each step is a process."""
    from serve.schedule import Schedule, sync_job, upkeep_jobs

    config, lake = open_lake()
    settings = config.section(ScheduleSettings)
    jobs = [sync_job(settings.sync_every_seconds if every is None else every)]
    if settings.upkeep:
        jobs += upkeep_jobs()

    async def run() -> None:
        await Schedule(
            lake, jobs, stop_seconds=settings.stop_seconds, step_seconds=settings.step_seconds
        ).run()

    asyncio.run(run())


if __name__ == "__main__":
    main(serve, "python -m serve")
