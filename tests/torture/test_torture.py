"""The campaigns in their short form; `just torture` runs the long one."""

import random

import pytest

from tests.torture import disk, power, rot
from tests.torture.disk_trace import Call, Disk, Policy, decoded

ROOT = "/lake"


@pytest.mark.process
@pytest.mark.slow
def test_power_cuts_show_no_wrong_figure_and_the_next_commands_converge() -> None:
    """States over a run of ingest, build, publish, maintenance, backup and restore."""
    assert power.run(10, seed=2026) == []


@pytest.mark.process
@pytest.mark.slow
def test_a_full_or_failing_disk_loses_nothing_and_the_same_command_converges() -> None:
    """Faults by space and by EIO in ingests, builds, publishes and maintenance, on a disk of its own."""
    assert disk.run(12, seed=2026, chain=3) == []


@pytest.mark.slow
def test_flipped_bits_are_repaired_or_refused() -> None:
    """Flips in each kind of file, one of each kind before a build."""
    assert rot.run(30, seed=2026, builds=30) == []


def text(value: str) -> str:
    """Return a string in strace's notation."""
    return "".join(f"\\x{byte:02x}" for byte in value.encode())


def call(name: str, arguments: str, *, result: int = 0, opened: str = "") -> Call:
    """Return a call; ``<path>`` and ``"text"`` in its arguments are put into strace's notation."""
    parts = arguments.replace("<", "\0<").replace('"', '\0"').split("\0")
    hexed = []
    for part in parts:
        if part.startswith("<"):
            path, _, rest = part[1:].partition(">")
            hexed.append(f"<{text(path)}>{rest}")
        elif part.startswith('"') and len(part) > 1 and not part.startswith('",'):
            hexed.append(f'"{text(part[1:])}')
        else:
            hexed.append(part)
    return Call(name, "".join(hexed), result, opened)


def create(path: str, content: str) -> list[Call]:
    """Return the calls that create a file with a content."""
    opened = call("openat", f'AT_FDCWD</>, "{path}", O_WRONLY|O_CREAT', result=3, opened=path)
    return [opened, call("write", f'3<{path}>, "{content}", {len(content)}', result=len(content))]


@pytest.mark.parametrize(
    ("policy", "content"), [("lost", None), ("emptied", b""), ("torn", b"ab"), ("zeros", bytes(4))]
)
def test_what_was_not_synced_is_lost_in_each_way(policy: Policy, content: bytes | None) -> None:
    """The simulated disk keeps only what was synced: that is the fault that the campaign plants."""
    disk = Disk(ROOT)
    assert list(disk.replay(create("/lake/a", "abcd"))) == [0, 1]
    state = disk.after_power_cut(policy, random.Random(1))
    assert state == ({} if content is None else {"a": (content, 0o644)})


def test_what_was_synced_stays() -> None:
    """A file is there after a sync of its content and of its folder; a new name after one of the folder."""
    disk = Disk(ROOT)
    calls = [
        *create("/lake/a", "abcd"),
        call("fsync", "3</lake/a>"),
        call("fsync", "4</lake>"),
        call("rename", '"/lake/a", "/lake/b"'),
    ]
    list(disk.replay(calls))
    assert disk.after_power_cut("lost", random.Random(1)) == {"a": (b"abcd", 0o644)}
    assert disk.after_power_cut("torn", random.Random(1)) == {"b": (b"abcd", 0o644)}


def test_texts_are_decoded() -> None:
    """Strace writes every byte in hexadecimal."""
    assert decoded(text("Київ")) == "Київ".encode()
