"""Forked commands: a process that has imported the packages and forks a child for each command.

Starting the interpreter and importing the packages takes half a second of work, mostly more than the
command itself. So the tests that run many commands fork them. ``tests/test_docs.py`` and
``tests/test_recipes.py`` start their commands in a new interpreter, as a shell does.

The process that forks does no work of its own, because a process with threads can't be forked safely.
"""

import atexit
import importlib
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

PACKAGES = ("lake", "ingest", "transform", "serve")
# Variables that are read when an interpreter or a library starts.
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "MALLOC_", "_RJEM_", "MIMALLOC_", "ARROW_", "OMP_")
ROOT = Path(__file__).parents[2]
LOCK = threading.Lock()
# The channel to the process that forks, once it is started.
CHANNELS: list[socket.socket] = []


class Request(NamedTuple):
    """A command, its environment, and the folder and the umask of the process that asks for it."""

    command: tuple[str, ...]
    environ: dict[str, str]
    folder: str
    umask: int


def is_forkable(environ: Mapping[str, str], command: tuple[str, ...]) -> bool:
    """Return True if a forked child works like a new interpreter."""

    def at_start(variables: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in variables.items() if name.startswith(AT_START)}

    return sys.platform == "linux" and command[0] in PACKAGES and at_start(environ) == at_start(os.environ)


def run_forked(
    environ: Mapping[str, str], *command: str, seconds: float
) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m <command>`` in a forked child; raise TimeoutExpired after ``seconds``."""
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        socket.send_fds(forker(), [b"x"], [theirs.fileno(), out.fileno(), err.fileno()])
        theirs.close()
        ours.settimeout(seconds)
        ours.sendall(pickle.dumps(Request(command, dict(environ), os.getcwd(), current_umask())))
        ours.shutdown(socket.SHUT_WR)
        with ours.makefile() as answers:
            child = int(answers.readline())
            try:
                code = os.waitstatus_to_exitcode(int(answers.readline()))
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, seconds, text(out), text(err)) from None
        return subprocess.CompletedProcess(command, code, text(out), text(err))


def text(file: IO[bytes]) -> str:
    """Return the content of a file, with the newlines that a pipe in text mode has."""
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n").replace("\r", "\n")


def current_umask() -> int:
    """Return the umask of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)


def forker() -> socket.socket:
    """Return the channel to the process that forks, and start it first if there is none."""
    with LOCK:
        if not CHANNELS:
            ours, theirs = socket.socketpair()
            null = subprocess.DEVNULL
            process = subprocess.Popen(
                [sys.executable, "-m", __name__], cwd=ROOT, stdin=theirs.fileno(), stdout=null, stderr=null
            )
            theirs.close()
            assert ours.recv(1) == b"r", "the process that forks commands did not start"
            CHANNELS.append(ours)
            atexit.register(process.wait)
            atexit.register(ours.close)
    return CHANNELS[0]


def serve(requests: socket.socket) -> None:
    """Fork a child for each request, until the process that sends them ends."""
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1, 3)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            answer(*files)
            os._exit(0)
        for file in files:
            os.close(file)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def answer(channel: int, out: int, err: int) -> None:
    """Run the command of a request; write the id of its process, and later its status."""
    with socket.socket(fileno=channel) as answers:
        with answers.makefile("rb") as file:
            request = pickle.loads(file.read())
        child = os.fork()
        if child == 0:
            os.close(answers.detach())
            work(request, out, err)
        answers.sendall(f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        with suppress(BrokenPipeError):
            answers.sendall(f"{status}\n".encode())


def work(request: Request, out: int, err: int) -> None:
    """Be the process of the command: its folder, environment, input, output and arguments."""
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    os.chdir(request.folder)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environ)
    package, *arguments = request.command
    sys.argv = [package, *arguments]
    del sys.modules[f"{package}.__main__"]
    code = 1
    try:
        runpy.run_module(package, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for package in PACKAGES:
        importlib.import_module(f"{package}.__main__")
    with socket.socket(fileno=0) as channel:
        channel.sendall(b"r")
        serve(channel)
