"""The lake's own commands: ``python -m lake status | releases | sql | rollback | compact | backup …``."""

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


@group("The lake: what is in it, what it said when, and SQL over any release.")
def lake() -> None:
    """Collect the commands."""


@lake.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@at_release
def status(form: str, release: int | None, as_of: str | None) -> None:
    """Show the release that serves, the last sync, and every table's rows and version.

    Of an older release: its tables, and how far the ingest was when it was published.
    """
    _, place = open_lake()
    is_named = release is not None or as_of is not None
    found = read_status(place, pick(place, release=release, as_of=as_of) if is_named else None)
    if form == "table":
        print(found.headline)
        if not found.tables:
            print(f"there is no table in {place.place}; if another lake was meant, [lake] root names it")
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
                    table.complete_at and ago(found.now - table.complete_at),
                    table.rejected,
                ]
                for table in found.tables
            ],
            spare=("MB", "files", "version", "released", "watermark"),
            whole=JSON,
        )
    else:
        show(pa.Table.from_pylist(found.rows), form)


@lake.command(context_settings={"ignore_unknown_options": True})
@click.argument("query", required=False)
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@at_release
def sql(query: str | None, form: str, release: int | None, as_of: str | None) -> None:
    """Run QUERY in DuckDB over bronze, rules, silver, gold and ops, pinned to one release.

    Every statement is answered, up to the first that fails. Without QUERY: a prompt on a terminal,
    or the statements that stdin brings.
    """
    config, place = open_lake()
    is_named = release is not None or as_of is not None
    wanted = pick(place, release=release, as_of=as_of) if is_named else current_release(place)
    session = open_session(place, config.section(LakeSettings), wanted)
    if query is None:
        run_prompt(session, lambda rows: show(rows, form))
        return
    if not query.strip(" ;"):
        raise UsageError('the query is empty; write one, such as "from gold.revenue_daily limit 5"')
    run_script(session, query, lambda rows: show(rows, form))


@lake.command()
def clean() -> None:
    """Remove the lake, if nothing but a sandbox on this machine has filled it."""
    _, place = open_lake()
    origin = read_origin(place)
    if origin is None:
        print(f"{place.place}: no lake is there")
    elif is_sandbox(origin):
        place.remove()
        print(f"{place.place} is gone")
    else:
        raise UsageError(
            f"{place.place} was filled from {origin} and stays; remove it by hand if you mean it"
        )


for command in (*RELEASES, *MAINTENANCE, *BACKUPS):
    lake.add_command(command)
