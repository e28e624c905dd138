"""Log check: torn files of a table's log are never read as if they were whole.

A power cut can tear a log entry only before it is synced, so only the last commits of a log, those
that were made in the seconds before it. Nothing depends on them: they are set aside, and the next
commit takes their number. Every other torn entry is damage: the table is refused until it is
repaired. A checkpoint repeats what entries state, so a torn one is set aside as long as the log has
these. A process that only reads the lake changes nothing: it opens the version before a torn commit.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from lake.delta.checked import Checked, identity
from lake.delta.checksum_file import has_checksum, read_checksum
from lake.delta.durability import FORBIDDEN, is_sealed, seal
from lake.delta.log_entry import fault, version_of
from lake.delta.log_files import HINT, LOG, LogFiles, list_log
from lake.errors import TableDamaged

log = structlog.get_logger()

# The prefix of a log file that is set aside: no reader takes it for an entry, and vacuum deletes it later.
ASIDE = "torn#"
# Seconds within which the commits were made that a power cut finds not sealed: the permissions of synced
# ones are on the disk only when it writes all that waits, every 5 to 60 seconds by the file system.
CUT_SECONDS = 120.0
# The bytes at both ends of a Parquet file.
MAGIC = b"PAR1"
# The log files that this process has found whole.
WHOLE = Checked(20_000)


def settle(
    name: str, place: str, version: int | None = None, *, is_durable: bool, is_read_only: bool = False
) -> int | None:
    """Check the log's files that a version, or the head, is read from, and seal the whole ones.

    Entries that a power cut has torn are set aside. Return the version to open: the given one, None for
    the head, or the last one before torn entries that this process may not set aside, -1 if there is none.
    Raises TableDamaged if an entry or checkpoint is torn and no power cut explains it, or if an entry
    before the head is missing.
    """
    files = list_log(place)
    if any([drop_checkpoint(name, number, files, is_read_only) for number in files.checkpoints]):
        files = list_log(place)
    if not is_read_only:
        drop_hint(place, files)
    if version is None and files.gap(files.head) is not None:
        files = list_log(place)  # others may have committed while the folder was listed
        if (gap := files.gap(files.head)) is not None:
            raise TableDamaged(f"{name}: log entry {gap} is missing in {place}/{LOG}; run `just repair`")
    last = files.head if version is None else version
    for number in range(files.base(last) + 1, last + 1):
        file = files.entries.get(number)
        if file is None or not (reason := fault_of(file)):
            continue
        if version is not None or not is_of_a_cut(files, number):
            raise changed(name, number, reason, file)
        tail = [path for entry, path in files.entries.items() if entry >= number]
        return number - 1 if is_read_only or not set_aside(name, tail) else None
    is_writer = not is_read_only and os.access(f"{place}/{LOG}", os.W_OK)
    if version is None and files.head >= 0 and is_writer:
        seal(place, files.head, is_durable=is_durable)
    return version


def is_of_a_cut(files: LogFiles, number: int) -> bool:
    """Return True if a power cut explains that an entry is torn, and nothing depends on it or later ones.

    It and all later entries were then last changed before the machine started, and the entries that are
    not sealed were written within CUT_SECONDS. If nothing in the log is sealed, as in a lake whose
    permissions were lost in a copy, that proves less: only the last entry may be torn by a cut.
    """
    tail = {entry for entry in files.entries if entry >= number}
    newest_first = sorted(files.entries, reverse=True)
    unsealed = list(itertools.takewhile(lambda entry: not is_sealed(files.entries[entry]), newest_first))
    if not tail <= set(unsealed):
        return False
    sealed = [file for own in files.checkpoints.values() for file in own if is_sealed(file)]
    if not sealed and len(unsealed) == len(files.entries) and len(tail) > 1:
        return False
    try:
        status = {entry: files.entries[entry].stat() for entry in unsealed}
    except FileNotFoundError:  # another process has set it aside
        return True
    times = [each.st_mtime for each in status.values()]
    is_before_start = max(status[entry].st_ctime for entry in tail) < booted_at()
    return is_before_start and max(times) - min(times) <= CUT_SECONDS


def booted_at() -> float:
    """Return when the machine was started, in seconds since 1970."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def refuse_torn(name: str, place: str, versions: Iterable[int]) -> None:
    """Raise TableDamaged if the log has one of these entries and it is torn."""
    entries = list_log(place).entries
    for number in versions:
        if number in entries and (reason := fault_of(entries[number])):
            raise changed(name, number, reason, entries[number])


def changed(name: str, number: int, reason: str, file: Path) -> TableDamaged:
    """Return the error for a torn entry that no power cut explains."""
    return TableDamaged(
        f"{name}: log entry {number} {reason}, although it was complete once: the disk or another"
        f" program has changed {file}; run `just repair`"
    )


def log_ends(name: str, version: int) -> TableDamaged:
    """Return the error for a log that has lost its end, which others reference."""
    return TableDamaged(f"{name}: its log ends before version {version}; run `just repair`")


def fault_of(file: Path) -> str | None:
    """Return what is wrong with a log entry; None if it is whole, or another process deleted it."""
    try:
        if WHOLE.has(file):
            return None
        before = identity(file)
        reason = fault(file.read_bytes(), version_of(file.name))
        if reason is None:
            WHOLE.add(file, before)
        return reason
    except FileNotFoundError:
        return None


def drop_hint(place: str, files: LogFiles) -> None:
    """Delete the hint to the last checkpoint if it is torn or names none; readers then list the log."""
    hint = Path(place) / LOG / HINT
    with contextlib.suppress(FileNotFoundError, PermissionError):
        try:
            number = msgspec.json.decode(hint.read_bytes())["version"]
        except (msgspec.DecodeError, KeyError, TypeError):
            number = None
        if number not in files.checkpoints and os.access(hint.parent, os.W_OK):
            hint.unlink()


def drop_checkpoint(name: str, version: int, files: LogFiles, is_read_only: bool) -> bool:
    """Set a checkpoint aside if it is damaged, or may be, and the log has every entry up to it.

    Return True then. Raises TableDamaged if it is damaged and can't be set aside.
    """
    own = files.checkpoints[version]
    is_damaged = not all(map(is_whole_checkpoint, own))
    if not is_damaged and (is_read_only or not any(map(is_doubtful, own))):
        return False
    others = {number: paths for number, paths in files.checkpoints.items() if number != version}
    rest = LogFiles(files.entries, others)
    is_replaceable = not is_read_only and rest.is_complete(version)
    if is_replaceable and (is_damaged or is_usable(rest, version)) and set_aside(name, own):
        return True
    if is_damaged:
        raise TableDamaged(f"{name}: checkpoint {version} is torn: {own[0]}; run `just repair`")
    return False


def is_usable(files: LogFiles, version: int) -> bool:
    """Return True if the entries that a version is read from are whole, except those that a cut has torn."""
    numbers = range(files.base(version) + 1, version + 1)
    torn = next((number for number in numbers if fault_of(files.entries[number])), None)
    return torn is None or is_of_a_cut(files, torn)


def is_doubtful(file: Path) -> bool:
    """Return True if a file was written before the machine started, and was never synced."""
    return not is_sealed(file) and file.stat().st_mtime < booted_at()


def is_whole_checkpoint(file: Path) -> bool:
    """Return True if a file of a checkpoint is whole, or another process deleted it.

    If its checksum is not known, a sealed file is read only at its ends, and an unsealed one is decoded.
    """
    try:
        if WHOLE.has(file):
            return True
        before = identity(file)
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
        WHOLE.add(file, before)
        return True
    except FileNotFoundError:
        return True
    except (pa.ArrowException, OSError):
        return False


def set_aside(name: str, files: Iterable[Path]) -> bool:
    """Rename torn log files, the newest first, so that no reader sees them.

    Return False if this user may not rename them, or the disk is mounted to be read only.
    """
    for file in sorted(files, reverse=True):
        try:
            before = file.stat()
            aside = file.with_name(ASIDE + file.name)
            file.rename(aside)
        except FileNotFoundError:  # another process has set it aside
            continue
        except OSError as error:
            if error.errno in FORBIDDEN:
                return False
            raise
        if aside.stat().st_ino == before.st_ino:
            log.warning("lake.torn_commit_set_aside", table=name, file=file.name)
        else:  # another process has set the torn one aside and committed this version
            with contextlib.suppress(FileExistsError):
                os.link(aside, file)
    return True
