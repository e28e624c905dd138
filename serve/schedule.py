"""Schedule: runs jobs as processes when their slots are due, one at a time.

Slots lie on a fixed grid of clock time, so two schedulers agree on them. If slots are
missed, because a run took long or the machine was asleep, one run follows immediately
for all of them. The ledger records which slots were claimed and how they ended: see
``serve.slots``.
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

from lake.errors import IngestIncomplete, LakeError, panics_as_errors
from lake.ledgers.jobs import SYNC
from lake.paths import Lake
from serve.reader import newest_release
from serve.slots import SILENCE, SlotClaims, this_process

log = structlog.get_logger()
# Seconds from SIGTERM to SIGKILL of a step that does not end.
KILL_AFTER = 5.0
# Seconds after which a step is ended, and the exit code that is recorded for it.
STEP_SECONDS, TIMED_OUT = 7_200.0, 124
# Seconds.
HOUR, DAY = 3_600.0, 86_400.0
# Seconds before the hour at which maintenance starts. At that time a compaction treats the day as
# finished (see lake.maintenance.compaction), and no sync of every five minutes starts.
BEFORE_THE_HOUR = 480.0
# Signals that stop the schedule.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job: its ``steps`` are commands, run in order every ``every`` seconds.

    ``past`` shifts its slots by that many seconds from the grid of clock time.
    """

    name: str
    every: float
    steps: tuple[tuple[str, ...], ...]
    past: float = 0.0


def sync_job(every: float) -> Job:
    """Return the sync, run every ``every`` seconds: ingest the changes of the CRM, then build."""
    python = (sys.executable, "-m")
    return Job(name=SYNC, every=every, steps=((*python, "ingest", "incremental"), (*python, "transform")))


def upkeep_jobs() -> tuple[Job, ...]:
    """Return the maintenance jobs. They and the sync never run at the same time.

    Once a day, from midnight UTC, the sweep finds silent edits and deletions, the verification checks
    a seventh of all files, and the comparison checks the release that serves against a full build.
    Maintenance runs once an hour, shortly before the hour ends, so that the last release of a shop day
    references compacted files.
    """
    python = (sys.executable, "-m")
    return (
        Job(name="maintain", every=HOUR, steps=((*python, "lake", "maintain"),), past=HOUR - BEFORE_THE_HOUR),
        Job(name="sweep", every=DAY, steps=((*python, "ingest", "sweep"), (*python, "transform"))),
        Job(name="verify", every=DAY, steps=((*python, "ingest", "verify", "--share"),)),
        Job(name="compare", every=DAY, steps=((*python, "transform", "compare"),)),
    )


class Schedule:
    """Runs jobs until it is stopped; a running step then has ``stop_seconds`` to end by itself.

    A step that runs longer than ``step_seconds`` is ended in the same way, and its job has failed.
    """

    def __init__(
        self,
        lake: Lake,
        jobs: Sequence[Job],
        *,
        stop_seconds: float,
        step_seconds: float = STEP_SECONDS,
    ) -> None:
        self._lake = lake
        self._jobs = jobs
        self._stop_seconds = stop_seconds
        self._step_seconds = step_seconds
        self._ledger = SlotClaims(lake, holder=this_process(), with_lease=True)
        self._stopping = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._interrupted: set[str] = set()
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    async def run(self) -> None:
        """Run until a signal of STOPS or ``stop``. The running step may end; the next one does not start."""
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
                self._close_open_slot(job)
        self._ledger.close_lease()
        self._scheduler.shutdown(wait=False)
        for number in STOPS:
            loop.remove_signal_handler(number)
        log.info("schedule.stopped")

    def stop(self) -> None:
        """Request the stop; ``run`` returns when the running step has ended."""
        self._stopping.set()

    def _plan(self, job: Job, due: datetime) -> None:
        # An interval trigger drops a slot that is due while the previous run lasts; a date trigger keeps it.
        # A run plans the next one before it ends, hence several instances; the lock serializes them.
        self._scheduler.add_job(
            self._run_slot,
            DateTrigger(due),
            args=[job],
            id=job.name,
            misfire_grace_time=None,
            max_instances=3,
            replace_existing=True,
        )

    async def _run_slot(self, job: Job) -> None:
        slot = slot_of(datetime.now(UTC), job.every, job.past)
        try:
            async with self._one_at_a_time:
                slot = slot_of(datetime.now(UTC), job.every, job.past)
                with panics_as_errors():
                    if not self._stopping.is_set() and self._ledger.claim(
                        job.name, slot, now=datetime.now(UTC)
                    ):
                        await self._run(job, slot)
        except Exception as error:
            log.error("schedule.failed", job=job.name, slot=slot.isoformat(), reason=one_line(error))
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
        # The next slots renew the claim, unless they are too far apart.
        is_far = timedelta(seconds=job.every) > SILENCE
        if code or detail or is_far or job.name in self._ledger.failed:
            self._ledger.close(job.name, slot, now=datetime.now(UTC), exit_code=code, detail=detail)

    async def _steps(self, job: Job) -> tuple[int, str] | None:
        """Run the steps; return the first failure's exit code and message, or None after a stop."""
        code, detail = 0, ""
        for position, step in enumerate(job.steps, start=1):
            step_code, last_line = await self._step(step)
            if self._stopping.is_set() and (step_code or position < len(job.steps)):
                return None
            if step_code:
                code, detail = code or step_code, detail or f"{step_name(step)}: {last_line or 'no output'}"
            if not allows_next(step_code):
                break
        return code, detail

    async def _step(self, command: Sequence[str]) -> tuple[int, str]:
        """Run one command, with its stderr passed on; return its exit code and the last line of stderr.

        The code is TIMED_OUT, with the reason as the line, for a step that runs for too long.
        """
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        ending = asyncio.create_task(wait_for_end(process))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait(
            {ending, stopping}, timeout=self._step_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        stopping.cancel()
        is_late = not ending.done() and not self._stopping.is_set()
        if is_late:
            log.error("schedule.step_too_long", step=step_name(command), seconds=self._step_seconds)
        has_ended = await self._end(process, ending, is_late=is_late)
        if is_late:
            state = "was ended" if has_ended else f"can't be ended (process {process.pid})"
            return TIMED_OUT, (
                f"it ran longer than [schedule] step_seconds {self._step_seconds:g} and {state};"
                " run it by hand to see why"
            )
        return await ending if has_ended else (TIMED_OUT, f"process {process.pid} can't be ended")

    async def _end(
        self, process: asyncio.subprocess.Process, ending: "asyncio.Task[tuple[int, str]]", *, is_late: bool
    ) -> bool:
        """Return True if the process has ended; if it does not end by itself in time, end it.

        A process that waits for a disk that does not answer can't be ended. It is left alone.
        """
        own_time, last_time = (0.0, self._stop_seconds) if is_late else (self._stop_seconds, KILL_AFTER)
        ends = ((own_time, process.terminate), (last_time, process.kill), (KILL_AFTER, None))
        for seconds, end in ends:
            if not ending.done():
                await asyncio.wait({ending}, timeout=seconds)
            if not ending.done() and end:
                with contextlib.suppress(ProcessLookupError):
                    end()
                    process.send_signal(signal.SIGCONT)  # a stopped process handles no other signal
        if not ending.done():
            ending.cancel()
            return False
        return True

    def _close_open_slot(self, job: Job) -> None:
        """Close the job's open slot if its run has finished, so that the next start does not repeat it."""
        try:
            with panics_as_errors():
                last = self._ledger.last(job.name)
                if last and self._ledger.is_open(last) and job.name not in self._interrupted:
                    now = datetime.now(UTC)
                    self._ledger.close(job.name, last.slot, now=now, exit_code=0, detail="stopped")
        except LakeError as error:
            log.warning("schedule.not_closed", job=job.name, reason=one_line(error))


def allows_next(exit_code: int) -> bool:
    """True if the next step runs: after success, and after an incomplete ingest, to publish what arrived."""
    return exit_code in (0, IngestIncomplete.exit_code)


def run_once(job: Job) -> int:
    """Run the job now, in the foreground; return the first exit code that is not 0."""
    code = 0
    for step in job.steps:
        step_code = run_step(step)
        code = code or (step_code if step_code >= 0 else 128 - step_code)
        if not allows_next(step_code):
            break
    return code


def run_step(step: Sequence[str]) -> int:
    """Run one step and return its exit code. Signals of STOPS are passed to the step, which ends first."""
    with subprocess.Popen(step) as process:
        for number in STOPS:
            signal.signal(number, lambda *_: process.terminate())
        code = process.wait()
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)
    return code


async def wait_for_end(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Return the exit code of a process and the last line of its stderr, which is passed on."""
    last_line = await forward_stderr(process)
    return await process.wait(), last_line


async def forward_stderr(process: asyncio.subprocess.Process) -> str:
    """Print the process's stderr line by line as it arrives; return its last line that is not empty."""
    last = ""
    assert process.stderr
    async for line in process.stderr:
        text = line.decode("utf-8", "replace").rstrip()
        last = text or last
        print(text, file=sys.stderr, flush=True)
    return last


def slot_of(now: datetime, every: float, past: float = 0.0) -> datetime:
    """Return the start of the slot that contains ``now``; the grid starts ``past`` seconds after 1970."""
    width = max(timedelta(microseconds=1), timedelta(seconds=every))
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=past)
    return start + (now - start) // width * width


def step_name(step: Sequence[str]) -> str:
    """Return a command without the Python before it: ``ingest incremental``."""
    return " ".join(step[2:] if step[1:2] == ("-m",) else step)


def one_line(error: Exception) -> str:
    """Return an error's class and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
