"""Folders outside the lake: for what a process needs while it runs, seen by its user alone."""

import os
import stat
import tempfile
from pathlib import Path

from lake.errors import LakeError


def private_folder(name: str) -> Path:
    """Return a folder of this user's under the system's temporary one, made at need.

    Raises LakeError where somebody else has taken its name: what lies there could be his.
    """
    base = Path(tempfile.gettempdir()) / f"keylake-{os.getuid()}"
    for folder in (base, base / name):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise LakeError(
                f"{folder} belongs to somebody else; remove it, or set TMPDIR to a folder of yours"
            )
        folder.chmod(0o700)
    return base / name
