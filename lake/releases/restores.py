"""Restores: which table versions a lake received when it was made from a backup.

A backup carries the whole ledger of releases, but the tables of only a few of them. Later
commits reuse version numbers that the other releases name, for other rows: such a release
would open and show what it never showed. So ``ops.restores`` records, one row a restore, the
versions that came along. It is append-only and part of every later backup.
"""

from datetime import datetime

import msgspec

from lake.delta.files import Files
from lake.delta.ledger import Ledger
from lake.errors import LakeError, NoRelease
from lake.paths import Lake
from lake.releases.release import Release

# The file that marks a place while a restore to it is unfinished.
UNFINISHED = "restore.json"


class Restored(msgspec.Struct, frozen=True):
    """One row of ``ops.restores``: the newest release at that moment, and every version in the backup."""

    restored_at: datetime
    release: int
    versions: dict[str, frozenset[int]]

    def left_out(self, release: Release) -> bool:
        """Return True if a release was published before the restore and not restored. Pure."""
        named = {*release.tables.items(), *release.consumed.items()}
        return release.release <= self.release and any(
            version not in self.versions.get(name, ()) for name, version in named
        )


LEDGER = Ledger("ops.restores", Restored, order_by="restored_at")
RESTORES = LEDGER.name


def read_restores(lake: Lake) -> list[Restored]:
    """Return the restores that made this lake, oldest first; empty if it was never restored."""
    return LEDGER.read(lake)


def write_restore(lake: Lake, restored: Restored) -> None:
    """Append the row, unless an earlier attempt that was killed has already written it."""
    if restored.restored_at not in {row.restored_at for row in read_restores(lake)}:
        LEDGER.append(lake, [restored])


def refuse_left_out(lake: Lake, release: Release) -> None:
    """Raise NoRelease if the restored lake knows the release but did not receive its tables."""
    restores = read_restores(lake)
    if any(restored.left_out(release) for restored in restores):
        number, newest = release.release, restores[-1].release
        raise NoRelease(
            f"release {number} is not in this lake: it was restored from a backup without it; name release"
            f" {newest} or newer, or restore a backup made with --release {number}"
        )


def refuse_unfinished(lake: Lake) -> None:
    """Raise LakeError if a restore to this place was interrupted."""
    if Files(lake.place).has(UNFINISHED):
        raise LakeError(f"{lake.place}: a restore to this place is not finished; run `just restore` again")
