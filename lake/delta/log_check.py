"""Log check: torn files of a table's log are never read as if they were whole.

A power cut can leave a log entry empty or torn only before it is sealed. Nothing depends on such an
entry, so it is set aside, and the next commit takes its number. A sealed entry that is torn is
damage: the table is refused until it is repaired. A checkpoint repeats what entries state, so a
torn one is set aside as long as the log has these.
"""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from lake.delta.checksum_file import has_checksum, read_checksum
from lake.delta.durability import HINT, LOG, LogFiles, is_sealed, list_log, seal
from lake.delta.log_entry import fault
from lake.errors import TableDamaged

log = structlog.get_logger()

# The prefix of a log file that is set aside: no reader takes it for an entry, and vacuum deletes it later.
ASIDE = "torn#"
# The bytes at both ends of a Parquet file.
MAGIC = b"PAR1"
# The identity of each whole log file that this process has read, by path.
WHOLE: dict[str, tuple[int, int, int]] = {}
# Entries of this cache at which it is emptied.
CACHED = 20_000


def settle(name: str, place: str, version: int | None = None, *, is_durable: bool) -> None:
    """Check the log's files that a version, or the head, is read from, and seal the whole ones.

    Unsealed files that a power cut has emptied or torn are set aside, with all that came after them.
    Raises TableDamaged if a sealed file is empty or torn, or an entry before the head is missing.
    """
    files = list_log(place)
    if any([drop_checkpoint(name, number, files) for number in files.checkpoints]):
        files = list_log(place)
    drop_hint(place, files)
    last = files.head if version is None else version
    for number in range(files.base(last) + 1, last + 1):
        file = files.entries.get(number)
        if file is None and version is None:
            raise TableDamaged(f"{name}: log entry {number} is missing in {place}/{LOG}; run `just repair`")
        if file is None or not (reason := fault_of(file)):
            continue
        after = [path for entry, path in sorted(files.entries.items()) if entry >= number]
        if any(is_sealed(path) for path in after):
            raise TableDamaged(
                f"{name}: log entry {number} {reason}, although it was complete once: the disk or another"
                f" program has changed {file}; run `just repair`"
            )
        set_aside(name, after)
        return
    if version is None and files.head >= 0 and os.access(f"{place}/{LOG}", os.W_OK):
        seal(place, files.head, is_durable=is_durable)


def fault_of(file: Path) -> str | None:
    """Return what is wrong with a log entry; None if it is whole, or another process deleted it."""
    try:
        if is_known(file):
            return None
        reason = fault(file.read_bytes())
        if reason is None:
            remember(file)
        return reason
    except FileNotFoundError:
        return None


def drop_hint(place: str, files: LogFiles) -> None:
    """Delete the hint to the last checkpoint if it is torn or names none; readers then list the log."""
    hint = Path(place) / LOG / HINT
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if is_known(hint):
            return
        try:
            number = msgspec.json.decode(hint.read_bytes())["version"]
        except (msgspec.DecodeError, KeyError, TypeError):
            number = None
        if number in files.checkpoints:
            remember(hint)
        else:
            hint.unlink()


def drop_checkpoint(name: str, version: int, files: LogFiles) -> bool:
    """Set a checkpoint aside if it is damaged, or may be, and the log has every entry up to it.

    Return True then. Raises TableDamaged if it is damaged and the log no longer has these entries.
    """
    own = files.checkpoints[version]
    is_damaged = not all(map(is_whole_checkpoint, own))
    if not is_damaged and not any(map(is_doubtful, own)):
        return False
    others = {number: paths for number, paths in files.checkpoints.items() if number != version}
    if LogFiles(files.entries, others).is_complete(version):
        set_aside(name, own)
        return True
    if is_damaged:
        raise TableDamaged(f"{name}: checkpoint {version} is torn: {own[0]}; run `just repair`")
    return False


def is_doubtful(file: Path) -> bool:
    """Return True if a file was written before the machine started, and was never synced."""
    booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return not is_sealed(file) and file.stat().st_mtime < booted_at


def is_whole_checkpoint(file: Path) -> bool:
    """Return True if a file of a checkpoint is whole, or another process deleted it.

    If its checksum is not known, a sealed file is read only at its ends, and an unsealed one is decoded.
    """
    try:
        if is_known(file):
            return True
        expected = read_checksum(file)
        if is_sealed(file) and expected and not has_checksum(file.read_bytes(), expected):
            return False
        with file.open("rb") as stream:
            start = stream.read(len(MAGIC))
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - len(MAGIC), 0))
            if {start, stream.read()} != {MAGIC} or size < 3 * len(MAGIC):
                return False
        if not is_sealed(file):
            pq.read_table(file, use_threads=False)
        remember(file)
        return True
    except FileNotFoundError:
        return True
    except (pa.ArrowException, OSError):
        return False


def set_aside(name: str, files: Iterable[Path]) -> None:
    """Rename torn log files, the newest first, so that no reader sees them.

    Raises TableDamaged if the user may not rename them.
    """
    for file in sorted(files, reverse=True):
        try:
            before = file.stat()
            aside = file.with_name(ASIDE + file.name)
            file.rename(aside)
        except FileNotFoundError:  # another process has set it aside
            continue
        except PermissionError:
            raise TableDamaged(
                f"{name}: a power cut has torn its last commit, {file}; run `just status` as the lake's owner"
            ) from None
        if aside.stat().st_ino == before.st_ino:
            log.warning("lake.torn_commit_set_aside", table=name, file=file.name)
        else:  # another process has set the torn one aside and committed this version
            with contextlib.suppress(FileExistsError):
                os.link(aside, file)


def is_known(file: Path) -> bool:
    """Return True if this process has read the file, it was whole, and nothing changed it since."""
    return WHOLE.get(str(file)) == identity(file)


def remember(file: Path) -> None:
    """Note that a file is whole."""
    if len(WHOLE) >= CACHED:
        WHOLE.clear()
    WHOLE[str(file)] = identity(file)


def identity(file: Path) -> tuple[int, int, int]:
    """Return the facts by which a change of a file shows: inode, bytes and time. Raises FileNotFoundError."""
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
