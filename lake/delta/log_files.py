"""Log files: the entries and checkpoints in the log of a table on a disk, by version."""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lake.delta.log_entry import added_paths

LOG = "_delta_log"
HINT = "_last_checkpoint"
ENTRY = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\b.*\.parquet")


class LogFiles(msgspec.Struct, frozen=True):
    """The files of a table's log, by version; a checkpoint may have several files."""

    entries: dict[int, Path]
    checkpoints: dict[int, list[Path]]

    def base(self, version: int) -> int:
        """Return the newest checkpoint at or before a version; -1 if there is none."""
        return max((number for number in self.checkpoints if number <= version), default=-1)

    def gap(self, version: int) -> int | None:
        """Return the first missing one of the entries that a version is read from; None if none is."""
        numbers = range(self.base(version) + 1, version + 1)
        return next((number for number in numbers if number not in self.entries), None)

    def is_complete(self, version: int) -> bool:
        """Return True if the log has all that a version is read from."""
        return version >= 0 and self.gap(version) is None

    @property
    def head(self) -> int:
        """The newest version; -1 in an empty log."""
        return max([*self.entries, *self.checkpoints], default=-1)


def list_log(place: str) -> LogFiles:
    """Return the files of a table's log; none if it has no log."""
    files = LogFiles({}, {})
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for file in os.scandir(f"{place}/{LOG}"):
            if match := ENTRY.fullmatch(file.name):
                files.entries[int(match[1])] = Path(file.path)
            elif match := CHECKPOINT.fullmatch(file.name):
                files.checkpoints.setdefault(int(match[1]), []).append(Path(file.path))
    return files


def list_checkpoints(place: str) -> list[Path]:
    """Return the files of the checkpoints of a table's log."""
    return [file for own in list_log(place).checkpoints.values() for file in own]


def files_of_entries(place: str, versions: Iterable[int]) -> list[str]:
    """Return the paths of the data files that some log entries added; an entry that is deleted has none."""
    entries = list_log(place).entries
    contents = [entries[version].read_bytes() for version in versions if version in entries]
    return [f"{place}/{path}" for content in contents for path in added_paths(content)]
