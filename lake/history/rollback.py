"""Rollback and resume: readers go to an older release, and builds wait until they may go on.

Both publish a release that names versions already there: one commit to the ledger,
and nothing else is read or written, whatever the size of the lake. A rollback also
holds publishing, or the next build would bring back what was rolled back.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec
import pyarrow.compute as pc

from lake.delta.table import open_table, table_exists
from lake.errors import NoRelease, UsageError
from lake.ledgers.runs import RUNS
from lake.paths import Lake
from lake.query.catalogue import publish
from lake.releases.asof import refuse_gone
from lake.releases.release import RESUME, ROLLBACK, Move, Release, alike, find_release
from lake.settings import LakeSettings

# Of a release whose runs changed nothing says any more what it was built from: the next build must run.
NOT_BUILT = ""


def parent_of(lake: Lake, release: Release) -> Release:
    """Return the release before, passing by those that show the same. Raises NoRelease for the first."""
    last = alike(release, partial(find_release, lake))[-1]
    if last.parent is None:
        is_it = "is the first" if last == release else f"shows what the first, release {last.release}, did"
        raise NoRelease(f"release {release.release} {is_it}: there is none to go back to")
    return find_release(lake, last.parent)


def run_rollback(
    lake: Lake, target: Release, *, current: Release, now: datetime, settings: LakeSettings
) -> Release:
    """Publish a release that shows what ``target`` shows, and hold publishing; return it.

    It is a release like any other: a second rollback, to its parent, undoes it. Raises
    UsageError where the target serves already, NoRelease where it is older than what is
    kept, CommitConflict where ``current`` is not the newest any more.
    """
    if (target.tables, target.excluded_runs) == (current.tables, current.excluded_runs):
        is_it = "is the one that serves" if target == current else f"serves, as release {current.release}"
        raise UsageError(f"release {target.release} {is_it}; name an older one")
    refuse_gone(lake, target, now=now, settings=settings)
    release = msgspec.structs.replace(
        target,
        release=current.release + 1,
        published_at=now,
        kind=ROLLBACK,
        parent=current.release,
        moved=moves(current, target),
        is_held=True,
    )
    return publish(lake, release)


def run_resume(
    lake: Lake, *, exclude: Sequence[str] = (), include: Sequence[str] = (), now: datetime
) -> Release | None:
    """Publish a release that lifts the hold; builds leave out the excluded runs from then on.

    It shows what the current one shows. None, and nothing is published, where there is no
    hold and the runs stay the same. Raises UsageError for a run that never was, or that is
    to be included and was not excluded; CommitConflict as ``run_rollback`` does.
    """
    current = find_release(lake, None)
    runs = excluded(lake, current, exclude=set(exclude), include=set(include))
    if not current.is_held and runs == current.excluded_runs:
        return None
    release = msgspec.structs.replace(
        current,
        release=current.release + 1,
        published_at=now,
        kind=RESUME,
        parent=current.release,
        moved=(),
        is_held=False,
        excluded_runs=runs,
        models_hash=current.models_hash if runs == current.excluded_runs else NOT_BUILT,
    )
    return publish(lake, release)


def excluded(lake: Lake, current: Release, *, exclude: set[str], include: set[str]) -> tuple[str, ...]:
    """Return the runs to leave out, in order. Raises UsageError."""
    held = set(current.excluded_runs)
    if both := exclude & include:
        raise UsageError(f"run {min(both)} can't be excluded and included at once")
    if unknown := include - held:
        found = f"excluded are {', '.join(sorted(held))}" if held else "no run is"
        raise UsageError(f"run {min(unknown)} is not excluded; {found}")
    for run in sorted(exclude - held):
        if not is_run(lake, run):
            raise UsageError(f'run {run}: no such run; see `just sql "from ops.runs"`')
    return tuple(sorted((held | exclude) - include))


def is_run(lake: Lake, run_id: str) -> bool:
    """True where a run has a receipt, or was killed before it and left observations."""
    for name in [RUNS, *lake.tables("bronze")]:
        table = open_table(lake, name) if table_exists(lake, name) else None
        if table and "run_id" in table.schema.names:
            found = table.read(["run_id"], where=pc.field("run_id") == run_id).num_rows
            if found:
                return True
    return False


def moves(before: Release, after: Release) -> tuple[Move, ...]:
    """Return how the tables that two releases show in different versions differ, each as a whole. Pure."""
    return tuple(
        Move(
            table=name,
            month=None,
            rows_before=before.rows.get(name, 0),
            rows_after=after.rows.get(name, 0),
            money_before=before.money.get(name),
            money_after=after.money.get(name),
        )
        for name in sorted(before.tables.keys() | after.tables.keys())
        if before.tables.get(name) != after.tables.get(name)
    )
