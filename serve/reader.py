"""Reader: keeps the current release open, and swaps it when a newer one is published.

Whoever asks holds the session for as long as the question runs; a swap only changes
which one the next question gets. A release that can't be opened leaves the old one
serving, is logged once, and is tried again now and then.
"""

import asyncio
import contextlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import duckdb
import structlog

from lake.delta.table import open_table, table_exists
from lake.errors import LakeError, NoRelease, UsageError
from lake.ledgers.jobs import JOBS, Entry, failed_jobs
from lake.ledgers.runs import RUNS, Run, last_runs, list_runs
from lake.paths import Lake
from lake.releases.asof import resolve as resolve_release
from lake.releases.release import Release, find_release, list_releases, releases_table
from lake.settings import LakeSettings
from serve.errors import BadQuestion, NothingThere, NotReady
from serve.served_release import ServedRelease, open_served_release
from serve.settings import ServeSettings

log = structlog.get_logger()
LOOK_EVERY = 0.4
RETRY_AFTER = 5.0
# A plus that was not percent-encoded arrives as a space, and only a time's zone has one.
PLUS = re.compile(r"(T[\d:.]+) (\d\d:?\d\d)$")
NOTHING_YET = "nothing is published yet; run `just sync`, it publishes the first release"


class Reader:
    """Sessions over the current release and the few older ones last asked for."""

    def __init__(self, lake: Lake, limits: LakeSettings, settings: ServeSettings) -> None:
        self._lake = lake
        self._limits = limits
        self._settings = settings
        self._open: OrderedDict[int, ServedRelease] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._failed: tuple[int, float] = (0, 0.0)
        self._run_at: datetime | None = None
        self.current: ServedRelease | None = None
        self._problem: str | None = None
        self._jobs_seen: object = None
        self.failed_jobs: tuple[Entry, ...] = ()
        self.last_run: Run | None = None
        self.last_complete: Run | None = None

    @property
    def problem(self) -> str | None:
        """Why what is served is not the newest there could be, in one line; None where it is."""
        said = [self._problem, *(job.failure for job in self.failed_jobs)]
        return "; ".join(filter(None, said)) or None

    @property
    def is_behind(self) -> bool:
        """True where a newer release can't be opened, or the lake not be read."""
        return self._problem is not None

    def refresh(self) -> bool:
        """Look once for a newer release, run and job; True if another release serves from now on.

        Reading is all it does. What goes wrong is kept in ``problem`` and never raised.
        """
        try:
            self._look_for_run()
            newest = newest_release(self._lake)
            if newest is None or (self.current and newest == self.current.number):
                self._problem = None
                self._look_for_jobs()
                return False
            if newest == self._failed[0] and time.monotonic() < self._failed[1]:
                return False
        except Exception as error:
            return self._report(0, error)
        try:
            self._swap(
                open_served_release(
                    self._lake, self._limits, self._settings, find_release(self._lake, newest)
                )
            )
        except Exception as error:
            return self._report(newest, error)
        return True

    @contextlib.contextmanager
    def open(self, number: int | None = None) -> Iterator[ServedRelease]:
        """Hold a release open: the current one, or that of a number.

        Raises NotReady where nothing is published, NothingThere for a number never published.
        """
        served = self._hold(self.number(number))
        try:
            yield served
        finally:
            served.drop()

    def number(self, number: int | None = None) -> int:
        """Return the number as it is, or that of the current release. Raises NotReady, NothingThere."""
        current = self.current
        if current is None:
            raise NotReady(self.problem or NOTHING_YET)
        if number is not None and not 1 <= number <= current.number:
            raise NothingThere(f"release {number} was never published; the newest is {current.number}")
        return current.number if number is None else number

    def resolve(self, values: Mapping[str, Any]) -> int:
        """Return the number of the release that ``release`` or ``as_of`` means, none newer than what serves.

        Raises NotReady; BadQuestion for what names no release, NothingThere where there was none.
        """
        text, current = values["as_of"], self.number()
        if text is None:
            return self.number(values["release"])
        if text.strip().isascii() and text.strip().isdigit():
            return self.number(int(text))
        try:
            return min(resolve_release(self._lake, PLUS.sub(r"\1+\2", text)).release, current)
        except UsageError as error:
            raise BadQuestion(f"as_of: {error}") from None
        except NoRelease as error:
            raise NothingThere(f"as_of: {error}") from None

    def releases(self, number: int, limit: int) -> list[Release]:
        """Return so many releases up to that of a number, newest first."""
        return list_releases(self._lake, limit=limit, until=number)

    def last_runs(self, release: Release) -> tuple[Run | None, Run | None]:
        """Return the last ingest and the last complete one; of an older release, those before it."""
        if self.current is None or release.release == self.current.number:
            return self.last_run, self.last_complete
        return last_runs(self._lake, by=release.published_at)

    async def watch(self) -> None:
        """Look again and again until cancelled, in a thread of its own."""
        with ThreadPoolExecutor(1, "reader") as thread:
            while True:
                await asyncio.get_running_loop().run_in_executor(thread, self.refresh)
                await asyncio.sleep(LOOK_EVERY)

    def close(self) -> None:
        """Close every served that nobody uses, the rest with their last use."""
        with self._lock:
            for served in self._open.values():
                served.retire()
            self._open.clear()
            self.current = None

    def _look_for_run(self) -> None:
        if not table_exists(self._lake, RUNS):
            return
        newest = open_table(self._lake, RUNS).maximum("finished_at")
        if newest == self._run_at or not isinstance(newest, datetime):
            return
        # The newest receipt is one file; older ones are read only where it was not complete.
        [run, *_] = list_runs(self._lake, since=newest)
        whole = run if run.verdict == "complete" else self.last_complete or last_runs(self._lake)[1]
        self.last_run, self.last_complete, self._run_at = run, whole, newest

    def _look_for_jobs(self) -> None:
        """Look which jobs failed, where there is news; a ledger that can't be read is told of once."""
        current, now = self.current.release if self.current else None, datetime.now(UTC)
        seen: object
        try:
            newest = open_table(self._lake, JOBS).maximum("at") if table_exists(self._lake, JOBS) else None
            seen = newest, current and current.release, now.date()
            if seen != self._jobs_seen:
                self.failed_jobs = failed_jobs(self._lake, current, now=now)
        except Exception as error:
            seen, self.failed_jobs = str(error), ()
            if seen != self._jobs_seen:
                log.warning("serve.jobs_not_read", reason=" ".join(str(error).split()))
        self._jobs_seen = seen

    def _swap(self, served: ServedRelease) -> None:
        with self._lock:
            if self.current and served.number < self.current.number:  # another lake is at this place now
                for older in self._open.values():
                    older.retire()
                self._open.clear()
            self._keep(served)
            self.current = served
        self._problem = None
        log.info("serve.release_opened", release=served.number, tables=len(served.tables))

    def _keep(self, served: ServedRelease) -> None:
        self._open[served.number] = served
        self._open.move_to_end(served.number)
        for number in list(self._open):
            if len(self._open) <= self._settings.open_releases:
                break
            if self.current is None or number not in (self.current.number, served.number):
                self._open.pop(number).retire()

    def _hold(self, number: int) -> ServedRelease:
        with self._lock:
            served = self._open.get(number)
            if served and served.acquire():
                self._open.move_to_end(number)
                return served
        with self._opening:
            return self._open_older(number)

    def _open_older(self, number: int) -> ServedRelease:
        with self._lock:
            served = self._open.get(number)
            if served and served.acquire():
                return served
        try:
            release = find_release(self._lake, number)
            served = open_served_release(self._lake, self._limits, self._settings, release)
        except (LakeError, OSError, duckdb.IOException) as error:
            log.warning("serve.release_not_opened", release=number, reason=str(error))
            raise NothingThere(f"release {number} can't be opened any more; see /api/releases") from None
        served.acquire()
        with self._lock:
            self._keep(served)
        return served

    def _report(self, number: int, error: Exception) -> bool:
        what = f"release {number} can't be opened" if number else "the lake can't be read"
        known = "see the server's log" if self.current else "see the server's log, then run `just status`"
        problem = f"{what} ({type(error).__name__}); {known}"
        if problem != self._problem:
            log.error("serve.release_not_opened", release=number or None, reason=" ".join(str(error).split()))
        self._problem = problem
        self._failed = (number, time.monotonic() + RETRY_AFTER)
        return False


def newest_release(lake: Lake) -> int | None:
    """Return the number of the newest release, from statistics alone; None where there is none."""
    ledger = releases_table(lake)
    newest = ledger and ledger.maximum("release")
    return newest if isinstance(newest, int) else None
