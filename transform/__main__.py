"""The transform's commands: ``python -m transform [--full] | resync | models | checks | compare``."""

from datetime import UTC, datetime
from typing import Any

import click
import structlog

from lake.backup.archive import archive_due
from lake.cli.main import main, open_lake
from lake.cli.options import because as because_option
from lake.cli.output import show_table
from lake.config import Config
from lake.errors import CommitConflict, IngestIncomplete, UsageError
from lake.ledgers.runs import Run, last_runs, watermark
from lake.messages import counted
from lake.paths import Lake
from lake.releases.release import Release, current_release, hold, refuse_hold
from lake.settings import LakeSettings
from transform.build import Proposal, run_build
from transform.commands import COMMANDS
from transform.models import read_models
from transform.reconciliation import compare, difference, reconciled_through, refuse_difference, witness_run
from transform.settings import RulesSettings, TransformSettings

log = structlog.get_logger()
TRIES = 4


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--full", is_flag=True, help="Build everything, also where nothing new was ingested.")
@because_option
@click.pass_context
def transform(context: click.Context, full: bool, because: str | None) -> None:
    """Build silver and gold from bronze, check them, and publish what changed as one release."""
    if context.invoked_subcommand:
        if full or because:
            option = "--full" if full else "--because"
            raise UsageError(f"{option} and {context.invoked_subcommand}: choose one")
        return
    config, lake = open_lake()
    refuse_part_of_history(lake)
    release = build_alone(config, lake, full=full, because=because)
    if release:
        archive_due(lake, datetime.now(UTC))
    print(summary(release or current_release(lake), is_new=release is not None))


@transform.command()
@click.option(
    "--run", "run_id", help="Compare with what this resync of the ingest saw; with nothing if not said."
)
@click.option("--dry-run", is_flag=True, help="Show what would move, and publish nothing.")
@because_option
def resync(run_id: str | None, dry_run: bool, because: str | None) -> None:
    """Build everything from bronze, compare it with the CRM, show what moves, and publish.

    The second half of `just resync`.
    """
    config, lake = open_lake()
    refuse_part_of_history(lake)
    run = witness_run(lake, run_id) if run_id else None
    if not dry_run:
        refuse_hold(lake)
    review = Review(lake, run)
    release = build_alone(
        config,
        lake,
        full=True,
        kind="resync",
        before_commit=review,
        dry_run=dry_run,
        because=because or seen_in_full(run),
    )
    if release:
        archive_due(lake, datetime.now(UTC))
        print(summary(release, is_new=True))
        return
    if not dry_run:
        refuse_hold(lake)
    serving = current_release(lake)
    held = f"; {hold(serving)}" if serving and serving.is_held else ""
    print(f"{review.outcome}{held}")


def seen_in_full(run: Run | None) -> str | None:
    """Return the reason that a resync of all history is for a total that falls; None for one of a part."""
    return f"the CRM shows just this ({run.run_id})" if run and run.watermark else None


class Review:
    """What is looked at before a resync is published: whether it is valid, and what it would move."""

    def __init__(self, lake: Lake, run: Run | None) -> None:
        self._lake = lake
        self._run = run
        self.outcome = ""

    def __call__(self, proposal: Proposal) -> datetime | None:
        """Print what was compared and what differs; return through when all is reconciled."""
        reconciled = None
        if self._run:
            comparison = compare(proposal.connection, self._lake, self._run)
            refuse_difference(comparison, proposal)
            print(comparison.line)
            reconciled = reconciled_through(self._run, comparison)
        serving = f"release {proposal.parent.release}" if proposal.parent else "an empty lake"
        rows = difference(proposal)
        if not rows:
            self.outcome = f"resync: nothing differs from {serving}, nothing is published"
            return reconciled
        self.outcome = (
            f"dry run: tables and months that differ from {serving}: {len(rows)}; nothing is published"
        )
        names = ["table", "month", "rows before", "after", "money before", "after", "moved"]
        show_table(names, rows, title=f"what moves from {serving}")
        return reconciled


def build_alone(config: Config, lake: Lake, *, full: bool, **more: Any) -> Release | None:
    """Build and publish; where another build was first, build again on what it published."""
    for _ in range(TRIES):
        try:
            return run_build(
                lake,
                engine=config.section(LakeSettings),
                rules=config.section(RulesSettings),
                models=read_models(),
                full=full,
                guards=config.section(TransformSettings),
                **more,
            )
        except CommitConflict as conflict:
            log.info("transform.met_another", reason=str(conflict))
            last = conflict
    raise last


def refuse_part_of_history(lake: Lake) -> None:
    """Raise IngestIncomplete until all of history was read once: half of it is no number to publish."""
    if watermark(lake) is None:
        found = "part of history was ingested" if last_runs(lake)[0] else "nothing was ingested yet"
        raise IngestIncomplete(f"{lake.place}: {found}; run `just ingest full` until it is complete")


def summary(release: Release | None, *, is_new: bool) -> str:
    """Return, in one line, what was published, or why nothing was on the release that serves."""
    if release is None or not is_new:
        if release and release.is_held:
            return hold(release)
        return "transform: nothing changed, the last release stands"
    tables = {move.table for move in release.moved}
    revenue = release.money.get("gold.revenue_daily")
    return (
        f"release {release.release} ({release.kind}): {counted(len(tables), 'table')} moved,"
        f" {counted(release.rows.get('silver.orders', 0), 'order')}, revenue {revenue:,.2f} ₴"
    )


for command in COMMANDS:
    transform.add_command(command)

if __name__ == "__main__":
    main(transform, "python -m transform")
