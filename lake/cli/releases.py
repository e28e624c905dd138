"""The commands over releases: list, roll back, resume, tag, compare, explain."""

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
from lake.releases.release import Release, find_release, list_releases, total
from lake.releases.restores import read_restores
from lake.releases.retention import read_retention
from lake.releases.tags import remove_tag, tags_of, write_tag
from lake.settings import LakeSettings

REVENUE = "gold.revenue_daily"


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Newest first.")
@in_format
def releases(limit: int, form: str) -> None:
    """List releases: number, time, kind, parent, what moved, whether publishing is held, tags.

    One that is not kept may have lost its files to a vacuum, or was not restored with the lake.
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
            "is_kept": kept.has(release) and not any(one.left_out(release) for one in restores),
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
    """Let readers go back to RELEASE (a number, tag or time; the parent if not said), and hold publishing."""
    config, lake = open_lake()
    current = find_release(lake, None)
    target = resolve(lake, release) if release else parent_of(lake, current)
    settings, now = config.section(LakeSettings), datetime.now(UTC)
    refuse_unretained(lake, target, now=now, settings=settings)
    refuse_absent(lake, target, current)
    made = run_rollback(lake, target, current=current, now=now, settings=settings)
    print(
        f"release {made.release} (rollback) shows what release {target.release} showed"
        f"{money_line(current, made)}; publishing is held until `just resume`"
    )
    if back := sorted(set(current.excluded_runs) - set(made.excluded_runs)):
        print(
            f"runs excluded after release {target.release} are not any more: {', '.join(back)};"
            " `just resume --exclude-run` leaves them out again"
        )
    refresh_catalogue(lake)


@click.command()
@click.option("--exclude-run", "exclude", multiple=True, metavar="RUN", help="Build without this ingest run.")
@click.option("--include-run", "include", multiple=True, metavar="RUN", help="Build with this run again.")
def resume(exclude: tuple[str, ...], include: tuple[str, ...]) -> None:
    """Lift the hold: builds publish again, without the excluded runs."""
    _, lake = open_lake()
    made = run_resume(lake, exclude=exclude, include=include, now=datetime.now(UTC))
    if made is None:
        print("nothing is held, and the excluded runs stay as they are")
        return
    without = f", without {', '.join(made.excluded_runs)}" if made.excluded_runs else ""
    print(f"release {made.release} (resume): builds publish again{without}; `just transform` is the next one")
    refresh_catalogue(lake)


@click.command()
@click.argument("release")
@click.argument("name")
def tag(release: str, name: str) -> None:
    """Give RELEASE (a number, tag or time) a NAME; it is kept for as long as it has one."""
    config, lake = open_lake()
    found, now = resolve(lake, release), datetime.now(UTC)
    refuse_unretained(lake, found, now=now, settings=config.section(LakeSettings))
    refuse_absent(lake, found, find_release(lake, None))
    before = write_tag(lake, found, name, now=now)
    moved = f", and release {before} no longer" if before not in (None, found.release) else ""
    print(f"release {found.release} is {name}{moved}")


@click.command()
@click.argument("name")
def untag(name: str) -> None:
    """Take a NAME from its release."""
    _, lake = open_lake()
    print(f"release {remove_tag(lake, name, now=datetime.now(UTC))} is no longer {name}")


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--table", help="Of this table alone; of all if not said.")
@click.option("--orders", is_flag=True, help="Also the orders that moved, and what changed in each.")
@in_format
def diff(before: str, after: str, table: str | None, orders: bool, form: str) -> None:
    """Show which days moved between releases A and B (numbers, tags or times): rows and money, then and now.

    As JSON and CSV, --orders prints the orders alone.
    """
    config, lake = open_lake()
    settings = config.section(LakeSettings)
    old, new = resolve(lake, before), resolve(lake, after)
    days = day_moves(lake, settings, old, new, table=table)
    moved = None
    if orders:
        wanted = {day.date for day in days if day.date} if table else None
        moved = order_moves(lake, settings, old, new, days=wanted)
    if form != "table":
        show(moved.rows if moved else as_table(days), form)
        return
    print(f"release {old.release} → {new.release}{money_line(old, new)}; {told(days)}")
    show_days(days)
    if moved:
        show_orders(moved)


@click.command(name="explain")
@click.argument("day", metavar="DATE")
@click.option("--sales-type", metavar="T", help="Of this sales type alone.")
@at_release
@in_format
def explain_day(day: str, sales_type: str | None, release: int | None, as_of: str | None, form: str) -> None:
    """Show which orders make the revenue of a shop day (DATE: 2026-03-31) in a release."""
    config, lake = open_lake()
    found = pick(lake, release=release, as_of=as_of)
    told = explain(lake, config.section(LakeSettings), found, as_day(day), sales_type=sales_type)
    if form != "table":
        show(told.rows, form)
        return
    left = f"; left out as returned: {told.returns_amount:,.2f} ₴ of {told.returns_count}"
    kind = f" {sales_type}" if sales_type else ""
    print(
        f"release {found.release}, {day}{kind}:"
        f" revenue {told.revenue:,.2f} ₴, orders {told.rows.num_rows}{left if told.returns_count else ''}"
    )
    if told.rows.num_rows:
        show(told.rows, form)


def show_days(days: Sequence[DayMove]) -> None:
    """Print the days that moved."""
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
    """Print the orders that moved, then and now in one cell."""
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
    more = f"; {moved.others} differ in other columns alone" if moved.others else ""
    print(f"orders moved: {moved.rows.num_rows}{more}")


def told(days: Sequence[DayMove]) -> str:
    """Return how much differs in a few words."""
    if not days:
        return "nothing differs"
    return f"tables {len({day.table for day in days})}, days {len({day.date for day in days if day.date})}"


def then_and_now(before: object, after: object) -> str:
    """Return a value, or both where it changed."""
    return as_text(after) if before == after else f"{as_text(before)} → {as_text(after)}"


def as_cell(value: object) -> object:
    """Return a value as the list of releases shows it: texts with commas, true as yes."""
    if isinstance(value, list):
        return words(value)
    return ("yes" if value else "") if isinstance(value, bool) else value


def words(texts: Sequence[str]) -> str:
    """Return texts in one line."""
    return ", ".join(texts)


def money_line(before: Release, after: Release) -> str:
    """Return what revenue was and is, where both releases say it."""
    was, now = before.money.get(REVENUE), after.money.get(REVENUE)
    return "" if was is None or now is None else f": revenue {was:,.2f} → {now:,.2f} ₴ ({now - was:+,.2f})"


def as_day(text: str) -> date:
    """Return a day that a person wrote. Raises UsageError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no day; write it as 2026-03-31") from None


COMMANDS: list[click.Command] = [releases, rollback, resume, tag, untag, diff, explain_day]
