"""Commands that only read: ``python -m transform models | checks | compare``."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import click

from lake.cli.main import open_lake
from lake.cli.output import show_table
from lake.errors import CheckFailed, LakeError, UsageError
from lake.ledgers.findings import DAMAGE, HEALED, INGEST, read_findings, write_findings
from lake.messages import counted
from lake.releases.currency import read_currency, sign
from lake.releases.release import Release, current_release, list_releases
from lake.settings import LakeSettings
from transform.build import explain_memory_limit
from transform.checks import checks_of
from transform.full_comparison import CHECK, compare_with_full, finding_of
from transform.guards import guards
from transform.lineage_svg import svg
from transform.models import Model, read_models
from transform.settings import RulesSettings, TransformSettings

# Newest releases in which the last move of a table is searched.
SEARCHED_RELEASES = 500


@click.command()
@click.option(
    "--graph", type=click.Path(dir_okay=False), help="Draw the models and their inputs as an SVG file."
)
def models(graph: str | None) -> None:
    """List the models: what a row is, how each is rebuilt, its rows, the release that moved it last."""
    if graph is not None and not graph.lower().endswith(".svg"):
        raise UsageError(f"{graph!r}: the drawing is an SVG; name a file that ends in .svg")
    all_models = read_models()
    if graph:
        draw(all_models, graph)
        return
    _, lake = open_lake(keeps_umask=True)
    releases = list_releases(lake, limit=SEARCHED_RELEASES)
    rows = releases[0].rows if releases else {}
    show_table(
        ("table", "one row per", "rebuilt", "rows", "moved in", "reads"),
        [
            (
                model.name,
                model.header.grain.removeprefix("one row per "),
                model.header.rebuild,
                rows.get(model.name),
                last_moved_in(model.name, releases),
                ", ".join(sorted(model.reads)),
            )
            for model in all_models
        ],
    )


def draw(all_models: Sequence[Model], file: str) -> None:
    """Write the drawing of the models and their inputs. Raises LakeError."""
    try:
        Path(file).write_text(svg({model.name: model.reads for model in all_models}), "utf-8")
    except OSError as error:
        raise LakeError(f"{file}: the drawing can't be written: {error.strerror}") from None
    print(f"{file}: {counted(len(all_models), 'model')} and what they read; open it in a browser")


def last_moved_in(table: str, releases: Sequence[Release]) -> str:
    """Return the release in which a table last moved, or "before N" if it is older than these. Pure."""
    if not releases or table not in releases[0].tables:
        return ""
    for later, release in pairwise(releases):
        if release.tables.get(table) != releases[0].tables[table]:
            return str(later.release)
    last = releases[-1]
    return str(last.release) if last.parent is None else f"before {last.release}"


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also list every check and whether it holds.")
def checks(everything: bool) -> None:
    """Show the open findings of the checks; each condition once, with its amount."""
    config, lake = open_lake()
    currency = sign(config.section(RulesSettings).currency)
    findings = read_findings(lake)
    all_checks = [check for model in read_models() for check in checks_of(model)]
    all_checks += [*guards(config.section(TransformSettings)), CHECK]
    names = [f"{check.model}.{check.name}" for check in all_checks]
    if everything:
        show_table(
            ("check", "severity", "what holds", "state"),
            [
                (name, check.severity, check.fact, findings[name].state if name in findings else "holds")
                for name, check in zip(names, all_checks, strict=True)
            ],
            spare=("what holds",),
        )
    open_findings = [finding for finding in findings.values() if finding.state != HEALED]
    if open_findings:
        show_table(
            ("check", "severity", "rows", f"amount {currency}", "since", "last change", "the first row"),
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
                for finding in open_findings
            ],
            spare=("last change", "since"),
        )
    removed = [
        finding
        for finding in open_findings
        if finding.fingerprint not in names
        and not finding.fingerprint.startswith((f"{INGEST}.", f"{DAMAGE}."))
    ]
    print(
        f"{counted(len(all_checks), 'check')}, {counted(len(open_findings), 'finding')} open"
        + (f", {len(removed)} of checks that no longer exist" if removed else "")
    )


@click.command()
def compare() -> None:
    """Compare the release that serves with a full build: exit 3 and a finding if they differ."""
    config, lake = open_lake()
    release, engine = current_release(lake), config.section(LakeSettings)
    if release is None:
        print(f"{lake.place}: nothing is published yet, so there is nothing to compare")
        return
    with explain_memory_limit(engine):
        moved = compare_with_full(
            lake, release, engine=engine, rules=config.section(RulesSettings), models=read_models()
        )
    finding = finding_of(moved, now=datetime.now(UTC))
    write_findings(lake, [finding])
    if moved:
        names = [
            "table",
            "month",
            "rows",
            "in a full build",
            f"money {sign(read_currency(lake, release))}",
            "in a full build",
        ]
        show_table(
            names,
            [(m.table, m.month, m.rows_before, m.rows_after, m.money_before, m.money_after) for m in moved],
        )
        sys.stdout.flush()
        raise CheckFailed(
            f"release {release.release} differs from a full build in {counted(len(moved), 'partition')},"
            f" the first is {finding.example}; `just transform --full` publishes the full build;"
            ' if a model differs again, set rebuild = "whole" in its header'
        )
    print(f"release {release.release} equals a full build: {counted(len(release.rows), 'table')} compared")


COMMANDS = (models, checks, compare)
