"""Disk trace: the changes that a process made to files, in their order, and what a power cut leaves of them.

``strace`` records the system calls of the process with their data. A change of a folder (a new file,
a new name) is on the disk after a sync of the folder, the content of a file after a sync of the file.
Until then a power cut may leave any part of it.
"""

import os
import random
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

PROJECT = Path(__file__).parents[2]
CALLS = (
    "openat,creat,write,pwrite64,writev,ftruncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,fsync,fdatasync,chmod,fchmod,fchmodat,copy_file_range,sendfile"
)
LINE = re.compile(r"(\d+\.\d+) (\w+)\((.*)\) = (-?\d+)(?:<([^>]*)>)?")
HANDLE = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
Policy = Literal["lost", "emptied", "torn", "zeros", "mixed"]
POLICIES: tuple[Policy, ...] = ("lost", "emptied", "torn", "zeros", "mixed")


class Call(msgspec.Struct, frozen=True):
    """One system call: its name, the paths and the data in its arguments, and its result."""

    name: str
    arguments: str
    result: int
    opened: str

    @property
    def handles(self) -> list[str]:
        """The paths of the open files in its arguments, in their order."""
        return [decoded(text).decode() for text in HANDLE.findall(self.arguments)]

    @property
    def texts(self) -> list[bytes]:
        """The strings in its arguments: paths or data."""
        return [decoded(text) for text in TEXT.findall(self.arguments)]

    @property
    def numbers(self) -> list[int]:
        """The numbers after its last string or handle, such as a length and an offset."""
        tail = re.split(r"[\">\]]", self.arguments)[-1]
        return [int(number, 0) for number in re.findall(r"\b0?\d+\b", tail.replace("0o", "0"))]

    def paths(self) -> list[str]:
        """Return the paths that it names, made absolute by the folders that they are relative to."""
        bases = self.handles
        names = [text.decode() for text in self.texts]
        if len(bases) < len(names):
            bases = [*bases, *["/"] * (len(names) - len(bases))]
        return [os.path.normpath(os.path.join(base, name)) for base, name in zip(bases, names, strict=False)]


class File:
    """A file: its content now, and the content and permissions that the disk has."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.synced: bytes | None = None
        self.mode = 0o644
        self.synced_mode = 0o644


def recorded(command: Sequence[str], folder: Path) -> "subprocess.Popen[str]":
    """Start a command, with pipes, whose system calls are recorded in files of a folder."""
    strace = ["strace", "-ff", "-y", "-ttt", "-xx", "-s", "100000000", "-e", f"trace={CALLS}"]
    pipe = subprocess.PIPE
    command = [*strace, "-o", str(folder / "calls"), *command]
    return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, cwd=PROJECT)


def read_calls(folder: Path) -> list[Call]:
    """Return the successful calls of all threads in the order in which they began."""
    lines = [line for file in folder.glob("calls.*") for line in file.read_text().splitlines()]
    matches = sorted(filter(None, map(LINE.match, lines)), key=lambda match: float(match[1]))
    return [
        Call(match[2], match[3], int(match[4]), decoded(match[5] or "").decode())
        for match in matches
        if int(match[4]) >= 0
    ]


def decoded(text: str) -> bytes:
    """Return the bytes of strace's hexadecimal notation. Pure."""
    return bytes.fromhex(text.replace("\\x", "")) if text else b""


class Disk:
    """The files below a folder, as programs see them and as the disk has them, while calls are replayed."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._files: dict[str, File | None] = {}  # None is a folder
        self._durable: dict[str, File | None] = {}
        # Changes of names that are not on the disk yet: the folder, the path, and its file or its absence.
        self._pending: list[tuple[str, str, File | Literal["absent"] | None]] = []

    def replay(self, calls: Sequence[Call]) -> Iterator[int]:
        """Apply the calls one after another; yield the number of each one that changed something."""
        for number, call in enumerate(calls):
            if self._apply(call):
                yield number

    def after_power_cut(self, policy: Policy, dice: random.Random) -> dict[str, tuple[bytes, int] | None]:
        """Return what is left, by path relative to the root: content and permissions, None for a folder.

        ``lost``: nothing that was not synced. Otherwise all names are left, and of a content that was not
        synced nothing, its first half, or zeros. ``mixed`` decides for each name and file.
        """
        names = dict(self._durable)
        for _, path, file in self._pending:
            if policy == "lost" or (policy == "mixed" and dice.random() < 0.5):
                continue
            self._rename(names, path, file)
        left: dict[str, tuple[bytes, int] | None] = {}
        for path, file in sorted(names.items()):
            parent = os.path.dirname(path)
            if parent != self._root and os.path.relpath(parent, self._root) not in left:
                continue
            how = dice.choice(POLICIES[:-1]) if policy == "mixed" else policy
            left[os.path.relpath(path, self._root)] = remains(file, how) if file else None
        return left

    @staticmethod
    def _rename(names: dict[str, File | None], path: str, file: File | Literal["absent"] | None) -> None:
        if file == "absent":
            names.pop(path, None)
        else:
            names[path] = file

    def _apply(self, call: Call) -> bool:
        """Apply one call; return True if it changed a file, a name, or what the disk has of them."""
        actions = {
            **dict.fromkeys(("openat", "creat"), self._open),
            **dict.fromkeys(("write", "writev", "pwrite64"), self._write),
            **dict.fromkeys(("rename", "renameat", "renameat2"), self._move),
            **dict.fromkeys(("link", "linkat"), self._link),
            **dict.fromkeys(("unlink", "unlinkat", "rmdir"), self._unlink),
            **dict.fromkeys(("mkdir", "mkdirat"), self._mkdir),
            **dict.fromkeys(("chmod", "fchmod", "fchmodat"), self._chmod),
            **dict.fromkeys(("fsync", "fdatasync"), self._fsync),
            **dict.fromkeys(("copy_file_range", "sendfile"), self._copy),
            "ftruncate": self._truncate,
        }
        return actions[call.name](call)

    def _is_inside(self, path: str) -> bool:
        return path.startswith(f"{self._root}/")

    def _set(self, path: str, file: File | Literal["absent"] | None) -> bool:
        if not self._is_inside(path):
            return False
        self._rename(self._files, path, file)
        self._pending.append((os.path.dirname(path), path, file))
        return True

    def _open(self, call: Call) -> bool:
        path = call.opened
        if not self._is_inside(path) or not ("O_CREAT" in call.arguments or "O_TRUNC" in call.arguments):
            return False
        file = self._files.get(path)
        if file is None:
            return self._set(path, File())
        if "O_TRUNC" in call.arguments:
            file.content.clear()
        return True

    def _write(self, call: Call) -> bool:
        file = self._files.get(call.handles[0])
        if file is None:
            return False
        data = b"".join(call.texts)[: call.result]
        start = call.numbers[-1] if call.name == "pwrite64" else len(file.content)
        file.content.extend(bytes(max(start - len(file.content), 0)))
        file.content[start : start + len(data)] = data
        return True

    def _truncate(self, call: Call) -> bool:
        file = self._files.get(call.handles[0])
        if file is None:
            return False
        size = call.numbers[-1]
        del file.content[size:]
        file.content.extend(bytes(size - len(file.content)))
        return True

    def _copy(self, call: Call) -> bool:
        names = call.handles if call.name == "copy_file_range" else reversed(call.handles)
        source, target = (self._files.get(name) for name in names)
        if source is None or target is None:
            return False
        start = len(target.content)
        target.content.extend(source.content[start : start + call.result])
        return True

    def _move(self, call: Call) -> bool:
        old, new = call.paths()
        moved = [path for path in self._files if path == old or path.startswith(f"{old}/")]
        for path in moved:
            self._set(new + path.removeprefix(old), self._files[path])
            self._set(path, "absent")
        return bool(moved)

    def _link(self, call: Call) -> bool:
        old, new = call.paths()
        return old in self._files and self._set(new, self._files[old])

    def _unlink(self, call: Call) -> bool:
        (path,) = call.paths()
        return path in self._files and self._set(path, "absent")

    def _mkdir(self, call: Call) -> bool:
        (path,) = call.paths()
        return self._set(path, None)

    def _chmod(self, call: Call) -> bool:
        (path,) = call.paths() if call.texts else call.handles
        file = self._files.get(path)
        if file is None:
            return False
        file.mode = int(re.split(r"[, ]+", call.arguments.strip())[-1], 8)
        return True

    def _fsync(self, call: Call) -> bool:
        (path,) = call.handles
        file = self._files.get(path)
        if file:
            file.synced, file.synced_mode = bytes(file.content), file.mode
            return True
        if not (path == self._root or path in self._files):
            return False
        rest = []
        for folder, name, entry in self._pending:
            if folder == path:
                self._rename(self._durable, name, entry)
            else:
                rest.append((folder, name, entry))
        self._pending = rest
        return True


def remains(file: File, policy: str) -> tuple[bytes, int]:
    """Return the content and permissions that a power cut leaves of a file. Pure."""
    content = bytes(file.content)
    if file.synced == content:
        return content, file.synced_mode if policy == "lost" else file.mode
    mode = file.synced_mode if policy == "lost" else file.mode
    if policy == "torn":
        return content[: len(content) // 2], mode
    return bytes(len(content)) if policy == "zeros" else file.synced or b"", mode


def write_state(state: Mapping[str, tuple[bytes, int] | None], folder: Path) -> None:
    """Write a state into an empty folder."""
    for path, file in state.items():
        target = folder / path
        if file is None:
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file[0])
            target.chmod(file[1])
