"""Resync: the steps that fetch, build and compare everything again, each in a process of its own.

If a step fails, the later ones do not run: a partial fetch is neither compared nor published.
"""

import sys
from collections.abc import Sequence
from datetime import datetime

from lake.ledgers.runs import new_run_id
from lake.paths import Lake
from lake.releases.release import refuse_hold
from serve.schedule import run_step

Step = tuple[str, ...]


def run_resync(
    lake: Lake, *, days: int | None, from_bronze: bool, dry_run: bool, because: str | None, now: datetime
) -> int:
    """Run the steps; return the exit code of the first that failed, 0 if none did.

    ``because`` is the reason for totals that decrease. Raises LakeError if publishing is on hold:
    the fetch would be wasted.
    """
    if not dry_run:
        refuse_hold(lake)
    run_id = None if from_bronze else new_run_id(now)
    for step in steps(run_id, days=days, dry_run=dry_run, because=because):
        if code := run_step(step):
            return code if code > 0 else 128 - code
    return 0


def steps(run_id: str | None, *, days: int | None, dry_run: bool, because: str | None) -> Sequence[Step]:
    """Return the commands. If ``run_id`` is None, they send no request to the CRM. Pure."""
    python = (sys.executable, "-m")
    options = (*(("--dry-run",) if dry_run else ()), *(("--because", because) if because else ()))
    if run_id is None:
        return [(*python, "transform", "resync", *options)]
    span = ("--days", str(days)) if days else ()
    return [
        (*python, "ingest", "resync", "--run", run_id, *span),
        (*python, "transform", "resync", "--run", run_id, *options),
    ]
