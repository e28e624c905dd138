"""Forked worker: a process that forks children, each of which runs one function and may be killed.

The worker imports the modules before it forks. So a child starts to work immediately, and
a kill interrupts the work and not its preparation. The worker itself does no work, because
a process with threads can't be forked safely.
"""

import base64
import importlib
import os
import pickle
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# Seconds between two checks of ``kill_when``.
POLL = 0.003
# Seconds after which work counts as hung.
PATIENCE = 300.0


class End(NamedTuple):
    """The end of a child: whether it was killed, and the seconds that it worked."""

    is_killed: bool
    seconds: float


class ForkedWorker:
    """Runs functions in forked children, one at a time; ``modules`` are imported first."""

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked_worker", *modules],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._expect("ready")

    def run(
        self,
        work: Callable[..., object],
        *arguments: object,
        kill_after: float | None = None,
        kill_when: Callable[[], bool] | None = None,
    ) -> End:
        """Run the work to its end, or kill it after ``kill_after`` seconds or when ``kill_when`` is true.

        Raises AssertionError if it fails by itself, or hangs.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(base64.b64encode(pickle.dumps((work, arguments))) + b"\n")
        child = int(self._expect("began"))
        began, hangs = time.perf_counter(), False
        is_late = kill_after is not None and not self._has_output_within(kill_after)
        while kill_when and not is_late and not self._has_output_within(POLL):
            hangs = time.perf_counter() - began > PATIENCE
            is_late = kill_when() or hangs
        if not is_late:
            is_late = hangs = not self._has_output_within(PATIENCE)
        if is_late:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(child, signal.SIGKILL)
        status = int(self._expect("ended"))
        seconds = time.perf_counter() - began
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert not hangs, f"{work.__name__} did not end"
        assert is_killed or status == 0, f"{work.__name__} failed: {status}"
        return End(is_killed, seconds)

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)

    def _has_output_within(self, seconds: float) -> bool:
        """True if the process writes something within this time."""
        assert self._process.stdout
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def _expect(self, word: str) -> str:
        """Return the rest of the next line; its first word must be ``word``."""
        assert self._process.stdout
        line = b""
        while not line.endswith(b"\n"):
            character = self._process.stdout.read(1)
            assert character, f"the worker has ended; expected {word}"
            line += character
        first, _, rest = line.decode().strip().partition(" ")
        assert first == word, line
        return rest


def work_on(line: bytes) -> None:
    """Run the work in a child; report its start and its exit status."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        report(f"ended {status}")
        return
    code = 1
    try:
        work, arguments = pickle.loads(base64.b64decode(line))
        report(f"began {os.getpid()}")
        work(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def report(text: str) -> None:
    """Write one line to the channel, unbuffered. The output of the work is discarded."""
    os.write(CHANNEL, f"{text}\n".encode())


if __name__ == "__main__":
    CHANNEL = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    report("ready")
    for line in sys.stdin.buffer:
        work_on(line)
