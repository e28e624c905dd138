"""Schedule: slots that are due become processes, one at a time, and none is lost.

Slots lie on a grid of the clock, so two schedulers mean the same one. Whatever was
missed, by a long run or a machine asleep, becomes one run at once. The ledger says
what was taken and how it ended: see ``serve.slots``.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from lake.errors import IngestIncomplete, LakeError
from lake.ledgers.jobs import SYNC
from lake.paths import Lake
from serve.reader import newest_release
from serve.slots import SILENCE, SlotClaims, this_process

log = structlog.get_logger()
KILL_AFTER = 5.0
HOUR, DAY = 3_600.0, 86_400.0
# When a compaction takes the day for over, see lake.compaction, and no sync of every five minutes begins.
BEFORE_THE_HOUR = 480.0
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to run how often: the steps are commands, run in their order.

    ``every`` is in seconds, and so is ``past``, by which its slots lie behind the grid's.
    """

    name: str
    every: float
    steps: tuple[tuple[str, ...], ...]
    past: float = 0.0


def sync_job(every: float) -> Job:
    """Return the sync: what changed in the CRM, then what it changes here."""
    python = (sys.executable, "-m")
    return Job(name=SYNC, every=every, steps=((*python, "ingest", "incremental"), (*python, "transform")))


def upkeep_jobs() -> tuple[Job, ...]:
    """Return what keeps a lake true and small; each waits for the sync at hand, and that for them.

    Once a day, from midnight UTC on, silent edits and deletions are looked for, and the release
    that serves is held against a full build of it. Once an hour what nobody needs goes: shortly
    before it ends, for the last release of a shop's day is to name merged files.
    """
    python = (sys.executable, "-m")
    return (
        Job(name="maintain", every=HOUR, steps=((*python, "lake", "maintain"),), past=HOUR - BEFORE_THE_HOUR),
        Job(name="sweep", every=DAY, steps=((*python, "ingest", "sweep"), (*python, "transform"))),
        Job(name="compare", every=DAY, steps=((*python, "transform", "compare"),)),
    )


class Schedule:
    """Runs jobs until it is told to stop. ``stop_seconds``: what a running step gets to end by itself."""

    def __init__(self, lake: Lake, jobs: Sequence[Job], *, stop_seconds: float) -> None:
        self._lake = lake
        self._jobs = jobs
        self._stop_seconds = stop_seconds
        self._ledger = SlotClaims(lake, holder=this_process())
        self._stopping = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._interrupted: set[str] = set()
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    async def run(self) -> None:
        """Run until SIGINT, SIGTERM or ``stop``; a step that runs then may end, and the next is not begun."""
        loop = asyncio.get_running_loop()
        for number in STOPS:
            loop.add_signal_handler(number, self.stop)
        self._scheduler.start()
        for job in self._jobs:
            self._plan(job, datetime.now(UTC))
        log.info("schedule.started", jobs=",".join(f"{job.name}/{job.every:g}s" for job in self._jobs))
        await self._stopping.wait()
        self._scheduler.pause()
        async with self._one_at_a_time:
            for job in self._jobs:
                self._leave(job)
        self._scheduler.shutdown(wait=False)
        for number in STOPS:
            loop.remove_signal_handler(number)
        log.info("schedule.stopped")

    def stop(self) -> None:
        """Ask it to stop."""
        self._stopping.set()

    def _plan(self, job: Job, due: datetime) -> None:
        # An interval drops the slot that comes due while the last one runs; a date is always kept. It is
        # planned by a run that is about to end, hence more than one instance; the lock keeps them apart.
        self._scheduler.add_job(
            self._take,
            DateTrigger(due),
            args=[job],
            id=job.name,
            misfire_grace_time=None,
            max_instances=3,
            replace_existing=True,
        )

    async def _take(self, job: Job) -> None:
        slot = slot_of(datetime.now(UTC), job.every, job.past)
        try:
            async with self._one_at_a_time:
                slot = slot_of(datetime.now(UTC), job.every, job.past)
                if not self._stopping.is_set() and self._ledger.claim(job.name, slot, now=datetime.now(UTC)):
                    await self._run(job, slot)
        except Exception as error:
            log.error("schedule.failed", job=job.name, slot=slot.isoformat(), reason=plain(error))
        if not self._stopping.is_set():
            self._plan(job, max(datetime.now(UTC), slot + timedelta(seconds=job.every)))

    async def _run(self, job: Job, slot: datetime) -> None:
        start, before = time.monotonic(), newest_release(self._lake)
        outcome = await self._steps(job)
        facts = {"job": job.name, "slot": slot.isoformat(), "seconds": round(time.monotonic() - start, 2)}
        if outcome is None:
            self._interrupted.add(job.name)
            log.warning("schedule.interrupted", **facts)
            return
        code, detail = outcome
        after = newest_release(self._lake)
        if code:
            log.error("schedule.failed", **facts, exit_code=code, reason=detail)
        else:
            detail = f"release {after}" if after != before else ""
            log.info("schedule.finished", **facts, release=after)
        # A claim is renewed by the slots that follow, if they come in time for it.
        is_far = timedelta(seconds=job.every) > SILENCE
        if code or detail or is_far or job.name in self._ledger.failed:
            self._ledger.close(job.name, slot, now=datetime.now(UTC), exit_code=code, detail=detail)

    async def _steps(self, job: Job) -> tuple[int, str] | None:
        """Run the steps and return the exit code and what was said; None where a stop came between."""
        code, detail = 0, ""
        for place, step in enumerate(job.steps, start=1):
            ended, last_line = await self._step(step)
            if self._stopping.is_set() and (ended or place < len(job.steps)):
                return None
            if ended:
                code, detail = (
                    code or ended,
                    detail or f"{step_name(step)}: {last_line or 'no word'}",
                )
            if not goes_on(ended):
                break
        return code, detail

    async def _step(self, command: Sequence[str]) -> tuple[int, str]:
        """Run one command; return its exit code and the last line of its stderr, which is passed on."""
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        reading = asyncio.create_task(pass_on(process))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for seconds, end in ((self._stop_seconds, process.terminate), (KILL_AFTER, process.kill)):
            if not reading.done():
                await asyncio.wait({reading}, timeout=seconds)
            if not reading.done():
                with contextlib.suppress(ProcessLookupError):
                    end()
        last_line = await reading
        return await process.wait(), last_line

    def _leave(self, job: Job) -> None:
        """Close what is open and done, so that the next start need not run it."""
        try:
            last = self._ledger.last(job.name)
            if last and self._ledger.is_open(last) and job.name not in self._interrupted:
                self._ledger.close(job.name, last.slot, now=datetime.now(UTC), exit_code=0, detail="stopped")
        except LakeError as error:
            log.warning("schedule.not_closed", job=job.name, reason=plain(error))


def goes_on(exit_code: int) -> bool:
    """True where the next step follows: what did arrive of an incomplete ingest is worth a release."""
    return exit_code in (0, IngestIncomplete.exit_code)


def run_once(job: Job) -> int:
    """Run the job here and now; return the first exit code that is not 0."""
    code = 0
    for step in job.steps:
        ended = run_step(step)
        code = code or (ended if ended >= 0 else 128 - ended)
        if not goes_on(ended):
            break
    return code


def run_step(step: Sequence[str]) -> int:
    """Run one step to its end and return its exit code; a signal that ends this process ends it first."""
    with subprocess.Popen(step) as running:
        for number in STOPS:
            signal.signal(number, lambda *_: running.terminate())
        code = running.wait()
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)
    return code


async def pass_on(process: asyncio.subprocess.Process) -> str:
    """Pass the process's stderr on as it comes; return its last line."""
    last = ""
    assert process.stderr
    async for line in process.stderr:
        text = line.decode("utf-8", "replace").rstrip()
        last = text or last
        print(text, file=sys.stderr, flush=True)
    return last


def slot_of(now: datetime, every: float, past: float = 0.0) -> datetime:
    """Return the start of the slot that an instant is in, on the grid that begins ``past`` 1970."""
    width = max(timedelta(microseconds=1), timedelta(seconds=every))
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=past)
    return start + (now - start) // width * width


def step_name(step: Sequence[str]) -> str:
    """Return a command as a person would name it: ``ingest incremental``."""
    return " ".join(step[2:] if step[1:2] == ("-m",) else step)


def plain(error: Exception) -> str:
    """Return an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
