"""Backup: what a release needs, copied to another place that is itself a lake. And back again.

A file of a Delta table never changes, so what is there already is not copied again.
Data comes first, then the logs that name it, the ledgers, ``ops.releases``, and last the
one file that says what the backup holds: killed at any moment, the place opens and
restores as the last backup or as this one. Of two backups to one place at once the one
that ends last is refused: it may name what the other pruned.

Bronze is copied twice over: as the release consumed it, and to its head, with the changes
between. The receipts of runs are read before those heads: a restored lake must not believe
that it holds what it does not, or the next ingest would leave it out for ever.
"""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from deltalake import DeltaTable

from lake.backup.copy import Copied, Copy, Versions
from lake.delta.files import ASIDE, Files
from lake.delta.table import list_tables, open_table, table_exists
from lake.errors import CommitConflict, UsageError
from lake.paths import Lake
from lake.query.session import heads
from lake.releases.asof import refuse_absent
from lake.releases.release import RELEASES, Release, current_release, find_release
from lake.releases.restores import RESTORES, UNFINISHED, Restored, write_restore

log = structlog.get_logger()
MANIFEST = "backup.json"


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds: ``versions`` of each table, the last one its head there."""

    release: int
    taken_at: datetime
    versions: Versions


class Begun(msgspec.Struct, frozen=True):
    """What a restore that is under way, or was killed, copies, and when it began."""

    manifest: Manifest
    begun_at: datetime


def back_up(
    lake: Lake, place: str, *, now: datetime, releases: Sequence[int] = (), prune: bool = False
) -> Copied:
    """Copy what the current release needs, and what the older ones named do.

    ``prune`` deletes from the place, once the new backup stands, every file that only
    older backups needed. Raises NoRelease, UsageError for a place that can't be one,
    CommitConflict where another backup to it ended meanwhile, and LakeError where the lake
    lacks a file: then the place restores as it did.
    """
    refuse_place(lake, place)
    files = Files(place)
    before = manifest_in(files)
    versions = wanted_versions(lake, releases)
    refuse_stranger(lake, Lake(root=place))
    release = newest_in(lake, versions[RELEASES][-1])
    copy = Copy(lake, files, versions)
    copied = copy.run(release)
    manifest = Manifest(release.release, now.astimezone(UTC), versions)
    if manifest_in(files) != before:
        raise CommitConflict(f"{files.place}: somebody else backed up to this place meanwhile; run it again")
    files.write(MANIFEST, [msgspec.json.format(msgspec.json.encode(manifest))])
    files.tidy()
    if prune:
        copied = msgspec.structs.replace(copied, pruned=copy.prune())
    log.info("backup.copied", **msgspec.structs.asdict(copied))
    return copied


def restore(place: str, lake: Lake) -> Copied:
    """Copy a backup to an empty place, where it is the lake it was taken of.

    One that was killed is gone on with. Raises UsageError where anything else is in the
    place, LakeError where the backup is not whole.
    """
    manifest = read_manifest(place)
    source, target = Lake(root=place), Files(lake.place)
    if f"{lake.place}/".startswith(f"{source.place}/"):
        raise UsageError(f"{lake.place} is in the backup; restore to a place beside it")
    begun = begin(target, Files(place), manifest)
    copy = Copy(source, target, manifest.versions)
    copied = copy.run(newest_in(source, manifest.versions[RELEASES][-1]))
    write_restore(lake, Restored(begun.begun_at, copied.release, copy.given))
    target.tidy()
    target.delete([UNFINISHED])
    log.info("backup.restored", **msgspec.structs.asdict(copied))
    return copied


def begin(target: Files, source: Files, manifest: Manifest) -> Begun:
    """Write down what is to be restored, or read what an attempt that was killed wrote down.

    Raises UsageError where there is anything but what that attempt can have brought.
    """
    found = {path for path in target.sizes() if not path.startswith(f"{ASIDE}/")}
    if not found:
        begun = Begun(manifest, datetime.now(UTC))
        target.write(UNFINISHED, [msgspec.json.encode(begun)])
        return begun
    ledger = f"{RESTORES.replace('.', '/')}/"
    others = found - source.sizes().keys()
    if UNFINISHED in others and all(path == UNFINISHED or path.startswith(ledger) for path in others):
        with contextlib.suppress(msgspec.DecodeError):
            begun = msgspec.json.decode(target.read(UNFINISHED), type=Begun)
            if begun.manifest == manifest:
                return begun
    raise UsageError(f"{target.place} is not empty; restore to an empty place and change [lake] root to it")


def manifest_in(files: Files) -> bytes | None:
    """Return the manifest as it is written in a place; None where there is none yet."""
    return files.read(MANIFEST) if files.has(MANIFEST) else None


def read_manifest(place: str) -> Manifest:
    """Return what the backup at the place holds. Raises UsageError where there is none."""
    files = Files(place)
    content = manifest_in(files)
    if content is None:
        raise UsageError(f"{files.place} holds no finished backup: {MANIFEST} is not there")
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError:
        raise UsageError(
            f"{files.place}/{MANIFEST} is damaged: back up again, to this place or another"
        ) from None


def wanted_versions(lake: Lake, releases: Sequence[int]) -> Versions:
    """Return the versions to copy, ``ops.releases`` last.

    Ledgers are looked at before the heads of bronze, so that they claim nothing that is not copied.
    """
    ledgers = {name: open_table(lake, name).version for name in list_tables(lake, "ops")}
    if RELEASES not in ledgers:
        find_release(lake, None)  # raises NoRelease
    current = newest_in(lake, ledgers[RELEASES])
    wanted: dict[str, set[int]] = {}
    older = [find_release(lake, number) for number in releases]
    for release in older:
        refuse_absent(lake, release, current)
    for release in (current, *older):
        for name, at in {**release.consumed, **release.tables}.items():
            wanted.setdefault(name, set()).add(at)
    for name, at in heads(lake).items():
        wanted.setdefault(name, set()).add(at)
    found: Versions = {name: tuple(sorted(wanted[name])) for name in sorted(wanted)}
    last = ledgers.pop(RELEASES)
    return {**found, **{name: (at,) for name, at in ledgers.items()}, RELEASES: (last,)}


def newest_in(lake: Lake, version: int) -> Release:
    """Return the release that was current when the ledger had this version."""
    newest = open_table(lake, RELEASES, version).maximum("release")
    return find_release(lake, newest if isinstance(newest, int) else None)


def refuse_place(lake: Lake, place: str) -> None:
    """Raise UsageError where lake and backup would lie one in the other, or no place is named."""
    if not place.strip():
        raise UsageError("name a place to back up to: a folder, or one in an object store")
    ours, theirs = lake.place + "/", Lake(root=place).place + "/"
    if ours.startswith(theirs) or theirs.startswith(ours):
        raise UsageError(f"{place}: a backup lies beside the lake, not in it; the lake is {lake.place}")


def refuse_stranger(lake: Lake, target: Lake) -> None:
    """Raise UsageError where the place holds the backup of another lake, or of one restored from it."""
    if not table_exists(target, RELEASES):
        return
    held, ours = current_release(target), current_release(lake)
    if held and ours and held.release <= ours.release:
        ours = find_release(lake, held.release)
    if ours is None or identity(target) != identity(lake) or (held and held != ours):
        raise UsageError(f"{target.place} holds the backup of another lake; name another place")


def identity(lake: Lake) -> str:
    """Return what tells this lake from all others: the id Delta gave to its ledger of releases."""
    return str(DeltaTable(lake.uri(RELEASES)).metadata().id)
