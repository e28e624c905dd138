"""Checksum: of each data file, in its name, and the repair of one flipped bit. Pure.

A file never changes, so its name can state its content, without another file, commit or request. An
erasure is the exception: it rewrites a file under the same name. Such a file states its checksum
inside, in its footer, where its own digits count as zeros. Files of other writers, and of
older releases of this project, have no checksum.

A checksum is a CRC-32, by which a single flipped bit is located, and 128 bits of SHA-256, which prove
that a file is as it was written.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping
from secrets import token_hex

NAME = re.compile(r"(?:.*/)?part-[0-9a-f]{16}-([0-9a-f]{40})\.zstd\.parquet", re.DOTALL)
CRC_DIGITS, DIGITS = 8, 40
# Metadata of a file that has its checksum inside.
MARK = "crc32-sha256:"
INSIDE: Mapping[str, str] = {"checksum": MARK + "0" * DIGITS}
# The polynomial of CRC-32, as zlib uses it.
POLYNOMIAL = 0xEDB88320


def new_name(content: bytes) -> str:
    """Return an unused file name with the checksum of the content. The digits before it are random."""
    return f"part-{token_hex(8)}-{checksum(content)}.zstd.parquet"


def stated(path: str) -> str | None:
    """Return the checksum in a file's name; None if it has none."""
    match = NAME.fullmatch(path)
    return match[1] if match else None


def checksum(content: bytes) -> str:
    """Return the checksum of a file's content as 40 hexadecimal digits."""
    return f"{zlib.crc32(content):08x}{hashlib.sha256(content).hexdigest()[: DIGITS - CRC_DIGITS]}"


def is_intact(path: str, content: bytes) -> bool:
    """True if the content is as it was written, or if the file has no checksum."""
    expected = stated(path)
    return expected is None or checksum(content) == expected or is_stated_inside(content)


def state_inside(content: bytes) -> bytes:
    """Return the content of a file with the metadata ``INSIDE``, with its checksum filled in."""
    start = content.rindex(MARK.encode()) + len(MARK)
    return content[:start] + checksum(content).encode() + content[start + DIGITS :]


def is_stated_inside(content: bytes) -> bool:
    """True if the content states its checksum inside, and is as it was written."""
    blank, digits = without_inside(content)
    return bool(digits) and checksum(blank).encode() == digits


def without_inside(content: bytes) -> tuple[bytes, bytes]:
    """Return the content with zeros for its checksum inside, and the digits of it, if it has one."""
    start = content.rfind(MARK.encode()) + len(MARK)
    if start < len(MARK):
        return content, b""
    end = start + DIGITS
    return content[:start] + b"0" * DIGITS + content[end:], content[start:end]


def repaired(path: str, content: bytes) -> bytes | None:
    """Return the content as it was written if one bit of it was flipped since; None otherwise."""
    if expected := stated(path):
        if (content_before := flipped_back(content, expected)) is not None:
            return content_before
        blank, digits = without_inside(content)
        if digits and (before := flipped_back(blank, digits.decode("latin-1"))) is not None:
            return state_inside(before)
    return None


def flipped_back(content: bytes, expected: str) -> bytes | None:
    """Return the content with one other bit that has the expected checksum; None if there is no such bit."""
    try:
        difference = int(expected[:CRC_DIGITS], 16) ^ zlib.crc32(content)
    except ValueError:
        return None
    place = flipped_bit(difference, len(content))
    if place is None:
        return None
    position, bit = place
    before = content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :]
    return before if checksum(before) == expected else None


def flipped_bit(difference: int, size: int) -> tuple[int, int] | None:
    """Return the byte, and the bit in it, whose flip changes the CRC of ``size`` bytes by ``difference``.

    CRC-32 is linear: a flipped bit changes it by an amount that depends only on the number of bytes
    that follow. So the difference is followed back from the end, byte by byte, until it is that of one bit.
    """
    bits = {crc_of_byte(1 << number): 1 << number for number in range(8)}
    forward = [crc_of_byte(byte) for byte in range(256)]
    by_top = {value >> 24: (byte, value) for byte, value in enumerate(forward)}
    backward = [((value << 8) ^ byte) & 0xFFFFFFFF for byte, value in (by_top[top] for top in range(256))]
    for position in range(size - 1, -1, -1):
        if difference in bits:
            return position, bits[difference]
        difference = ((difference << 8) & 0xFFFFFFFF) ^ backward[difference >> 24]
    return None


def crc_of_byte(byte: int) -> int:
    """Return the change of a CRC by one byte that differs by ``byte``."""
    for _ in range(8):
        byte = (byte >> 1) ^ (POLYNOMIAL if byte & 1 else 0)
    return byte
