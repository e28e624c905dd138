"""Rollback and resume: serve an older release again, and lift the hold that this puts on builds.

Both publish a release of versions that exist already. That is one commit to the ledger of
releases, and its cost does not depend on the size of the lake. A rollback also holds publishing,
because the next build would otherwise publish the rolled-back rows again.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec
import pyarrow.compute as pc

from lake.delta.tables import open_table, table_exists
from lake.errors import NoRelease, UsageError
from lake.ledgers.runs import RUNS
from lake.paths import Lake
from lake.query.catalogue import publish
from lake.releases.asof import refuse_unretained
from lake.releases.release import RESUME, ROLLBACK, Move, Release, alike, find_release
from lake.settings import LakeSettings

# Models hash of a release whose set of excluded runs has changed; it forces the next build.
NOT_BUILT = ""


def parent_of(lake: Lake, release: Release) -> Release:
    """Return the newest older release that serves other tables. Raises NoRelease if there is none."""
    last = alike(release, partial(find_release, lake))[-1]
    if last.parent is None:
        is_it = "is the first" if last == release else f"serves the same as the first, release {last.release}"
        raise NoRelease(f"release {release.release} {is_it}: there is no release to roll back to")
    return find_release(lake, last.parent)


def run_rollback(
    lake: Lake, target: Release, *, current: Release, now: datetime, settings: LakeSettings
) -> Release:
    """Publish a release with the tables of ``target``, and hold publishing; return the release.

    A second rollback, to the new release's parent, undoes the first. Raises UsageError if the
    target is serving already, NoRelease if it is older than the retention, and CommitConflict if
    ``current`` is no longer the newest release.
    """
    if (target.tables, target.excluded_runs) == (current.tables, current.excluded_runs):
        alias = "" if target == current else f", as release {current.release}"
        raise UsageError(f"release {target.release} is serving already{alias}; name an older release")
    refuse_unretained(lake, target, now=now, settings=settings)
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
    """Publish a release that lifts the hold and sets the runs that builds leave out; return it.

    It serves the same tables as the current release. Return None and publish nothing if there is no
    hold and the excluded runs do not change. Raises UsageError if an excluded run does not exist
    or an included run is not excluded, and CommitConflict like ``run_rollback``.
    """
    current = find_release(lake, None)
    runs = runs_to_exclude(lake, current, exclude=set(exclude), include=set(include))
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


def runs_to_exclude(lake: Lake, current: Release, *, exclude: set[str], include: set[str]) -> tuple[str, ...]:
    """Return the runs that builds leave out from now on, sorted. Raises UsageError."""
    excluded = set(current.excluded_runs)
    if both := exclude & include:
        raise UsageError(f"run {min(both)} can't be both excluded and included")
    if unknown := include - excluded:
        runs = f"the excluded runs are {', '.join(sorted(excluded))}" if excluded else "no run is excluded"
        raise UsageError(f"run {min(unknown)} is not excluded; {runs}")
    for run in sorted(exclude - excluded):
        if not is_run(lake, run):
            raise UsageError(f'run {run}: no such run; see `just sql "from ops.runs"`')
    return tuple(sorted((excluded | exclude) - include))


def is_run(lake: Lake, run_id: str) -> bool:
    """Return True if the run has a receipt, or has observations because it was killed before its receipt."""
    for name in [RUNS, *lake.tables("bronze")]:
        table = open_table(lake, name) if table_exists(lake, name) else None
        if table and "run_id" in table.schema.names:
            rows = table.read(["run_id"], where=pc.field("run_id") == run_id)
            if rows.num_rows:
                return True
    return False


def moves(before: Release, after: Release) -> tuple[Move, ...]:
    """Return rows and money of each table whose version differs between two releases. Pure."""
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
