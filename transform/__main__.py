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
from lake.releases.currency import sign
from lake.releases.release import Release, current_release, hold, refuse_hold
from lake.settings import LakeSettings
from transform.build import BuildRequest, Proposal, run_build
from transform.commands import COMMANDS
from transform.models import read_models
from transform.reconciliation import compare, differences, reconciled_through, refuse_difference, resync_run
from transform.settings import RulesSettings, TransformSettings

log = structlog.get_logger()
# Builds that are tried if another one publishes first each time.
TRIES = 4


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--full", is_flag=True, help="Rebuild every table, even if nothing new was ingested.")
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
    refuse_partial_history(lake)
    release = build_with_retries(config, lake, full=full, reason=because)
    if release:
        archive_due(lake, datetime.now(UTC))
    currency = config.section(RulesSettings).currency
    print(summary(release or current_release(lake), is_new=release is not None, currency=currency))


@transform.command()
@click.option(
    "--run", "run_id", help="Compare with this resync run of the ingest. Without it, nothing is compared."
)
@click.option("--dry-run", is_flag=True, help="Show what would move, and publish nothing.")
@because_option
def resync(run_id: str | None, dry_run: bool, because: str | None) -> None:
    """Build everything from bronze, compare it with the CRM, show what moves, and publish.

    The second half of `just resync`.
    """
    config, lake = open_lake()
    refuse_partial_history(lake)
    run = resync_run(lake, run_id) if run_id else None
    if not dry_run:
        refuse_hold(lake)
    review = Review(lake, run)
    release = build_with_retries(
        config,
        lake,
        full=True,
        kind="resync",
        before_commit=review,
        dry_run=dry_run,
        reason=because or reason_of_resync(run),
    )
    if release:
        archive_due(lake, datetime.now(UTC))
        print(summary(release, is_new=True, currency=config.section(RulesSettings).currency))
        return
    if not dry_run:
        refuse_hold(lake)
    serving = current_release(lake)
    suffix = f"; {hold(serving)}" if serving and serving.is_held else ""
    print(f"{review.outcome}{suffix}")


def reason_of_resync(run: Run | None) -> str | None:
    """Return the reason that a resync gives for a decrease; None if it does not cover all of history."""
    return f"the CRM shows just this ({run.run_id})" if run and run.watermark else None


class Review:
    """The review of a resync before it is published: its comparison with the CRM, and its moves.

    ``outcome`` is the line to print if nothing is published.
    """

    def __init__(self, lake: Lake, run: Run | None) -> None:
        self._lake = lake
        self._run = run
        self.outcome = ""

    def __call__(self, proposal: Proposal) -> datetime | None:
        """Print the comparison and the moves; return the instant up to which all is reconciled, or None.

        Raises CheckFailed if the build differs from the CRM.
        """
        reconciled = None
        if self._run:
            comparison = compare(proposal.connection, self._lake, self._run)
            refuse_difference(comparison, proposal)
            print(comparison.line)
            reconciled = reconciled_through(self._run, comparison)
        serving = f"release {proposal.parent.release}" if proposal.parent else "an empty lake"
        rows = differences(proposal)
        if not rows:
            self.outcome = f"resync: nothing differs from {serving}, nothing is published"
            return reconciled
        self.outcome = (
            f"dry run: tables and months that differ from {serving}: {len(rows)}; nothing is published"
        )
        names = ["table", "month", "rows before", "after", "money before", "after", "moved"]
        show_table(names, rows, title=f"what moves from {serving}")
        return reconciled


def build_with_retries(config: Config, lake: Lake, **options: Any) -> Release | None:
    """Build and publish; if another build published first, build again on its release.

    ``options`` are fields of a ``BuildRequest``. Raises CommitConflict after TRIES builds.
    """
    request = BuildRequest(
        engine=config.section(LakeSettings),
        rules=config.section(RulesSettings),
        models=read_models(),
        guards=config.section(TransformSettings),
        **options,
    )
    for _ in range(TRIES):
        try:
            return run_build(lake, request)
        except CommitConflict as conflict:
            log.info("transform.build_conflict", reason=str(conflict))
            last = conflict
    raise last


def refuse_partial_history(lake: Lake) -> None:
    """Raise IngestIncomplete until all of history has been ingested once, because totals would be too low."""
    if watermark(lake) is None:
        state = "part of history was ingested" if last_runs(lake)[0] else "nothing was ingested yet"
        raise IngestIncomplete(f"{lake.place}: {state}; run `just ingest full` until it is complete")


def summary(release: Release | None, *, is_new: bool, currency: str) -> str:
    """Return, in one line, what was published, or why nothing was published on the serving release.

    ``currency`` is the code of the shop's currency.
    """
    if release is None or not is_new:
        if release and release.is_held:
            return hold(release)
        return "transform: nothing changed, the last release serves"
    tables = {move.table for move in release.moved}
    revenue = release.money.get("gold.revenue_daily")
    return (
        f"release {release.release} ({release.kind}): {counted(len(tables), 'table')} moved,"
        f" {counted(release.rows.get('silver.orders', 0), 'order')}, revenue {revenue:,.2f} {sign(currency)}"
    )


for command in COMMANDS:
    transform.add_command(command)

if __name__ == "__main__":
    main(transform, "python -m transform")
