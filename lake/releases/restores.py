"""Restores: which versions of which tables a lake was given when it was made of a backup.

With a backup comes the whole ledger of releases, and of most of them nothing else. The
next commits get the numbers that those releases name, for other rows: a release that is
not here would open, and show what it never did. So ``ops.restores`` says for good what
was given, a row a restore; it is append-only, and goes into every later backup.
"""

from datetime import datetime

import msgspec
import pyarrow as pa

from lake.delta.files import Files
from lake.delta.table import create_table, open_table, table_exists
from lake.errors import LakeError, NoRelease
from lake.paths import Lake
from lake.releases.release import Release

RESTORES = "ops.restores"
# It lies in a place for as long as a restore to it is under way.
UNFINISHED = "restore.json"
SCHEMA = pa.schema(
    [
        pa.field("restored_at", pa.timestamp("us", "UTC"), False),
        pa.field("release", pa.int64(), False),
        pa.field("versions", pa.map_(pa.string(), pa.list_(pa.int64())), False),
    ]
)


class Restored(msgspec.Struct, frozen=True):
    """One row of ``ops.restores``: the newest release then, and all versions that the backup had."""

    restored_at: datetime
    release: int
    versions: dict[str, frozenset[int]]

    def left_out(self, release: Release) -> bool:
        """True where a release had been published by then, and did not come along. Pure."""
        named = {*release.tables.items(), *release.consumed.items()}
        return release.release <= self.release and any(
            at not in self.versions.get(name, ()) for name, at in named
        )


def read_restores(lake: Lake) -> list[Restored]:
    """Return the restores that made the lake what it is, the last one last; none of an ordinary one."""
    if not table_exists(lake, RESTORES):
        return []
    rows = sorted(open_table(lake, RESTORES).read().to_pylist(), key=lambda row: row["restored_at"])
    return [
        Restored(
            row["restored_at"], row["release"], {name: frozenset(held) for name, held in row["versions"]}
        )
        for row in rows
    ]


def write_restore(lake: Lake, restored: Restored) -> None:
    """Append the row, unless an attempt that was killed right after it did."""
    if restored.restored_at in {row.restored_at for row in read_restores(lake)}:
        return
    versions = [(name, sorted(held)) for name, held in sorted(restored.versions.items())]
    row = {"restored_at": restored.restored_at, "release": restored.release, "versions": versions}
    create_table(lake, RESTORES, SCHEMA).append(pa.Table.from_pylist([row], schema=SCHEMA))


def refuse_left_out(lake: Lake, release: Release) -> None:
    """Raise NoRelease for a release that a restored lake knows of, and was never given."""
    restores = read_restores(lake)
    if any(restored.left_out(release) for restored in restores):
        number, newest = release.release, restores[-1].release
        raise NoRelease(
            f"release {number} is not in this lake: it was restored from a backup without it; name release"
            f" {newest} or newer, or restore a backup made with --release {number}"
        )


def refuse_unfinished(lake: Lake) -> None:
    """Raise LakeError where a restore to the place was cut short."""
    if Files(lake.place).has(UNFINISHED):
        raise LakeError(f"{lake.place}: a restore to this place is not finished; run `just restore` again")
