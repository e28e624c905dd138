"""Interop: stock readers in another environment read the lake while it is being written.

This project is not installed there. Two stock DuckDBs open ``lake.duckdb``, and DuckDB's Delta
extension and polars read the tables. Every figure must be that of one release.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from ingest.sandbox.command import serving
from ingest.sandbox.settings import Sandbox
from lake.maintenance.compaction import MANY, Compacted, compact
from lake.maintenance.vacuum import Reclaimed, maintain
from lake.paths import Lake
from lake.query.catalogue import refresh_catalogue, write_catalogue
from lake.releases.release import find_release, list_releases
from lake.releases.tags import write_tag
from lake.settings import LakeSettings
from tests.support.running import environ_of, succeed

pytestmark = pytest.mark.slow

STOCK = ("duckdb==1.5.5", "duckdb-extension-delta==1.5.5", "polars==2.1.0", "deltalake==1.6.6")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
ANALYST = Path(__file__).with_name("analyst.py")
# Twenty minutes of the shop's time per second, so that every sync finds changes.
BUSY = Sandbox(port=0, days=60, orders_per_day=30.0, day_seconds=72.0, requests_per_minute=0)
STEPS: tuple[tuple[str, ...], ...] = (("ingest", "incremental"), ("transform",))
ROUNDS = 4
PATIENCE = 900.0
AGE = timedelta(days=10)
KEEP = LakeSettings(memory_limit="512MB", threads=1)


class Reader(msgspec.Struct, frozen=True):
    """A way to read the lake, and the Python that does it."""

    name: str
    way: str
    python: str


class Reading(msgspec.Struct, frozen=True):
    """One reading of the lake: the sum as read and, if the release is known, the sum that it states."""

    release: int | None
    actual: str
    expected: str | None


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of a second environment that has only stock readers."""
    folder = tmp_path_factory.mktemp("analyst") / "venv"
    python = str(folder / "bin" / "python")
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [*PIP, "--python", python, "install", "--quiet", "--no-compile", *STOCK],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.fail(f"the second environment can't be made ({' '.join(command)}): {done.stderr[-2000:]}")
    return python


@pytest.fixture
def busy(lake: Lake) -> Iterator[tuple[Lake, dict[str, str]]]:
    """A lake with its first release, and the environment of its commands; its shop keeps changing."""
    with serving(BUSY) as shop:
        environ = environ_of(lake, shop.url)
        succeed(environ, "ingest", "full")
        succeed(environ, "transform")
        for number in range(MANY + 1):  # a ledger that is worth compacting
            write_tag(lake, find_release(lake, 1), f"tag-{number}", now=datetime.now(UTC))
        write_catalogue(lake, find_release(lake, None))
        yield lake, environ


def rounds(
    lake: Lake, environ: dict[str, str], steps: Sequence[Sequence[str]], *, count: int
) -> tuple[list[Compacted], list[Reclaimed]]:
    """Run the commands, each in its own process, then maintenance, and repeat this ``count`` times.

    Return the compacted tables and the deleted files. Files of the round before are aged by days,
    as if no reader could use them any more.
    """
    compacted: list[Compacted] = []
    deleted: list[Reclaimed] = []
    there: set[Path] = set()
    for _ in range(count):
        old, there = there, {file for file in Path(lake.place).rglob("*") if file.is_file()}
        for step in steps:
            succeed(environ, *step)
        refresh_catalogue(lake)
        now = datetime.now(UTC)
        for file in old & there:
            if file.exists():
                os.utime(file, ((now - AGE).timestamp(),) * 2)
        compacted += compact(lake, now=now + timedelta(days=1))
        deleted += maintain(lake, KEEP, now=now)
    return compacted, deleted


def read_while(action: Callable[[], None], lake: Lake, readers: Sequence[Reader]) -> list[list[Reading]]:
    """Return the readings of each reader, from before the action began until after it ended."""
    with ThreadPoolExecutor(2 * len(readers)) as threads, ExitStack() as running:
        children: list[subprocess.Popen[str]] = []
        # A reader that hangs is killed, so that the test fails and does not wait for ever.
        alarm = threading.Timer(PATIENCE, kill, [children])
        alarm.start()
        running.callback(alarm.cancel)
        children += [running.enter_context(started(reader, lake)) for reader in readers]
        pipes = [(child.stdin, child.stdout, child.stderr) for child in children]
        try:
            # The action begins when each reader has printed its first reading or its error.
            first = [out.readline() for _, out, _ in pipes if out]
            rest = [threads.submit(out.read) for _, out, _ in pipes if out]
            errors = [threads.submit(error.read) for _, _, error in pipes if error]
            action()
        finally:
            for end, _, _ in pipes:
                if end:
                    end.close()
        outputs = [line + future.result() for line, future in zip(first, rest, strict=True)]
        for reader, child, error in zip(readers, children, errors, strict=True):
            assert child.wait(300) == 0, f"{reader.name}: exit {child.returncode}: {error.result()}"
    return [[msgspec.json.decode(line, type=Reading) for line in text.splitlines()] for text in outputs]


def kill(children: Sequence["subprocess.Popen[str]"]) -> None:
    """Kill the processes."""
    for child in children:
        child.kill()


def started(reader: Reader, lake: Lake) -> "subprocess.Popen[str]":
    """Start a reader that can't import this project."""
    command = [reader.python, "-I", str(ANALYST), reader.way, lake.place]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_every_reader_sees_one_release_at_a_time(busy: tuple[Lake, dict[str, str]], stock: str) -> None:
    """Every figure is one release's while syncs, compaction, clean-up and vacuum run, and no reader fails."""
    lake, environ = busy
    readers = [
        Reader("duckdb-1.5.5", "catalogue", stock),
        Reader("duckdb-2", "catalogue", sys.executable),
        Reader("delta-scan", "delta_scan", stock),
        Reader("polars", "polars", stock),
    ]
    work: list[tuple[list[Compacted], list[Reclaimed]]] = []
    results = read_while(lambda: work.append(rounds(lake, environ, STEPS, count=ROUNDS)), lake, readers)
    [(compacted, deleted)] = work
    assert {table.table.split(".")[0] for table in compacted} == {"bronze", "ops"}
    assert "ops.tags" in {table.table for table in deleted}
    money = {release.release: release.money["gold.revenue_daily"] for release in list_releases(lake)}
    known = {f"{amount:.2f}" for amount in money.values()}
    assert len(known) >= ROUNDS // 2, "the shop did not change"
    for reader, readings in zip(readers, results, strict=True):
        assert len({reading.actual for reading in readings}) > 1, f"{reader.name} saw no change"
        for reading in readings:
            assert reading.actual in known, (reader.name, reading)
            if reading.release is not None:
                assert reading.actual == reading.expected == f"{money[reading.release]:.2f}", (
                    reader.name,
                    reading,
                )
        if reader.way == "catalogue":
            seen = [reading.release or 0 for reading in readings]
            assert seen == sorted(seen), reader.name
            assert seen[-1] == max(money)
