"""Reader: keeps the current release open, and swaps it when a newer one is published.

A query uses one release until it ends; a swap only changes which release the next
query gets. If a new release can't be opened, the old one keeps serving. The failure
is logged once, and opening is retried every few seconds.
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

from lake.delta.tables import open_table, table_exists
from lake.errors import LakeError, NoRelease, UsageError, panics_as_errors
from lake.ledgers.jobs import JOBS, Entry, failed_jobs
from lake.ledgers.runs import RUNS, Run, last_runs, list_runs
from lake.paths import Lake
from lake.releases.asof import resolve as resolve_release
from lake.releases.release import Release, find_release, list_releases, releases_table
from lake.releases.uncounted import Uncounted, read_uncounted
from lake.settings import LakeSettings
from serve.errors import BadQuestion, NothingThere, NotReady
from serve.served_release import ServedRelease, open_served_release
from serve.settings import ServeSettings

log = structlog.get_logger()
# Seconds between two looks at the lake.
REFRESH_EVERY = 0.4
# Seconds until a release that could not be opened is tried again.
RETRY_AFTER = 5.0
# In a query string, "+" without percent-encoding arrives as a space; only a time's zone contains one.
PLUS = re.compile(r"(T[\d:.]+) (\d\d:?\d\d)$")
NO_RELEASE = "nothing is published yet; run `just sync`, it publishes the first release"


class Reader:
    """The current release and the few older ones used last, open. Safe for threads."""

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
        """The reasons, in one line, why a newer release may be missing; None if there are none."""
        reasons = [self._problem, *(job.failure for job in self.failed_jobs)]
        return "; ".join(filter(None, reasons)) or None

    @property
    def is_behind(self) -> bool:
        """True if a newer release can't be opened, or the lake can't be read."""
        return self._problem is not None

    def refresh(self) -> bool:
        """Read the newest release, run and job; True if another release serves from now on.

        Errors are stored in ``problem`` and not raised.
        """
        try:
            with panics_as_errors():
                self._refresh_run()
                newest = newest_release(self._lake)
            if newest is None or (self.current and newest == self.current.number):
                self._problem = None
                self._refresh_jobs()
                return False
            if newest == self._failed[0] and time.monotonic() < self._failed[1]:
                return False
        except Exception as error:
            return self._report(0, error)
        try:
            with panics_as_errors():
                release = find_release(self._lake, newest)
                self._swap(open_served_release(self._lake, self._limits, self._settings, release))
        except Exception as error:
            return self._report(newest, error)
        return True

    @contextlib.contextmanager
    def open(self, number: int | None = None) -> Iterator[ServedRelease]:
        """Keep a release open for the block: the one of that number, or the current one.

        Raises NotReady if no release is published, NothingThere if the number was never published
        or its release can't be opened any more.
        """
        served = self._acquire(self.number(number))
        try:
            yield served
        finally:
            served.drop()

    def number(self, number: int | None = None) -> int:
        """Return the number if that release was published; for None, the current release's number.

        Raises NotReady, NothingThere.
        """
        current = self.current
        if current is None:
            raise NotReady(self.problem or NO_RELEASE)
        if number is not None and not 1 <= number <= current.number:
            raise NothingThere(f"release {number} was never published; the newest is {current.number}")
        return current.number if number is None else number

    def resolve(self, values: Mapping[str, Any]) -> int:
        """Return the number of the release that ``release`` or ``as_of`` means, at most the current one.

        Raises NotReady; BadQuestion if the text can't name a release; NothingThere if there was no
        release at that point.
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
        """Return at most ``limit`` releases up to ``number``, newest first."""
        return list_releases(self._lake, limit=limit, until=number)

    def uncounted(self, release: Release) -> Uncounted | None:
        """Return what is in no number of a release; None if it is not recorded, or can't be read any more."""
        current = self.current
        if current and current.number == release.release:
            return current.uncounted
        try:
            return read_uncounted(self._lake, release)
        except (LakeError, OSError):
            return None

    def last_runs(self, release: Release) -> tuple[Run | None, Run | None]:
        """Return the last ingest and the last complete one; for an older release, those before it."""
        if self.current is None or release.release == self.current.number:
            return self.last_run, self.last_complete
        return last_runs(self._lake, by=release.published_at)

    async def watch(self) -> None:
        """Refresh every REFRESH_EVERY seconds, in a thread of its own, until cancelled."""
        with ThreadPoolExecutor(1, "reader") as thread:
            while True:
                await asyncio.get_running_loop().run_in_executor(thread, self.refresh)
                await asyncio.sleep(REFRESH_EVERY)

    def close(self) -> None:
        """Close every release; one that is in use closes when its last user ends."""
        with self._lock:
            self._retire_all()
            self.current = None

    def _refresh_run(self) -> None:
        if not table_exists(self._lake, RUNS):
            return
        newest = open_table(self._lake, RUNS).maximum("finished_at")
        if newest == self._run_at or not isinstance(newest, datetime):
            return
        # The newest receipt is one file. Older ones are read only if it is incomplete.
        [run, *_] = list_runs(self._lake, since=newest)
        complete = run if run.verdict == "complete" else self.last_complete or last_runs(self._lake)[1]
        self.last_run, self.last_complete, self._run_at = run, complete, newest

    def _refresh_jobs(self) -> None:
        """Read which jobs failed, if the ledger, the release or the day changed; log an error once."""
        current, now = self.current.release if self.current else None, datetime.now(UTC)
        seen: object
        try:
            with panics_as_errors():
                newest = (
                    open_table(self._lake, JOBS).maximum("at") if table_exists(self._lake, JOBS) else None
                )
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
            # A lower number means that another lake was put at this path.
            if self.current and served.number < self.current.number:
                self._retire_all()
            self._add(served)
            self.current = served
        self._problem = None
        log.info("serve.release_opened", release=served.number, tables=len(served.tables))

    def _retire_all(self) -> None:
        for served in self._open.values():
            served.retire()
        self._open.clear()

    def _add(self, served: ServedRelease) -> None:
        """Add an open release and retire the least recently used; the caller has the lock."""
        self._open[served.number] = served
        self._open.move_to_end(served.number)
        for number in list(self._open):
            if len(self._open) <= self._settings.open_releases:
                break
            if self.current is None or number not in (self.current.number, served.number):
                self._open.pop(number).retire()

    def _acquire(self, number: int) -> ServedRelease:
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
            self._add(served)
        return served

    def _report(self, number: int, error: Exception) -> bool:
        fact = f"release {number} can't be opened" if number else "the lake can't be read"
        step = "see the server's log" if self.current else "see the server's log, then run `just status`"
        problem = f"{fact} ({type(error).__name__}); {step}"
        if problem != self._problem:
            log.error("serve.release_not_opened", release=number or None, reason=" ".join(str(error).split()))
        self._problem = problem
        self._failed = (number, time.monotonic() + RETRY_AFTER)
        return False


def newest_release(lake: Lake) -> int | None:
    """Return the newest release's number, read from the table's statistics; None if there is no release."""
    ledger = releases_table(lake)
    newest = ledger and ledger.maximum("release")
    return newest if isinstance(newest, int) else None
