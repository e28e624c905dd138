"""The transform's command: ``python -m transform [--full]``."""

from datetime import UTC, datetime

import click
import structlog

from lake.archive import archive_due
from lake.cli import main, open_lake
from lake.config import Config
from lake.errors import CommitConflict, IngestIncomplete
from lake.paths import Lake
from lake.release import Release, current_release, hold
from lake.runs import last_runs, watermark
from lake.settings import LakeSettings
from transform.build import run_build
from transform.models import read_models
from transform.settings import RulesSettings

log = structlog.get_logger()
TRIES = 4


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--full", is_flag=True, help="Build everything, also where nothing new was ingested.")
def transform(full: bool) -> None:
    """Build silver and gold from bronze, check them, and publish what changed as one release."""
    config, lake = open_lake()
    refuse_part_of_history(lake)
    release = build_alone(config, lake, full=full)
    if release:
        archive_due(lake, datetime.now(UTC))
    print(summary(release or current_release(lake), is_new=release is not None))


def build_alone(config: Config, lake: Lake, *, full: bool) -> Release | None:
    """Build and publish; where another build was first, build again on what it published."""
    for _ in range(TRIES):
        try:
            return run_build(
                lake,
                engine=config.section(LakeSettings),
                rules=config.section(RulesSettings),
                models=read_models(),
                full=full,
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
        f"release {release.release} ({release.kind}): {len(tables)} tables moved,"
        f" {release.rows.get('silver.orders', 0):,} orders, revenue {revenue:,.2f} ₴"
    )


if __name__ == "__main__":
    main(transform, "python -m transform")
