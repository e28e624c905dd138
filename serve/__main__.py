"""The server's and the schedule's commands: ``python -m serve api | schedule``."""

import click

from lake.cli import group, main, open_lake
from serve.settings import ServeSettings


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


if __name__ == "__main__":
    main(serve, "python -m serve")
