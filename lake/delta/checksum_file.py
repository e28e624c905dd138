"""Checksum file: the checksum of a sealed checkpoint, in a file next to it.

delta-rs gives a checkpoint its name and content, so its name has no checksum. A checkpoint without one,
as in a backup, is checked by its form only.
"""

import contextlib
import os
from pathlib import Path
from string import hexdigits

from lake.delta.checksum import CRC_DIGITS, DIGITS, checksum

SUFFIX = ".sum"
READ_ONLY = 0o444


def write_checksum(file: Path) -> None:
    """Write the checksum of a file next to it, in place of the checksum of an older file of this name."""
    half = file.with_name(f"{file.name}{SUFFIX}-{os.getpid()}.tmp")
    half.write_text(checksum(file.read_bytes()))
    half.chmod(READ_ONLY)
    half.rename(checksum_file(file))


def read_checksum(file: Path) -> str | None:
    """Return the checksum next to a file; None if it is not known."""
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        digits = checksum_file(file).read_text()
        return digits if len(digits) == DIGITS and set(digits) <= set(hexdigits) else None
    return None


def has_checksum(content: bytes, expected: str) -> bool:
    """Return True if a content has a checksum, of which one half may be damaged itself. Pure."""
    actual = checksum(content)
    return actual[:CRC_DIGITS] == expected[:CRC_DIGITS] or actual[CRC_DIGITS:] == expected[CRC_DIGITS:]


def checksum_file(file: Path) -> Path:
    """Return the path of the checksum of a file. Pure."""
    return file.with_name(file.name + SUFFIX)
