"""The transform's command: ``python -m transform [--full]``."""

import click

from lake.cli import main, open_lake
from lake.errors import IngestIncomplete
from lake.paths import Lake
from lake.release import Release
from lake.runs import last_runs
from lake.settings import LakeSettings
from transform.build import run_build
from transform.models import read_models
from transform.settings import RulesSettings


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--full", is_flag=True, help="Build everything, also where nothing new was ingested.")
def transform(full: bool) -> None:
    """Build silver and gold from bronze, check them, and publish what changed as one release."""
    config, lake = open_lake()
    refuse_part_of_history(lake)
    release = run_build(
        lake,
        engine=config.section(LakeSettings),
        rules=config.section(RulesSettings),
        models=read_models(),
        full=full,
    )
    print(summary(release))


def refuse_part_of_history(lake: Lake) -> None:
    """Raise IngestIncomplete until all of history was read once: half of it is no number to publish."""
    last, complete = last_runs(lake)
    if complete is None:
        found = "the only ingest so far is incomplete" if last else "nothing was ingested yet"
        raise IngestIncomplete(f"{lake.place}: {found}; run `just ingest full` until it is complete")


def summary(release: Release | None) -> str:
    """Return what was published, in one line."""
    if release is None:
        return "transform: nothing changed, the last release stands"
    tables = {move.table for move in release.moved}
    revenue = release.money.get("gold.revenue_daily")
    return (
        f"release {release.release} ({release.kind}): {len(tables)} tables moved,"
        f" {release.rows.get('silver.orders', 0):,} orders, revenue {revenue:,.2f} ₴"
    )


if __name__ == "__main__":
    main(transform, "python -m transform")
