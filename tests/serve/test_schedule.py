"""A due slot is claimed, run as processes and closed; none is lost or run twice.

The processes are real. Each reports to the test over loopback and ends when the test allows it.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from lake.clock import shop_day
from lake.delta.tables import open_table, table_exists
from lake.ledgers.jobs import JOBS, failed_jobs
from lake.ledgers.status import read_status
from lake.lock import holders
from lake.maintenance.compaction import BEFORE_MIDNIGHT
from lake.paths import LOCKS, Lake
from lake.processes import started
from serve.schedule import (
    DAY,
    HOUR,
    TIMED_OUT,
    Job,
    Schedule,
    run_once,
    slot_of,
    step_name,
    sync_job,
    upkeep_jobs,
)
from serve.slots import (
    LEASE,
    RENEW,
    SILENCE,
    SlotClaims,
    is_dead,
    is_gone,
    lease_of,
    this_process,
)
from tests.lake.test_panics import panic
from tests.serve.shop import make_tables, publish_gold
from tests.support.running import environ_of, launched, succeed

REPORT = """
import socket, sys
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
line.sendall(sys.argv[2].encode() + b"\\n")
code = int(line.makefile().readline() or 0)
print(f"{sys.argv[2]} ends with {code}", file=sys.stderr)
sys.exit(code)
"""
HALF_HOUR = 1800.0
SOON = 0.05
NOW = datetime(2026, 3, 30, 12, 2, tzinfo=UTC)
SLOT = datetime(2026, 3, 30, 12, tzinfo=UTC)


class Coordinator:
    """Receives the reports of the processes: ``started`` has their names; ``end`` lets one process end."""

    def __init__(self) -> None:
        self.started: asyncio.Queue[tuple[str, asyncio.StreamWriter]] = asyncio.Queue()
        self.port = 0

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Receive the report of a process that started."""
        self.started.put_nowait(((await reader.readline()).decode().strip(), writer))

    async def end(self, name: str, code: int = 0) -> None:
        """Wait for the next process, which must have that name, and let it end with ``code``."""
        started, writer = await asyncio.wait_for(self.started.get(), 300)
        assert started == name
        writer.write(f"{code}\n".encode())
        await writer.drain()
        writer.close()

    def job(self, every: float, *names: str) -> Job:
        """Return a job whose steps report to this coordinator."""
        steps = tuple((sys.executable, "-c", REPORT, str(self.port), name) for name in names)
        return Job(name="sync", every=every, steps=steps)


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    """A coordinator that listens on a free port."""
    created = Coordinator()
    listening = await asyncio.start_server(created.receive, "127.0.0.1", 0)
    created.port = listening.sockets[0].getsockname()[1]
    yield created
    listening.close()


@contextlib.asynccontextmanager
async def running(lake: Lake, job: Job, *, stop_seconds: float = 20) -> AsyncIterator[Schedule]:
    """Run a schedule; at the end, stop it and wait until it has stopped."""
    schedule = Schedule(lake, [job], stop_seconds=stop_seconds)
    task = asyncio.create_task(schedule.run())
    try:
        yield schedule
    finally:
        schedule.stop()
        await asyncio.wait_for(task, 300)


def rows(lake: Lake) -> list[tuple[str, int | None, str | None]]:
    """Return the ledger, oldest first, as (state, exit code, detail); this process as holder is ``me``."""
    if not table_exists(lake, JOBS):
        return []
    entries = sorted(open_table(lake, JOBS).read().to_pylist(), key=lambda row: row["at"])
    me = this_process()
    return [
        (row["state"], row["exit_code"], "me" if row["detail"] == me else row["detail"]) for row in entries
    ]


async def test_idle_slots_cost_one_claim(lake: Lake, coordinator: Coordinator) -> None:
    """Slots without a result write no row; they share the claim of the first."""
    async with running(lake, coordinator.job(SOON, "ingest", "transform")):
        for _ in range(3):
            await coordinator.end("ingest")
            await coordinator.end("transform")
        name, waiting = await asyncio.wait_for(coordinator.started.get(), 300)
        assert (name, rows(lake)) == ("ingest", [("claimed", None, "me")])
        waiting.close()
        await coordinator.end("transform")


async def test_clean_stop_closes(lake: Lake, coordinator: Coordinator) -> None:
    """A stop between slots leaves no open claim, and the next start does not run the same slot again."""
    async with running(lake, coordinator.job(HALF_HOUR, "ingest")):
        await coordinator.end("ingest")
    assert rows(lake) == [("claimed", None, "me"), ("closed", 0, "stopped")]
    last = SlotClaims(lake, holder="other").last("sync")
    assert last
    assert not SlotClaims(lake, holder="other").claim("sync", last.slot, now=datetime.now(UTC))
    assert SlotClaims(lake, holder="other").claim(
        "sync", last.slot + timedelta(hours=1), now=datetime.now(UTC)
    )


@pytest.mark.parametrize("every", [HOUR, DAY])
async def test_a_slot_of_upkeep_is_closed_when_it_ends(
    lake: Lake, coordinator: Coordinator, every: float
) -> None:
    """Slots of an hour or more are closed, because no later slot renews their claim in time."""
    async with running(lake, coordinator.job(every, "ingest")):
        await coordinator.end("ingest")
    assert rows(lake) == [("claimed", None, "me"), ("closed", 0, "")]


async def test_slot_with_a_release_is_closed_with_it(lake: Lake, coordinator: Coordinator) -> None:
    """If a release came out of a slot, its closing row has the release's number."""
    async with running(lake, coordinator.job(HALF_HOUR, "ingest", "transform")):
        await coordinator.end("ingest")
        publish_gold(lake, make_tables(days=2))
        await coordinator.end("transform")
    assert rows(lake) == [("claimed", None, "me"), ("closed", 0, "release 1")]


async def test_failing_job_is_closed_with_its_reason_and_goes_on(
    lake: Lake, coordinator: Coordinator, capfd: pytest.CaptureFixture[str]
) -> None:
    """After a failed step the job ends with its reason, and the next slot runs."""
    async with running(lake, coordinator.job(SOON, "ingest", "transform")):
        await coordinator.end("ingest", 1)
        await coordinator.end("ingest", 1)
        await coordinator.end("ingest", 1)
        _, waiting = await asyncio.wait_for(coordinator.started.get(), 300)
        waiting.close()
    entries = rows(lake)
    assert entries[:3] == [
        ("claimed", None, "me"),
        ("closed", 1, f"{step_name(coordinator.job(1, 'ingest').steps[0])}: ingest ends with 1"),
        ("claimed", None, "me"),
    ]
    assert "ingest ends with 1" in capfd.readouterr().err


async def test_the_first_slot_after_a_failure_is_closed_too(lake: Lake, coordinator: Coordinator) -> None:
    """The first success after a failure is recorded, and the idle slots after it write no row."""
    async with running(lake, coordinator.job(SOON, "ingest")):
        await coordinator.end("ingest", 1)
        name, second = await asyncio.wait_for(coordinator.started.get(), 300)
        [failed] = failed_jobs(lake, None, now=datetime.now(UTC))
        assert (name, failed.job, failed.exit_code) == ("ingest", "sync", 1)
        second.write(b"0\n")
        second.close()
        await coordinator.end("ingest")
        assert failed_jobs(lake, None, now=datetime.now(UTC)) == ()
        await coordinator.end("ingest")
        _, waiting = await asyncio.wait_for(coordinator.started.get(), 300)
        assert [row[:2] for row in rows(lake)] == [
            ("claimed", None), ("closed", 1), ("claimed", None), ("closed", 0), ("claimed", None),
        ]  # fmt: skip
        waiting.close()


async def test_incomplete_ingest_is_transformed(lake: Lake, coordinator: Coordinator) -> None:
    """After exit code 4 the transform still runs, and the slot is closed with 4."""
    async with running(lake, coordinator.job(HALF_HOUR, "ingest", "transform")):
        await coordinator.end("ingest", 4)
        await coordinator.end("transform")
    assert [row[:2] for row in rows(lake)] == [("claimed", None), ("closed", 4)]


async def test_slots_missed_by_a_long_run_become_one(lake: Lake, coordinator: Coordinator) -> None:
    """Slots missed during a long run become one run, which begins when the long one ends."""
    async with running(lake, coordinator.job(SOON, "long")):
        _, first = await asyncio.wait_for(coordinator.started.get(), 300)
        begun = slot_of(datetime.now(UTC), SOON)
        while slot_of(datetime.now(UTC), SOON) <= begun + timedelta(seconds=4 * SOON):
            await asyncio.sleep(0)
        assert coordinator.started.empty()
        first.write(b"0\n")
        first.close()
        await coordinator.end("long")


async def test_crash_is_run_at_the_next_start(lake: Lake, coordinator: Coordinator) -> None:
    """If the holder of an open claim has died, the next scheduler runs the slot immediately, and once."""
    slot = slot_of(datetime.now(UTC), HALF_HOUR)
    dead = f"{socket.gethostname()} 4194305 1"
    assert SlotClaims(lake, holder=dead).claim("sync", slot, now=datetime.now(UTC))
    async with running(lake, coordinator.job(HALF_HOUR, "ingest")):
        await coordinator.end("ingest")
    assert rows(lake) == [("claimed", None, dead), ("claimed", None, "me"), ("closed", 0, "stopped")]


async def test_interrupted_slot_is_run_at_the_next_start(lake: Lake, coordinator: Coordinator) -> None:
    """A stop waits for the running step, starts no other, and leaves the slot to the next scheduler."""
    async with running(lake, coordinator.job(HALF_HOUR, "ingest", "transform")) as schedule:
        _, waiting = await asyncio.wait_for(coordinator.started.get(), 300)
        schedule.stop()
        waiting.write(b"0\n")
        waiting.close()
    assert rows(lake) == [("claimed", None, "me")]
    async with running(lake, coordinator.job(HALF_HOUR, "ingest", "transform")):
        await coordinator.end("ingest")
        await coordinator.end("transform")


async def test_step_that_does_not_end_is_terminated(lake: Lake, coordinator: Coordinator) -> None:
    """A step that runs longer than ``stop_seconds`` after a stop gets SIGTERM."""
    async with running(lake, coordinator.job(HALF_HOUR, "ingest"), stop_seconds=0.1):
        await asyncio.wait_for(coordinator.started.get(), 300)
    assert rows(lake) == [("claimed", None, "me")]


def test_schedule_as_a_process_stops_on_sigterm(lake: Lake) -> None:
    """SIGTERM stops the command and its running step, with exit code 0."""
    environ = environ_of(lake, KEYLAKE_SCHEDULE_STOP_SECONDS="0.1")
    command = [sys.executable, "-m", "serve", "schedule", "--every", "3600"]
    with launched(command, env=environ, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert "schedule.started" in process.stderr.readline()
        process.terminate()
        assert "schedule.stopped" in process.stderr.read()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("upkeep", "jobs"),
    [
        ("true", "sync/3600s,maintain/3600s,sweep/86400s,verify/86400s,compare/86400s"),
        ("false", "sync/3600s"),
    ],
)
def test_the_jobs_of_upkeep_are_a_setting(lake: Lake, upkeep: str, jobs: str) -> None:
    """``[schedule] upkeep`` decides whether the schedule runs the jobs of maintenance with the sync."""
    environ = environ_of(lake, KEYLAKE_SCHEDULE_STOP_SECONDS="0.1", KEYLAKE_SCHEDULE_UPKEEP=upkeep)
    command = [sys.executable, "-m", "serve", "schedule", "--every", "3600"]
    with launched(command, env=environ, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert f"jobs={jobs}\n" in process.stderr.readline()
        process.terminate()
        process.stderr.read()


def test_the_steps_of_upkeep_are_existing_commands(lake: Lake) -> None:
    """Each step of the upkeep is a command with its own help."""
    for job in upkeep_jobs():
        for _, _, *step in job.steps:
            assert "Usage:" in succeed(environ_of(lake), *step, "--help")


@pytest.mark.parametrize("midnight", ["2026-01-15T22:00Z", "2026-07-15T21:00Z"])
def test_a_shop_day_ends_with_maintenance(midnight: str) -> None:
    """The last maintenance of a shop day runs when compaction counts the day as finished, after a sync."""
    (maintain,) = (job for job in upkeep_jobs() if job.name == "maintain")
    sync, ends = sync_job(300.0), datetime.fromisoformat(midnight)
    slot = slot_of(ends - timedelta(seconds=1), maintain.every, maintain.past)
    assert shop_day(ends - timedelta(seconds=1)) < shop_day(ends)
    assert slot_of(slot, sync.every) < slot < slot_of(ends - timedelta(seconds=1), sync.every)
    assert shop_day(slot + BEFORE_MIDNIGHT) == shop_day(ends)


def test_two_schedulers_do_not_run_the_same(lake: Lake) -> None:
    """While one scheduler holds the claim, another runs neither this slot nor the next ones."""
    mine = SlotClaims(lake, holder=this_process())
    other = SlotClaims(lake, holder=f"{socket.gethostname()} {os.getppid()} {started(os.getppid())}")
    assert other.claim("sync", SLOT, now=NOW)
    assert not mine.claim("sync", SLOT, now=NOW)
    assert not mine.claim("sync", SLOT + timedelta(minutes=5), now=NOW)
    other.close("sync", SLOT, now=NOW + timedelta(seconds=1), exit_code=0, detail="release 7")
    assert not mine.claim("sync", SLOT, now=NOW + timedelta(seconds=2))
    assert mine.claim("sync", SLOT + timedelta(minutes=5), now=NOW + timedelta(seconds=2))
    assert mine.claim("other job", SLOT, now=NOW + timedelta(seconds=3))


def test_silent_holder_elsewhere_counts_as_dead() -> None:
    """A holder on another machine counts as dead if it has not renewed its claim for twice RENEW."""
    assert not is_gone("elsewhere 1 1", since=RENEW)
    assert is_gone("elsewhere 1 1", since=2 * RENEW + timedelta(seconds=1))
    assert not is_gone(this_process(), since=100 * RENEW)
    assert is_gone("nonsense", since=3 * RENEW)


def test_claim_is_renewed(lake: Lake) -> None:
    """A claim is renewed once every RENEW, and not more often."""
    ledger = SlotClaims(lake, holder=this_process())
    for minute in range(60):
        assert ledger.claim("sync", SLOT + timedelta(minutes=minute), now=NOW + timedelta(minutes=minute))
    assert len(rows(lake)) == 4


@given(
    st.datetimes(timezones=st.just(UTC), min_value=datetime(1971, 1, 1)),
    st.floats(0.01, 1e6),
    st.floats(0, 1e6),
)
def test_every_instant_is_in_one_slot(now: datetime, every: float, past: float) -> None:
    """The slot of an instant begins at or before it and ends after it."""
    slot = slot_of(now, every, past)
    assert slot <= now < slot + timedelta(seconds=every) + timedelta(microseconds=1)
    assert slot_of(slot, every, past) == slot


def test_sync_in_the_foreground_ends_with_the_first_failure() -> None:
    """After an incomplete ingest the transform runs; after any other failure no step runs."""

    def steps(*codes: int) -> Job:
        ends = tuple((sys.executable, "-c", f"raise SystemExit({code})") for code in codes)
        return Job(name="sync", every=1, steps=ends)

    assert run_once(steps(0, 0)) == 0
    assert run_once(steps(4, 0)) == 4
    assert run_once(steps(4, 3)) == 4
    assert run_once(steps(0, 3)) == 3
    assert run_once(steps(1, 3)) == 1


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_a_step_that_hangs_is_ended_and_the_schedule_goes_on(
    lake: Lake, coordinator: Coordinator, is_stopped: bool
) -> None:
    """A step that runs for too long, or that a signal has stopped, fails its job; the next slot runs."""
    stop = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)\n"
    hang = (sys.executable, "-c", stop if is_stopped else "import signal; signal.pause()")
    job = msgspec.structs.replace(coordinator.job(SOON, "transform"), steps=(hang,))
    schedule = Schedule(lake, [job], stop_seconds=0.5, step_seconds=0.2)
    task = asyncio.create_task(schedule.run())
    while len(entries := rows(lake)) < 4:
        await asyncio.sleep(SOON)
    schedule.stop()
    await asyncio.wait_for(task, 300)
    assert [row[:2] for row in entries[:4]] == [("claimed", None), ("closed", TIMED_OUT)] * 2
    assert "ran longer than [schedule] step_seconds 0.2 and was ended; run it by hand" in str(entries[1][2])
    [failed] = failed_jobs(lake, None, now=datetime.now(UTC))
    assert f"exit {TIMED_OUT}" in failed.failure


async def test_a_step_that_ignores_sigterm_is_killed(lake: Lake) -> None:
    """A hanging step that handles SIGTERM by doing nothing is killed after the time to end."""
    deaf = "import signal; signal.signal(signal.SIGTERM, lambda *_: None)\nwhile True: signal.pause()"
    schedule = Schedule(
        lake,
        [Job(name="sync", every=HALF_HOUR, steps=((sys.executable, "-c", deaf),))],
        stop_seconds=0.2,
        step_seconds=0.5,
    )
    assert await schedule._step(schedule._jobs[0].steps[0]) == (TIMED_OUT, ANY)


async def test_a_panic_ends_no_schedule(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that panics while a slot is claimed fails that slot, and the next one runs."""
    schedule = Schedule(lake, [Job(name="sync", every=SOON, steps=())], stop_seconds=1)
    panics = iter(range(2))
    claim = SlotClaims.claim

    def claim_late(*arguments: Any, **named: Any) -> bool:
        if next(panics, None) is not None:
            panic(lake.place)
        return claim(*arguments, **named)

    monkeypatch.setattr(SlotClaims, "claim", claim_late)
    with structlog.testing.capture_logs() as events:
        task = asyncio.create_task(schedule.run())
        while not rows(lake):
            await asyncio.sleep(SOON)
        schedule.stop()
        await asyncio.wait_for(task, 300)
    reasons = [event["reason"] for event in events if event["event"] == "schedule.failed"]
    assert len(reasons) == 2
    assert "LibraryPanic: a library failed unexpectedly" in reasons[0]


def lease_holder(lake: Lake, holder: str) -> SlotClaims:
    """Return the claims of a scheduler in another container, which has a claim and a lease."""
    claims = SlotClaims(lake, holder=holder, with_lease=True)
    assert claims.claim("sync", SLOT, now=NOW)
    return claims


def test_a_dead_scheduler_of_another_container_is_replaced_immediately(lake: Lake) -> None:
    """A new container on the same disk takes the slot over once no process has the lease."""
    old = lease_holder(lake, "container-1 1 123")
    new = SlotClaims(lake, holder="container-2 1 456", with_lease=True)
    with structlog.testing.capture_logs() as events:
        assert not new.claim("sync", SLOT, now=NOW)
        assert not new.claim("sync", SLOT + timedelta(minutes=5), now=NOW)
    [wait] = [event for event in events if event["event"] == "schedule.waits"]
    assert wait["holder"] == "process 1 on container-1"
    assert wait["until"].startswith("2026-03-30T12:32:00")
    assert old._lease
    os.close(old._lease)  # as the kernel does if the process dies
    assert new.claim("sync", SLOT, now=NOW)
    new.close_lease()
    assert [file.name.startswith(LEASE) for file in Path(lake.place, LOCKS).iterdir()] == [True]


def test_a_lease_that_proves_nothing_changes_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that machines share, or without a lease, only silence counts for a holder elsewhere."""
    old = lease_holder(lake, "container-1 1 123")
    assert old._lease
    assert not is_dead(lake, old.holder, since=timedelta(minutes=1))
    assert is_dead(lake, old.holder, since=SILENCE + timedelta(seconds=1))
    os.close(old._lease)
    assert is_dead(lake, old.holder, since=timedelta(seconds=1))
    assert not is_dead(lake, "container-3 1 123", since=timedelta(seconds=1))
    monkeypatch.setattr("lake.processes.LOCAL_DISKS", ())
    assert not is_dead(lake, old.holder, since=timedelta(seconds=1))


def test_leases_of_killed_schedulers_are_removed(lake: Lake) -> None:
    """A lease that was left more than a day ago is removed; one that is taken stays."""
    living = lease_holder(lake, "container-1 1 123")
    files = [lease_of(lake, name) for name in ("container-0 1 1", living.holder)]
    for file in filter(None, files):
        file.touch()
        os.utime(file, (0, 0))
    new = SlotClaims(lake, holder=this_process(), with_lease=True)
    assert new.claim("other job", SLOT, now=NOW)
    assert [file.exists() for file in files if file] == [False, True]
    assert set(holders(lake)) == {file.name for file in (files[1], lease_of(lake, new.holder)) if file}
    new.close_lease()
    living.close_lease()


async def test_a_schedule_has_a_lease_while_it_runs(lake: Lake, coordinator: Coordinator) -> None:
    """The status names a running schedule, and a clean end leaves no lease."""
    async with running(lake, coordinator.job(HALF_HOUR, "ingest"), stop_seconds=0.1):
        await asyncio.wait_for(coordinator.started.get(), 300)
        assert "lock schedule: `" in read_status(lake).headline
        assert f"(process {os.getpid()} on " in read_status(lake).headline
    assert holders(lake) == {}


def test_two_containers_of_the_same_name_are_distinguished(lake: Lake) -> None:
    """A holder with a lease lives, even if its process number means another process here."""
    other = lease_holder(lake, f"{socket.gethostname()} 1 123")
    assert is_gone(other.holder, since=timedelta())
    assert not is_dead(lake, other.holder, since=timedelta())
    other.close_lease()
