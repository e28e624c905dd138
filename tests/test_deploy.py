"""Deployment: the systemd units are valid, and their services work with the disk that a unit leaves them.

A service runs here as systemd would run it: in a mount namespace with a read-only file system, a
temporary folder of its own if the unit asks for one, and a state folder that it may write to.
"""

import configparser
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.sandbox.command import serving
from lake.ledgers.jobs import LEDGER
from lake.paths import Lake
from tests.ingest.conftest import SMALL
from tests.support.running import environ_of, succeed

PROJECT = Path(__file__).parents[1]
UNITS = {unit.stem: unit for unit in (PROJECT / "deploy").glob("*.service")}
# The folders that a service sees, under one that is empty on every Linux.
CODE, VENV, STATE = (f"/srv/{name}" for name in ("code", "venv", "state"))
MOUNTS = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /srv
mkdir {CODE} {VENV} {STATE}
mount --bind "$PROJECT" {CODE}
mount --bind "$PREFIX" {VENV}
mount --bind "$STATE" {STATE}
"""
PATIENCE = 120


def service(unit: Path) -> dict[str, str]:
    """Return the section [Service] of a unit."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keep the case of names
    parser.read(unit)
    return dict(parser["Service"])


def script(unit: dict[str, str]) -> str:
    """Return the shell script that makes the unit's view of the disk and then runs its command there."""
    lines = [MOUNTS, f"umask {unit.get('UMask', '0022')}"]
    if unit.get("ProtectSystem") == "strict":
        state = [] if "StateDirectory" in unit else [STATE]
        lines += [f"mount -o remount,bind,ro {folder}" for folder in ("/", CODE, VENV, *state)]
    if unit.get("PrivateTmp") == "yes":
        lines += ["mount -t tmpfs tmpfs /tmp", "mount -t tmpfs tmpfs /var/tmp"]
    command = unit["ExecStart"].replace("/opt/keylake/.venv", VENV)
    return "\n".join([*lines, f"cd {CODE}", f"exec {command}"])


@contextmanager
def started(name: str, state: Path, **environ: str) -> "Iterator[subprocess.Popen[str]]":
    """Run a unit's service on the state folder; end it with SIGTERM, as systemd does."""
    values = {
        **environ_of(Lake(root=f"{STATE}/lake"), **environ),
        "KEYLAKE_CONFIG": f"{CODE}/config.toml",
        "KEYLAKE_SOURCE_BUDGET_FOLDER": f"{STATE}/budget",
        "PYTHONPATH": CODE,
        "PROJECT": str(PROJECT),
        "PREFIX": sys.prefix,
        "STATE": str(state),
    }
    as_root = [] if os.getuid() == 0 else ["--map-root-user"]
    child = subprocess.Popen(
        ["unshare", "--mount", *as_root, "bash", "-c", script(service(UNITS[name]))],
        env=values,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=PATIENCE)


def wait_until(child: "subprocess.Popen[str]", is_so: Callable[[], bool]) -> None:
    """Wait for a condition; fail with the service's output if it ends or takes too long."""
    for _ in range(PATIENCE * 5):
        if is_so():
            return
        if child.poll() is not None:
            break
        time.sleep(0.2)
    child.kill()
    raise AssertionError(child.communicate()[0])


def exit_codes(lake: Lake) -> dict[str, int | None]:
    """Return ``{job: exit code}`` of the jobs that have ended."""
    return {entry.job: entry.exit_code for entry in LEDGER.read(lake) if entry.state == "closed"}


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_each_unit(name: str, tmp_path: Path) -> None:
    """A misspelt or misplaced key of a unit is ignored by systemd and reported by systemd-analyze."""
    unit = tmp_path / UNITS[name].name
    unit.write_text(re.sub(r"/opt/keylake/\S*python", sys.executable, UNITS[name].read_text()))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_no_other_user_can_read_what_a_service_writes(name: str) -> None:
    """Each unit creates files for its user alone, and so does the state folder of the schedule."""
    unit = service(UNITS[name])
    assert unit["UMask"] == "0077"
    assert unit.get("StateDirectoryMode") == {"keylake-schedule": "0700"}.get(name)
    assert ("StateDirectory" in unit) == (name == "keylake-schedule")
    assert unit["ProtectSystem"] == "strict"


def test_the_schedule_syncs_as_a_service(tmp_path: Path) -> None:
    """The schedule ingests, builds and publishes, and every file of its lake is its user's alone."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    lake = Lake(root=str(state / "lake"))
    with serving(SMALL) as shop:
        succeed(environ_of(lake, shop.url), "ingest", "full")
        with started("keylake-schedule", state, KEYLAKE_SOURCE_BASE_URL=shop.url) as child:
            wait_until(child, lambda: "sync" in exit_codes(lake))
    assert set(exit_codes(lake).values()) == {0}
    released = [file for file in (state / "lake" / "gold").rglob("*") if file.is_file()]
    assert released
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in released} == {0}


def test_the_server_serves_as_a_service(tmp_path: Path) -> None:
    """The server answers from a lake on a disk that is mounted read-only, also after a power cut."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    lake = Lake(root=str(state / "lake"))
    with serving(SMALL) as shop:
        succeed(environ_of(lake, shop.url), "ingest", "full")
    succeed(environ_of(lake), "transform")
    # What a power cut may leave: the permissions of the last commits are not on the disk.
    for file in (state / "lake").glob("*/*/_delta_log/*.json"):
        file.chmod(0o600)
    with started("keylake-serve", state, KEYLAKE_SERVE_PORT="0") as child:
        assert child.stdout
        addresses = (re.search(r"http://\S+?(?=/?\s)", line) for line in child.stdout)
        address = next(filter(None, addresses))[0]
        with urllib.request.urlopen(f"{address}/api/health", timeout=PATIENCE) as answer:
            assert answer.status == 200
    modes = {file.stat().st_mode & 0o777 for file in (state / "lake").glob("*/*/_delta_log/*.json")}
    assert modes == {0o600}
