"""Commands that look: ``python -m transform models | checks | compare``."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import click

from lake.cli.main import open_lake
from lake.cli.output import show_table
from lake.errors import CheckFailed, LakeError, UsageError
from lake.ledgers.findings import HEALED, read_findings, write_findings
from lake.messages import counted
from lake.releases.release import Release, current_release, list_releases
from lake.settings import LakeSettings
from transform.build import within
from transform.checks import checks_of
from transform.full_comparison import CHECK, compare_with_full, finding_of
from transform.guards import guards
from transform.lineage_svg import svg
from transform.models import read_models
from transform.settings import RulesSettings, TransformSettings

# So many releases are looked at for the one in which a table moved last.
LOOKED_BACK = 500


@click.command()
@click.option("--graph", type=click.Path(dir_okay=False), help="Draw who reads whom into this SVG file.")
def models(graph: str | None) -> None:
    """List the models: what a row is, how each is rebuilt, its rows, the release that moved it last."""
    if graph is not None and not graph.lower().endswith(".svg"):
        raise UsageError(f"{graph!r}: the drawing is an SVG; name a file that ends in .svg")
    found = read_models()
    if graph:
        try:
            Path(graph).write_text(svg({model.name: model.reads for model in found}), "utf-8")
        except OSError as error:
            raise LakeError(f"{graph}: the drawing can't be written: {error.strerror}") from None
        print(f"{graph}: {counted(len(found), 'model')} and what they read; open it in a browser")
        return
    _, lake = open_lake()
    releases = list_releases(lake, limit=LOOKED_BACK)
    rows = releases[0].rows if releases else {}
    show_table(
        ("table", "one row per", "rebuilt", "rows", "moved in", "reads"),
        [
            (
                model.name,
                model.header.grain.removeprefix("one row per "),
                model.header.rebuild,
                rows.get(model.name),
                moved_in(model.name, releases),
                ", ".join(sorted(model.reads)),
            )
            for model in found
        ],
    )


def moved_in(table: str, releases: Sequence[Release]) -> str:
    """Return the release from which on the table is as it is now, or that it is older than these. Pure."""
    if not releases or table not in releases[0].tables:
        return ""
    for later, release in pairwise(releases):
        if release.tables.get(table) != releases[0].tables[table]:
            return str(later.release)
    last = releases[-1]
    return str(last.release) if last.parent is None else f"before {last.release}"


@click.command()
@click.option("--all", "everything", is_flag=True, help="Every check there is, also those that hold.")
def checks(everything: bool) -> None:
    """Show what the checks found and what is not healed yet; each condition once, with its amount in ₴."""
    config, lake = open_lake()
    found = read_findings(lake)
    every = [check for model in read_models() for check in checks_of(model)]
    every += [*guards(config.section(TransformSettings)), CHECK]
    names = [f"{check.model}.{check.name}" for check in every]
    gone = [name for name, finding in found.items() if name not in names and finding.state != HEALED]
    if everything:
        show_table(
            ("check", "severity", "what holds", "state"),
            [
                (name, check.severity, check.fact, found[name].state if name in found else "holds")
                for name, check in zip(names, every, strict=True)
            ],
            spare=("what holds",),
        )
    shown = [finding for finding in found.values() if finding.state != HEALED]
    if shown:
        show_table(
            ("check", "severity", "rows", "amount ₴", "since", "last change", "the first row"),
            [
                (
                    finding.fingerprint,
                    finding.severity,
                    finding.rows,
                    finding.amount,
                    f"{finding.first_seen_at:%Y-%m-%d %H:%M}",
                    f"{finding.seen_at:%Y-%m-%d %H:%M}",
                    finding.example,
                )
                for finding in shown
            ],
            spare=("last change", "since"),
        )
    print(
        f"{counted(len(every), 'check')}, {counted(len(shown), 'finding')} open"
        + (f", {len(gone)} of checks that are gone" if gone else "")
    )


@click.command()
def compare() -> None:
    """Build all of the release that serves anew and compare: exit 3 and a finding where they differ."""
    config, lake = open_lake()
    release, engine = current_release(lake), config.section(LakeSettings)
    if release is None:
        print(f"{lake.place}: nothing is published yet, so there is nothing to compare")
        return
    with within(engine):
        moved = compare_with_full(
            lake, release, engine=engine, rules=config.section(RulesSettings), models=read_models()
        )
    found = finding_of(moved, now=datetime.now(UTC))
    write_findings(lake, [found])
    if moved:
        names = ["table", "month", "rows", "in a full build", "money ₴", "in a full build"]
        show_table(
            names,
            [(m.table, m.month, m.rows_before, m.rows_after, m.money_before, m.money_after) for m in moved],
        )
        sys.stdout.flush()
        raise CheckFailed(
            f"release {release.release} differs from a full build in {counted(len(moved), 'part')}, the first"
            f" is {found.example}; `just transform --full` publishes the full build; a model that differs"
            ' again is to say rebuild = "whole" in its header'
        )
    print(f"release {release.release} equals a full build: {counted(len(release.rows), 'table')} compared")


COMMANDS = (models, checks, compare)
