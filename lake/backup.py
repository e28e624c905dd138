"""Backup: what a release needs, copied to another place that is itself a lake. And back again.

A file of a Delta table never changes, so what is there already is not copied again.
Data comes first, then the logs that name it, the ledgers, ``ops.releases``, and last the
one file that says what the backup holds: killed at any moment, the place opens and
restores as the last backup or as this one.

Bronze is copied twice over: as the release consumed it, and to its head, with the changes
between. The receipts of runs are read before those heads: a restored lake must not believe
that it holds what it does not, or the next ingest would leave it out for ever.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from deltalake import DeltaTable

from lake.asof import refuse_absent
from lake.copying import Copied, Copy, Versions
from lake.errors import UsageError
from lake.files import Files
from lake.paths import Lake
from lake.release import RELEASES, Release, current_release, find_release
from lake.session import heads
from lake.table import open_table, table_exists

log = structlog.get_logger()
MANIFEST = "backup.json"


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds: ``versions`` of each table, the last one its head there."""

    release: int
    taken_at: datetime
    versions: Versions


def back_up(
    lake: Lake, place: str, *, now: datetime, releases: Sequence[int] = (), prune: bool = False
) -> Copied:
    """Copy what the current release needs, and what the older ones named do.

    ``prune`` deletes from the place, once the new backup stands, every file that only
    older backups needed. Raises NoRelease, UsageError for a place that can't be one, and
    LakeError where the lake lacks a file: then the place stays as it was.
    """
    refuse_place(lake, place)
    versions = wanted_versions(lake, releases)
    refuse_stranger(lake, Lake(root=place))
    release = newest_in(lake, versions[RELEASES][-1])
    copy = Copy(lake, Files(place), versions)
    copied = copy.run(release)
    manifest = Manifest(release.release, now.astimezone(UTC), versions)
    copy.target.write(MANIFEST, [msgspec.json.format(msgspec.json.encode(manifest))])
    copy.target.tidy()
    if prune:
        copied = msgspec.structs.replace(copied, pruned=copy.prune())
    log.info("backup.copied", **msgspec.structs.asdict(copied))
    return copied


def restore(place: str, lake: Lake) -> Copied:
    """Copy a backup to an empty place, where it is the lake it was taken of.

    Raises UsageError where the place is not empty, LakeError where the backup is not whole.
    """
    manifest = read_manifest(place)
    if f"{lake.place}/".startswith(f"{Lake(root=place).place}/"):
        raise UsageError(f"{lake.place} is in the backup; restore to a place beside it")
    if Files(lake.place).sizes():
        raise UsageError(f"{lake.place} is not empty; restore to an empty place and change [lake] root to it")
    source = Lake(root=place)
    copy = Copy(source, Files(lake.place), manifest.versions)
    copied = copy.run(newest_in(source, manifest.versions[RELEASES][-1]))
    copy.target.tidy()
    log.info("backup.restored", **msgspec.structs.asdict(copied))
    return copied


def read_manifest(place: str) -> Manifest:
    """Return what the backup at the place holds. Raises UsageError where there is none."""
    files = Files(place)
    if MANIFEST not in files.sizes():
        raise UsageError(f"{files.place} holds no finished backup: {MANIFEST} is not there")
    try:
        return msgspec.json.decode(files.read(MANIFEST), type=Manifest)
    except msgspec.DecodeError:
        raise UsageError(
            f"{files.place}/{MANIFEST} is damaged: back up again, to this place or another"
        ) from None


def wanted_versions(lake: Lake, releases: Sequence[int]) -> Versions:
    """Return the versions to copy, ``ops.releases`` last.

    Ledgers are looked at before the heads of bronze, so that they claim nothing that is not copied.
    """
    ledgers = {
        name: open_table(lake, name).version for name in lake.tables("ops") if table_exists(lake, name)
    }
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
    if identity(target) != identity(lake) or (held and held != ours):
        raise UsageError(f"{target.place} holds the backup of another lake; name another place")


def identity(lake: Lake) -> str:
    """Return what tells this lake from all others: the id Delta gave to its ledger of releases."""
    return str(DeltaTable(lake.uri(RELEASES)).metadata().id)
