"""Releases: the commands that list, roll back, resume, tag, compare and explain releases."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import click
import pyarrow as pa

from lake.cli.main import open_lake
from lake.cli.options import at_release, in_format
from lake.cli.output import JSON, as_text, show, show_table
from lake.errors import UsageError
from lake.history.diff import DayMove, as_table, day_moves
from lake.history.explain import explain
from lake.history.order_diff import OrderMoves, order_moves
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.query.catalogue import refresh_catalogue
from lake.releases.asof import pick, refuse_absent, refuse_unretained, resolve
from lake.releases.currency import read_currency, sign
from lake.releases.release import Release, find_release, list_releases, total
from lake.releases.restores import read_restores
from lake.releases.retention import read_retention
from lake.releases.tags import remove_tag, tags_of, write_tag
from lake.settings import LakeSettings

REVENUE = "gold.revenue_daily"


@click.command()
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first."
)
@in_format
def releases(limit: int, form: str) -> None:
    """List the releases, newest first.

    Each has its number, time, kind, parent, tags and changes, and whether publishing is on hold. If a
    release is not kept, a vacuum may have deleted its files, or it was not restored with the lake.
    """
    config, lake = open_lake()
    restores = read_restores(lake)
    tags, kept = tags_of(lake), read_retention(lake, config.section(LakeSettings), now=datetime.now(UTC))
    rows = [
        {
            "release": release.release,
            "published_at": release.published_at,
            "kind": release.kind,
            "parent": release.parent,
            "is_held": release.is_held,
            "is_kept": kept.has(release) and not any(restore.left_out(release) for restore in restores),
            "tags": tags.get(release.release, []),
            "excluded_runs": list(release.excluded_runs),
            "tables_moved": len({move.table for move in release.moved}),
            REVENUE: release.money.get(REVENUE),
            "moved": total(move for move in release.moved if move.table == REVENUE),
        }
        for release in list_releases(lake, limit=limit)
    ]
    if not rows and form == "table":
        print("nothing is published yet; `just sync` publishes the first release")
    elif form == "table":
        show_table(
            list(rows[0]),
            [[as_cell(value) for value in row.values()] for row in rows],
            spare=("excluded_runs", "parent", "is_held", "tables_moved", "tags", "is_kept"),
            whole=JSON,
        )
    else:
        show(pa.Table.from_pylist(rows), form)


@click.command()
@click.argument("release", required=False)
def rollback(release: str | None) -> None:
    """Serve an older release again, and put publishing on hold.

    RELEASE is a number, tag or time; default: the newest one that serves other rows.
    """
    config, lake = open_lake()
    current = find_release(lake, None)
    target = resolve(lake, release) if release else parent_of(lake, current)
    settings, now = config.section(LakeSettings), datetime.now(UTC)
    refuse_unretained(lake, target, now=now, settings=settings)
    refuse_absent(lake, target, current)
    published = run_rollback(lake, target, current=current, now=now, settings=settings)
    mark = sign(read_currency(lake, published))
    print(
        f"release {published.release} (rollback) serves the same rows as release {target.release}"
        f"{money_line(current, published, mark)}; publishing is on hold until `just resume`"
    )
    if included := sorted(set(current.excluded_runs) - set(published.excluded_runs)):
        print(
            f"runs that were excluded after release {target.release} are included again:"
            f" {', '.join(included)}; `just resume --exclude-run` excludes them"
        )
    refresh_catalogue(lake)


@click.command()
@click.option("--exclude-run", "exclude", multiple=True, metavar="RUN", help="Build without this ingest run.")
@click.option("--include-run", "include", multiple=True, metavar="RUN", help="Build with this run again.")
def resume(exclude: tuple[str, ...], include: tuple[str, ...]) -> None:
    """Lift the hold, so that builds publish again.

    The two options set which ingest runs the builds exclude.
    """
    _, lake = open_lake()
    published = run_resume(lake, exclude=exclude, include=include, now=datetime.now(UTC))
    if published is None:
        print("publishing is not on hold, and the excluded runs do not change")
        return
    runs = published.excluded_runs
    without = f", without the runs {', '.join(runs)}" if runs else ""
    print(f"release {published.release} (resume): builds publish again{without}; run `just transform` next")
    refresh_catalogue(lake)


@click.command()
@click.argument("release")
@click.argument("name")
def tag(release: str, name: str) -> None:
    """Give a release a tag.

    RELEASE is a number, tag or time. It is retained as long as it has a tag.
    """
    config, lake = open_lake()
    target, now = resolve(lake, release), datetime.now(UTC)
    refuse_unretained(lake, target, now=now, settings=config.section(LakeSettings))
    refuse_absent(lake, target, find_release(lake, None))
    before = write_tag(lake, target, name, now=now)
    moved = f"; release {before} is not any more" if before not in (None, target.release) else ""
    print(f"release {target.release} is tagged {name}{moved}")


@click.command()
@click.argument("name")
def untag(name: str) -> None:
    """Remove a tag from its release."""
    _, lake = open_lake()
    print(f"release {remove_tag(lake, name, now=datetime.now(UTC))} is no longer tagged {name}")


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--table", help="Compare only this table; default: all tables.")
@click.option("--orders", is_flag=True, help="Show the orders that differ too, and their differences.")
@in_format
def diff(before: str, after: str, table: str | None, orders: bool, form: str) -> None:
    """Show the days that differ between two releases.

    A and B are numbers, tags or times. Each day has its rows and money in both releases. With
    --orders, JSON and CSV contain only the orders.
    """
    config, lake = open_lake()
    settings = config.section(LakeSettings)
    old, new = resolve(lake, before), resolve(lake, after)
    days = day_moves(lake, settings, old, new, table=table)
    moved = None
    if orders:
        dates = {day.date for day in days if day.date} if table else None
        moved = order_moves(lake, settings, old, new, days=dates)
    if form != "table":
        show(moved.rows if moved else as_table(days), form)
        return
    money = money_line(old, new, sign(read_currency(lake, new)))
    print(f"release {old.release} → {new.release}{money}; {summary(days)}")
    show_days(days)
    if moved:
        show_orders(moved)


@click.command(name="explain")
@click.argument("day", metavar="DATE")
@click.option("--sales-type", metavar="T", help="Only orders of this sales type.")
@at_release
@in_format
def explain_day(day: str, sales_type: str | None, release: int | None, as_of: str | None, form: str) -> None:
    """Show the orders that make up the revenue of a day.

    DATE is a day of the shop, such as 2026-03-31.
    """
    config, lake = open_lake()
    pinned = pick(lake, release=release, as_of=as_of)
    orders = explain(lake, config.section(LakeSettings), pinned, as_day(day), sales_type=sales_type)
    if form != "table":
        show(orders.rows, form)
        return
    mark = sign(read_currency(lake, pinned))
    returns = f"; returns left out: {orders.returns_amount:,.2f} {mark} in {orders.returns_count}"
    kind = f" {sales_type}" if sales_type else ""
    print(
        f"release {pinned.release}, {day}{kind}: revenue {orders.revenue:,.2f} {mark},"
        f" orders {orders.rows.num_rows}{returns if orders.returns_count else ''}"
    )
    if orders.rows.num_rows:
        show(orders.rows, form)


def show_days(days: Sequence[DayMove]) -> None:
    """Print a table of the days that differ."""
    if not days:
        return
    names = ["table", "date", "rows before", "after", "gone", "new", "money before", "after", "moved"]
    show_table(
        names,
        [
            [
                day.table,
                day.date,
                day.rows_before,
                day.rows_after,
                day.rows_gone,
                day.rows_new,
                day.money_before,
                day.money_after,
                None if day.money_after is None else day.money_after - (day.money_before or Decimal()),
            ]
            for day in days
        ],
    )


def show_orders(moved: OrderMoves) -> None:
    """Print a table of the orders that differ; a cell has both values if they differ."""
    if moved.rows.num_rows:
        names = ("date", "status", "sales_type", "total", "revenue")
        show_table(
            ["order", "change", *names, "lines", "also"],
            [
                [
                    row["order_id"],
                    row["change"],
                    *(then_and_now(row[f"{name}_before"], row[f"{name}_after"]) for name in names),
                    "\n".join(row["lines"]),
                    words(row["also"]),
                ]
                for row in moved.rows.to_pylist()
            ],
        )
    more = f"; {moved.others} differ only in other columns" if moved.others else ""
    print(f"orders moved: {moved.rows.num_rows}{more}")


def summary(days: Sequence[DayMove]) -> str:
    """Return the numbers of tables and days that differ, in words."""
    if not days:
        return "nothing differs"
    return f"tables {len({day.table for day in days})}, days {len({day.date for day in days if day.date})}"


def then_and_now(before: object, after: object) -> str:
    """Return the value, or both values if they differ."""
    return as_text(after) if before == after else f"{as_text(before)} → {as_text(after)}"


def as_cell(value: object) -> object:
    """Return a value as a cell of the list of releases: texts separated by commas, true as yes."""
    if isinstance(value, list):
        return words(value)
    return ("yes" if value else "") if isinstance(value, bool) else value


def words(texts: Sequence[str]) -> str:
    """Return texts as one line, separated by commas."""
    return ", ".join(texts)


def money_line(before: Release, after: Release, mark: str) -> str:
    """Return the revenue of both releases and the difference; empty if one of them does not record it.

    ``mark`` is the sign of the currency.
    """
    was, now = before.money.get(REVENUE), after.money.get(REVENUE)
    if was is None or now is None:
        return ""
    return f": revenue {was:,.2f} → {now:,.2f} {mark} ({now - was:+,.2f})"


def as_day(text: str) -> date:
    """Return the day of a text. Raises UsageError if it is not a date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a day; write it as 2026-03-31") from None


COMMANDS: list[click.Command] = [releases, rollback, resume, tag, untag, diff, explain_day]
