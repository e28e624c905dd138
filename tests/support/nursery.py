"""Nursery: a warm process whose children work, and are killed in the middle of it.

It imports what is needed and then forks once for each piece of work: no moment goes by in
which a child is only getting ready, so a kill falls into the work. It never works itself,
for a process with threads can't be forked.
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

POLL = 0.003
# What works for longer stands still.
PATIENCE = 300.0


class End(NamedTuple):
    """How a child ended: whether it was killed, and the seconds it worked."""

    is_killed: bool
    seconds: float


class Nursery:
    """Runs work in children of its own, one at a time."""

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery", *modules],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._hear("ready")

    def run(
        self,
        work: Callable[..., object],
        *arguments: object,
        kill_after: float | None = None,
        kill_when: Callable[[], bool] | None = None,
    ) -> End:
        """Run the work to its end, or kill it -9 so many seconds after it began, or once something is so.

        Raises AssertionError where it failed by itself.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(base64.b64encode(pickle.dumps((work, arguments))) + b"\n")
        child = int(self._hear("began"))
        began, stands_still = time.perf_counter(), False
        is_late = kill_after is not None and not self._hears_within(kill_after)
        while kill_when and not is_late and not self._hears_within(POLL):
            stands_still = time.perf_counter() - began > PATIENCE
            is_late = kill_when() or stands_still
        if not is_late:
            is_late = stands_still = not self._hears_within(PATIENCE)
        if is_late:
            with suppress(ProcessLookupError):  # it ended at this very moment
                os.kill(child, signal.SIGKILL)
        status = int(self._hear("ended"))
        seconds = time.perf_counter() - began
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert not stands_still, f"{work.__name__} did not end"
        assert is_killed or status == 0, f"{work.__name__} failed: {status}"
        return End(is_killed, seconds)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)

    def _hears_within(self, seconds: float) -> bool:
        """True where the process says something within this time."""
        assert self._process.stdout
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def _hear(self, word: str) -> str:
        """Return what follows the word that must come next."""
        assert self._process.stdout
        said = b""
        while not said.endswith(b"\n"):
            found = self._process.stdout.read(1)
            assert found, f"the nursery is gone; {word} was to come"
            said += found
        first, _, rest = said.decode().strip().partition(" ")
        assert first == word, said
        return rest


def work_on(line: bytes) -> None:
    """Do the work in a child, and tell when it begins and how it ends."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        tell(f"ended {status}")
        return
    code = 1
    try:
        work, arguments = pickle.loads(base64.b64decode(line))
        tell(f"began {os.getpid()}")
        work(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def tell(text: str) -> None:
    """Say one line at once, where nothing else is written: what the work prints goes nowhere."""
    os.write(CHANNEL, f"{text}\n".encode())


if __name__ == "__main__":
    CHANNEL = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    tell("ready")
    for line in sys.stdin.buffer:
        work_on(line)
