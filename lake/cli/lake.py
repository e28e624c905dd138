"""Lake: the commands ``python -m lake status | releases | sql | rollback | compact | backup …``."""

import click
import pyarrow as pa

from lake.cli.backups import COMMANDS as BACKUPS
from lake.cli.main import group, open_lake
from lake.cli.maintenance import COMMANDS as MAINTENANCE
from lake.cli.options import at_release
from lake.cli.output import FORMATS, JSON, show, show_table
from lake.cli.prompt import run_prompt, run_script
from lake.cli.releases import COMMANDS as RELEASES
from lake.errors import UsageError
from lake.ledgers.origin import is_sandbox, read_origin
from lake.ledgers.status import ago, read_status
from lake.query.session import open_session
from lake.releases.asof import pick
from lake.releases.release import current_release
from lake.settings import LakeSettings


@group("Show what is in the lake, manage its releases and backups, and run SQL over any release.")
def lake() -> None:
    """Collect the commands of this package."""


@lake.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@at_release
def status(form: str, release: int | None, as_of: str | None) -> None:
    """Show the served release, the last sync and every table.

    Each table has its rows and version. For an older release, show its tables, and how far the
    ingest was when it was published.
    """
    _, place = open_lake()
    is_named = release is not None or as_of is not None
    current = read_status(place, pick(place, release=release, as_of=as_of) if is_named else None)
    if form == "table":
        print(current.headline)
        if not current.tables:
            print(f"there is no table in {place.place}; if you mean another lake, set [lake] root to it")
            return
        show_table(
            [
                "table",
                "rows",
                "version",
                "released",
                "files",
                "MB",
                "last observation",
                "watermark",
                "last complete run",
                "age",
                "rejected",
            ],
            [
                [
                    table.table,
                    table.rows,
                    table.version,
                    table.released,
                    table.files,
                    round(table.bytes / 1e6, 2),
                    table.newest and f"{table.newest:%Y-%m-%d %H:%M:%S}",
                    table.watermark and f"{table.watermark:%Y-%m-%d %H:%M:%S}",
                    table.complete_at and f"{table.complete_at:%Y-%m-%d %H:%M:%S}",
                    table.complete_at and ago(current.now - table.complete_at),
                    table.rejected,
                ]
                for table in current.tables
            ],
            spare=("MB", "files", "version", "released", "watermark"),
            whole=JSON,
        )
    else:
        show(pa.Table.from_pylist(current.rows), form)


@lake.command(context_settings={"ignore_unknown_options": True})
@click.argument("query", required=False)
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@at_release
def sql(query: str | None, form: str, release: int | None, as_of: str | None) -> None:
    """Run SQL over one release in DuckDB.

    QUERY can read bronze, rules, silver, gold and ops. The rows of every statement are printed, up to
    the first statement that fails. If there is no QUERY, a terminal gets a prompt, and otherwise the
    statements are read from stdin.
    """
    config, place = open_lake(keeps_umask=True)
    is_named = release is not None or as_of is not None
    pinned = pick(place, release=release, as_of=as_of) if is_named else current_release(place)
    session = open_session(place, config.section(LakeSettings), pinned)
    if query is None:
        run_prompt(session, lambda rows: show(rows, form))
        return
    if not query.strip(" ;"):
        raise UsageError('the query is empty; write one, such as "from gold.revenue_daily limit 5"')
    run_script(session, query, lambda rows: show(rows, form))


@lake.command()
def clean() -> None:
    """Remove the lake if only a sandbox on this machine has filled it."""
    _, place = open_lake()
    origin = read_origin(place)
    if origin is None:
        print(f"{place.place}: no lake is there")
    elif is_sandbox(origin):
        place.remove()
        print(f"{place.place} is removed")
    else:
        raise UsageError(
            f"{place.place} was filled from {origin} and is not removed; if you are sure, delete it by hand"
        )


for command in (*RELEASES, *MAINTENANCE, *BACKUPS):
    lake.add_command(command)
