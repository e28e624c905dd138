"""Damage: the data files on a disk whose content is not as it was written.

A process reads each file once to check it, and again only if its size or time changed. An object
store has checksums of its own, so its files are not read twice.
"""

from collections.abc import Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lake.delta.checked import Checked, identity
from lake.delta.checksum import is_intact, stated
from lake.delta.files import CORES
from lake.errors import TableDamaged

# The data files that this process has found intact.
INTACT = Checked(50_000)
REPAIR = "run `just repair`"


def refuse_damage(table: str, uris: Iterable[str], *, known: Set[str] = frozenset()) -> None:
    """Raise TableDamaged if one of these files of a table is on a disk and damaged.

    A file without a checksum is damaged if it is one of the ``known`` ones.
    """
    listed = list(uris)
    unchecked = [uri for uri in listed if uri in known and not stated(uri)]
    if files := damaged_files(listed) + unchecked:
        more = f" and {len(files) - 1} more" * (len(files) > 1)
        raise TableDamaged(
            f"{table}: {files[0].rpartition('/')[2]}{more} is not as it was written: the disk or another"
            f" program has changed it; {REPAIR}"
        )


def damaged_files(uris: Iterable[str]) -> list[str]:
    """Return those of the files that are on a disk and damaged; a missing file is left to its reader."""
    unknown = [uri for uri in uris if "://" not in uri and stated(uri) and not is_known(uri)]
    if len(unknown) < 2:
        return [uri for uri in unknown if not check(uri)]
    with ThreadPoolExecutor(CORES, thread_name_prefix="checksum") as pool:
        return [uri for uri, is_good in zip(unknown, pool.map(check, unknown), strict=True) if not is_good]


def is_known(path: str) -> bool:
    """Return True if a file was found intact, or is missing."""
    try:
        return INTACT.has(path)
    except FileNotFoundError:
        return True


def check(path: str) -> bool:
    """Return True if a file is intact, or missing; remember an intact one."""
    try:
        before = identity(path)
        is_good = is_intact(path, Path(path).read_bytes())
    except FileNotFoundError:
        return True
    except OSError:  # the disk can't read a sector
        return False
    if is_good:
        INTACT.add(path, before)
    return is_good
