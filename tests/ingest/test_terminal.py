"""Progress on a terminal is a bar; without a terminal it is a log line per window."""

import os
import re
import subprocess
import sys
from datetime import timedelta

import pytest

from ingest.sandbox.command import ThreadedShop
from lake.ledgers.runs import last_runs
from lake.paths import Lake
from tests.support.running import environ_of, run, succeed

WIDE = {"COLUMNS": "200", "TERM": "xterm-256color", "KEYLAKE_SOURCE_REQUESTS_PER_MINUTE": "9000"}


def on_a_terminal(environ: dict[str, str], *command: str) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; return its exit code and the text on the terminal."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", *command], env=environ, stderr=theirs, stdout=subprocess.DEVNULL
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the child has closed the terminal
            break
        if not more:
            break
        shown += more
    os.close(ours)
    return child.wait(300), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_a_terminal_shows_a_bar(lake: Lake, shop: ThreadedShop) -> None:
    """It has the pages, rows, speed, share of the budget and time left."""
    code, shown = on_a_terminal(environ_of(lake, shop.url, **WIDE), "ingest", "full")
    assert code == 0
    last = re.findall(
        r"(\d+)/(\d+) pages · ([\d,]+) rows · ([\d,]+) requests/min · (\d+)% of the budget · (\d+:\d\d) left",
        shown,
    )[-1]
    newest, _ = last_runs(lake)
    assert newest is not None
    assert last[0] == last[1]
    assert int(last[2].replace(",", "")) >= sum(
        window.seen for window in newest.windows if window.by == "created"
    )
    assert last[5] == "0:00"
    assert "ingest.window" not in shown


def test_without_a_terminal_each_window_is_a_line(lake: Lake, shop: ThreadedShop) -> None:
    """If stderr is a log file, it has no bar."""
    done = run(environ_of(lake, shop.url), "ingest", "full")
    newest, _ = last_runs(lake)
    assert newest is not None
    windows = [window for window in newest.windows if window.by != "count"]
    assert done.stderr.count("event=ingest.window") == len(windows)
    assert "left" not in done.stderr


@pytest.mark.parametrize(("options", "days"), [([], 30), (["--days", "7"], 7)])
def test_a_sweep_reads_thirty_days_by_default(
    lake: Lake, shop: ThreadedShop, options: list[str], days: int
) -> None:
    """The nightly recipe gives no number."""
    succeed(environ_of(lake, shop.url), "ingest", "full")
    succeed(environ_of(lake, shop.url), "ingest", "sweep", *options)
    newest, _ = last_runs(lake)
    assert newest is not None
    (window,) = [window for window in newest.windows if window.by == "created"]
    assert window.since
    assert window.until
    assert window.until - window.since == timedelta(days=days)
