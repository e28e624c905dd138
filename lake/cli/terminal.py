"""Terminal: the streams of a command, which escape every text that a person reads.

A name, a code or an error of a library may contain characters that steer a terminal. So the streams
themselves escape them: those of ``print``, of click, and of Python's tracebacks. What a program
reads (CSV, JSON) goes to a pipe unchanged, through ``write_data``. Rich and the log write their own
colours, so they use the stream below, and escape the values themselves.
"""

import io
import sys
from typing import TextIO

from lake.messages import printable


class EscapingStream(io.TextIOWrapper):
    """A text stream that escapes what is written; ``rich_proxied_file`` is the stream below it.

    A Console of rich looks for that attribute, and writes to the stream below.
    """

    def __init__(self, below: TextIO) -> None:
        super().__init__(
            below.buffer,
            encoding=below.encoding,
            errors="backslashreplace",
            line_buffering=True,
            write_through=True,
        )
        self.rich_proxied_file = below

    def write(self, text: str) -> int:
        """Write a text without steering characters; return its length."""
        super().write(printable(text))
        return len(text)


def escape_streams() -> None:
    """Let stdout and stderr escape what is written to them from now on."""
    sys.stdout.flush()
    sys.stderr.flush()
    if not isinstance(sys.stdout, EscapingStream):
        sys.stdout, sys.stderr = EscapingStream(sys.stdout), EscapingStream(sys.stderr)


def unescaped(stream: TextIO) -> TextIO:
    """Return the stream below one that escapes; the stream itself if it does not."""
    return stream.rich_proxied_file if isinstance(stream, EscapingStream) else stream


def write_data(text: str) -> None:
    """Write a text for a program to stdout: unchanged to a file or a pipe, and escaped to a terminal."""
    sys.stdout.flush()
    stream = unescaped(sys.stdout)
    stream.write(printable(text) if sys.stdout.isatty() else text)
    stream.flush()
