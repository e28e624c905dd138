"""Archived: the tables in the archives of a lake, each of which is a lake in the folder of its month."""

from contextlib import suppress

import msgspec

from lake.delta.files import Files
from lake.errors import LakeError
from lake.paths import LAYERS, Lake
from lake.releases.release import current_release

# The folder of the archives.
ARCHIVE = "archive"


def archives(lake: Lake) -> dict[str, Lake]:
    """Return the archives of a lake by their path in it."""
    months = {path.split("/")[1] for path in Files(lake.place).sizes(ARCHIVE) if path.count("/") > 2}
    paths = [f"{ARCHIVE}/{month}" for month in sorted(months)]
    return {path: msgspec.structs.replace(lake, root=f"{lake.place}/{path}") for path in paths}


def archived_tables(archive: Lake) -> dict[str, int]:
    """Return the tables of an archive, each with the version that its record names; -1 without a record.

    The record of a damaged archive may be unreadable. Then these are the tables whose folders are there.
    """
    tables = dict.fromkeys((name for layer in LAYERS for name in archive.tables(layer)), -1)
    with suppress(LakeError):
        if record := current_release(archive):
            tables |= record.tables
    return tables
