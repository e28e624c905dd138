"""The server's and the schedule's commands: ``python -m serve api | schedule | sync | demo``."""

import asyncio

import click

from lake.cli import group, main, open_lake
from lake.settings import LakeSettings
from serve.settings import ScheduleSettings, ServeSettings


@group("Serve the numbers of the current release, and run the sync on time.")
def serve() -> None:
    """Collect the commands."""


@serve.command()
@click.option("--host", help="Listen on this address instead of the one set.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port; 0 takes a free one.")
def api(host: str | None, port: int | None) -> None:
    """Serve the JSON API and the dashboard, read-only, until stopped."""
    from serve.app import create_app
    from serve.server import run_server

    config, _ = open_lake()
    settings = config.section(ServeSettings)
    run_server(
        create_app(config),
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
    )


@serve.command()
def sync() -> int:
    """Ingest what changed, then transform; the exit code is the first that is not 0."""
    from serve.schedule import run_once, sync_job

    config, _ = open_lake()
    return run_once(sync_job(config.section(ScheduleSettings).sync_every_seconds))


@serve.command()
@click.option("--once", is_flag=True, help="Print the published figures and end.")
def demo(once: bool) -> None:
    """Run a sandbox shop, its lake and the dashboard."""
    from serve.demo import run_demo

    config, lake = open_lake()
    run_demo(lake, config.section(LakeSettings), once=once)


@serve.command()
@click.option(
    "--every", type=click.FloatRange(min=0, min_open=True), help="Seconds from one sync to the next."
)
def schedule(every: float | None) -> None:
    """Sync on time, each step a process of its own, until stopped."""
    from serve.schedule import Schedule, sync_job

    config, lake = open_lake()
    settings = config.section(ScheduleSettings)
    job = sync_job(settings.sync_every_seconds if every is None else every)

    async def run() -> None:
        await Schedule(lake, [job], stop_seconds=settings.stop_seconds).run()

    asyncio.run(run())


if __name__ == "__main__":
    main(serve, "python -m serve")
