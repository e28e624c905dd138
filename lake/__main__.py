"""The lake's own commands: ``python -m lake status | releases | sql``."""

import click
import duckdb
import pyarrow as pa

from lake.cli import group, main, open_lake
from lake.errors import UsageError
from lake.release import find_release, list_releases, total
from lake.render import FORMATS, show, show_table
from lake.runs import is_loopback, last_runs
from lake.session import fetch, open_session
from lake.settings import LakeSettings
from lake.status import ago, read_status


@group("The lake: what is in it, what it said when, and SQL over any release.")
def lake() -> None:
    """Collect the commands."""


@lake.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def status(form: str) -> None:
    """Show the release that serves, the last sync, and every table's rows and version."""
    _, place = open_lake()
    found = read_status(place)
    if form == "table":
        print(found.headline)
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
                "complete",
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
                    table.complete_at and f"{ago(found.now - table.complete_at)} ago",
                    table.rejected,
                ]
                for table in found.tables
            ],
        )
    else:
        show(pa.Table.from_pylist(found.rows), form)


@lake.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Newest first.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def releases(limit: int, form: str) -> None:
    """List releases: number, time, kind, parent, what moved."""
    _, place = open_lake()
    rows = [
        {
            "release": release.release,
            "published_at": release.published_at,
            "kind": release.kind,
            "parent": release.parent,
            "tables_moved": len({move.table for move in release.moved}),
            "gold.revenue_daily": release.money.get("gold.revenue_daily"),
            "moved": total(move for move in release.moved if move.table == "gold.revenue_daily"),
        }
        for release in list_releases(place, limit=limit)
    ]
    if not rows:
        print("nothing is published yet; `just sync` publishes the first release")
    else:
        show(pa.Table.from_pylist(rows), form)


@lake.command()
@click.argument("query")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--release", type=int, help="Read an older release; the newest if not said.")
def sql(query: str, form: str, release: int | None) -> None:
    """Run QUERY in DuckDB over bronze, rules, silver, gold and ops, pinned to one release."""
    config, place = open_lake()
    session = open_session(place, config.section(LakeSettings), find_release(place, release))
    try:
        rows = fetch(session, query)
    except duckdb.Error as error:
        raise UsageError(str(error).split("\n\n")[0]) from None
    show(rows, form)


@lake.command()
def clean() -> None:
    """Remove the lake, if nothing but a sandbox on this machine has filled it."""
    _, place = open_lake()
    last = last_runs(place)[0]
    if last and not is_loopback(last.source):
        raise UsageError(
            f"{place.place} was filled from {last.source} and stays; remove it by hand if you mean it"
        )
    place.remove()
    print(f"{place.place} is gone")


if __name__ == "__main__":
    main(lake, "python -m lake")
