"""Backup: a copy of a release's files in another place, which is a lake itself, and the restore from it.

A file of a Delta table never changes, so a file that is in the place already is not copied again.
Data files are copied first, then the logs that reference them, the ledgers, ``ops.releases``, and at
the end the manifest of the backup. If a backup is killed at any moment, the place opens and restores
as the previous backup or as this one. If two backups to one place run concurrently, the one that ends
last is refused, because it may reference files that the other one pruned.

Bronze is copied in the version that the release consumed and in its head version, with the changes in
between. The ledger of runs is read before these heads. Otherwise a restored lake could have the record
of a run without its observations, and the next ingest would never fetch them.
"""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from deltalake import DeltaTable

from lake.backup.copy import Copied, Copy, Versions
from lake.delta.files import ASIDE, Files
from lake.delta.tables import list_tables, open_table, table_exists
from lake.errors import CommitConflict, UsageError
from lake.paths import LOCKS, Lake
from lake.query.session import heads
from lake.releases.asof import refuse_absent
from lake.releases.release import RELEASES, Release, current_release, find_release
from lake.releases.restores import RESTORES, UNFINISHED, Restored, write_restore

log = structlog.get_logger()
MANIFEST = "backup.json"


class Manifest(msgspec.Struct, frozen=True):
    """The contents of a backup: the versions of each table, the last of which is its head in the backup."""

    release: int
    taken_at: datetime
    versions: Versions


class UnfinishedRestore(msgspec.Struct, frozen=True):
    """A restore that is running, or was killed: the manifest of its backup, and its start."""

    manifest: Manifest
    begun_at: datetime


def back_up(
    lake: Lake, place: str, *, now: datetime, releases: Sequence[int] = (), prune: bool = False
) -> Copied:
    """Copy the files of the current release, and of the older ``releases``, to a place.

    ``prune`` deletes every file of the place that only older backups needed, after the new backup is
    complete. Raises NoRelease if a release does not exist, UsageError if the place is not allowed,
    CommitConflict if another backup to it ended during this one, and LakeError if the lake lacks a
    file. After an error the place still restores as the previous backup.
    """
    refuse_place(lake, place)
    files = Files(place)
    before = manifest_in(files)
    versions = versions_to_copy(lake, releases)
    refuse_stranger(lake, Lake(root=place))
    Lake(root=place).create()
    release = newest_in(lake, versions[RELEASES][-1])
    copy = Copy(lake, files, versions)
    copied = copy.run(release)
    manifest = Manifest(release.release, now.astimezone(UTC), versions)
    if manifest_in(files) != before:
        raise CommitConflict(
            f"{files.place}: another backup to this place ended during this one; run it again"
        )
    files.write(MANIFEST, [msgspec.json.format(msgspec.json.encode(manifest))])
    files.tidy()
    if prune:
        copied = msgspec.structs.replace(copied, pruned=copy.prune())
    log.info("backup.copied", **msgspec.structs.asdict(copied))
    return copied


def restore(place: str, lake: Lake) -> Copied:
    """Copy a backup to an empty place, which is then the lake that was backed up.

    A restore that was killed is continued. Raises UsageError if anything else is in the place, and
    LakeError if the backup is incomplete.
    """
    manifest = read_manifest(place)
    source, target = Lake(root=place), Files(lake.place)
    if f"{lake.place}/".startswith(f"{source.place}/"):
        raise UsageError(f"{lake.place} is in the backup; restore to a place outside of it")
    lake.create()
    unfinished = begin(target, Files(place), manifest)
    copy = Copy(source, target, manifest.versions, remedy="restore another backup")
    copied = copy.run(newest_in(source, manifest.versions[RELEASES][-1]))
    write_restore(lake, Restored(unfinished.begun_at, copied.release, copy.openable))
    target.tidy()
    target.delete([UNFINISHED])
    log.info("backup.restored", **msgspec.structs.asdict(copied))
    return copied


def begin(target: Files, source: Files, manifest: Manifest) -> UnfinishedRestore:
    """Record the start of a restore in an empty target, or return the record of one that was killed.

    Raises UsageError if the target has a file that the killed restore did not copy.
    """
    paths = {path for path in target.sizes() if not path.startswith((f"{ASIDE}/", f"{LOCKS}/"))}
    if not paths:
        unfinished = UnfinishedRestore(manifest, datetime.now(UTC))
        target.write(UNFINISHED, [msgspec.json.encode(unfinished)])
        return unfinished
    ledger = f"{RESTORES.replace('.', '/')}/"
    others = paths - source.sizes().keys()
    if UNFINISHED in others and all(path == UNFINISHED or path.startswith(ledger) for path in others):
        with contextlib.suppress(msgspec.DecodeError):
            unfinished = msgspec.json.decode(target.read(UNFINISHED), type=UnfinishedRestore)
            if unfinished.manifest == manifest:
                return unfinished
    raise UsageError(f"{target.place} is not empty; restore to an empty place and change [lake] root to it")


def manifest_in(files: Files) -> bytes | None:
    """Return the bytes of the manifest in a place; None if there is none yet."""
    return files.read(MANIFEST) if files.has(MANIFEST) else None


def read_manifest(place: str) -> Manifest:
    """Return the manifest of the backup in a place. Raises UsageError if there is none, or it is damaged."""
    files = Files(place)
    content = manifest_in(files)
    if content is None:
        raise UsageError(f"{files.place} has no finished backup: {MANIFEST} is missing")
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError:
        raise UsageError(
            f"{files.place}/{MANIFEST} is damaged: back up again, to this place or another"
        ) from None


def versions_to_copy(lake: Lake, releases: Sequence[int]) -> Versions:
    """Return the versions to copy of each table, ``ops.releases`` last.

    The ledgers are read before the heads of bronze, so that every run in them is copied too.
    """
    ledgers = {name: open_table(lake, name).version for name in list_tables(lake, "ops")}
    if RELEASES not in ledgers:
        find_release(lake, None)  # raises NoRelease
    current = newest_in(lake, ledgers[RELEASES])
    needed: dict[str, set[int]] = {}
    older = [find_release(lake, number) for number in releases]
    for release in older:
        refuse_absent(lake, release, current)
    for release in (current, *older):
        for name, version in {**release.consumed, **release.tables}.items():
            needed.setdefault(name, set()).add(version)
    for name, version in heads(lake).items():
        needed.setdefault(name, set()).add(version)
    versions: Versions = {name: tuple(sorted(needed[name])) for name in sorted(needed)}
    last = ledgers.pop(RELEASES)
    return {**versions, **{name: (version,) for name, version in ledgers.items()}, RELEASES: (last,)}


def newest_in(lake: Lake, version: int) -> Release:
    """Return the release that is the newest in a version of the ledger of releases."""
    newest = open_table(lake, RELEASES, version).maximum("release")
    return find_release(lake, newest if isinstance(newest, int) else None)


def refuse_place(lake: Lake, place: str) -> None:
    """Raise UsageError if no place is named, or one of lake and backup would be inside the other."""
    if not place.strip():
        raise UsageError("name a place to back up to: a folder, or a prefix in an object store")
    ours, theirs = lake.place + "/", Lake(root=place).place + "/"
    if ours.startswith(theirs) or theirs.startswith(ours):
        raise UsageError(f"{place}: a backup must be outside of the lake; the lake is {lake.place}")


def refuse_stranger(lake: Lake, target: Lake) -> None:
    """Raise UsageError if the target is the backup of another lake, or of one that was restored from it."""
    if not table_exists(target, RELEASES):
        return
    theirs, ours = current_release(target), current_release(lake)
    if theirs and ours and theirs.release <= ours.release:
        ours = find_release(lake, theirs.release)
    if ours is None or identity(target) != identity(lake) or (theirs and theirs != ours):
        raise UsageError(f"{target.place} holds the backup of another lake; name another place")


def identity(lake: Lake) -> str:
    """Return the unique id of a lake, which is Delta's id of its ledger of releases."""
    return str(DeltaTable(lake.uri(RELEASES)).metadata().id)
