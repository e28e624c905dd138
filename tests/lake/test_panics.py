"""Panics: a failure that a Rust library did not expect becomes one line, and ends no thread or server."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from lake.errors import LibraryPanic, panic_in, panics_as_errors
from lake.maintenance.compaction import unless_full
from lake.paths import Lake
from lake.settings import LakeSettings
from serve.reader import Reader
from serve.settings import ServeSettings

PROGRAM = """
import os
import click
from lake.cli.main import main
from tests.lake.test_panics import panic
main(click.Command("boom", callback=lambda: panic(os.environ["PLACE"])), "boom")
"""
ONE_LINE = r"a library failed unexpectedly: .*; run it again, and if it fails again, report it"


def panic(folder: object) -> Any:
    """Let deltalake panic: it can't make an address of such a path, which no lake may have."""
    write_deltalake(f"{folder}/a[b]", pa.table({"id": [1]}))


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_a_command_that_panics_ends_with_one_line(tmp_path: Path, options: list[str]) -> None:
    """The last line names the failure and the next step; only --debug shows a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *options],
        env={**os.environ, "PLACE": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == bool(options)
    assert "LibraryPanic" in done.stderr or done.stderr.splitlines()[-1].startswith("error: a library failed")


def test_a_panic_in_a_thread_or_a_group_is_an_error(tmp_path: Path) -> None:
    """A panic is found in the result of a thread, and among the errors of concurrent tasks."""
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(LibraryPanic, match=ONE_LINE), panics_as_errors():
            pool.submit(panic, tmp_path).result()
        with pytest.raises(LibraryPanic, match=ONE_LINE):
            pool.submit(panics_as_errors()(panic), tmp_path).result()
        failure = pool.submit(panic, tmp_path).exception()
    assert failure
    assert not isinstance(failure, Exception)
    group = BaseExceptionGroup("tasks", [ValueError(), BaseExceptionGroup("inner", [failure])])
    assert panic_in(group) is failure
    with pytest.raises(LibraryPanic, match="InvalidDomainCharacter"), panics_as_errors():
        raise group


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ValueError("x"), GeneratorExit()])
def test_other_errors_stay_as_they_are(error: BaseException) -> None:
    """Ctrl-C, an exit and ordinary errors are not taken for a panic."""
    with pytest.raises(type(error)) as raised, panics_as_errors():
        raise error
    assert raised.value is error


def test_a_panic_is_no_full_disk(tmp_path: Path) -> None:
    """Maintenance skips a table only if the disk is full."""
    with pytest.raises(LibraryPanic), panics_as_errors():
        unless_full("silver.orders", lambda: panic(tmp_path))


@pytest.mark.parametrize("function", ["newest_release", "find_release"])
def test_a_server_survives_a_panic(lake: Lake, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """The thread that looks for releases reports the failure and goes on."""
    reader = Reader(lake, LakeSettings(), ServeSettings())
    monkeypatch.setattr("serve.reader.newest_release", lambda _: 1)
    monkeypatch.setattr(f"serve.reader.{function}", lambda *_: panic(lake.place))
    assert reader.refresh() is False
    assert reader.problem
    monkeypatch.undo()
    assert reader.refresh() is False
    assert reader.problem is None
