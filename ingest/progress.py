"""What a person sees of a long ingest: a bar on a terminal, a log line per window elsewhere."""

import sys
import time
from types import TracebackType

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from lake.runs import WindowReceipt

log = structlog.get_logger()
FREE = 10_000  # a budget that nobody will use up is not worth a word


class Watch:
    """Counts pages and rows, and shows them: a full ingest takes a while at 60 requests a minute."""

    def __init__(self, *, budget: int, bar: bool | None = None) -> None:
        self._budget = budget
        self._started = time.monotonic()
        self._pages = self._rows = self._expected = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if sys.stderr.isatty() if bar is None else bar:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("pages · {task.fields[detail]}"),
                console=Console(stderr=True),
            )

    def __enter__(self) -> "Watch":
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("ingest", total=None, detail="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._show()
            self._bar.stop()

    def expect(self, pages: int) -> None:
        """So many more pages are to come."""
        self._expected += pages
        self._show()

    def arrived(self, entity: str, rows: int) -> None:
        """One page of so many rows is there."""
        self._pages += 1
        self._rows += rows
        self._show(entity)

    def window_done(self, receipt: WindowReceipt) -> None:
        """A window was read to its end."""
        if self._bar is None:
            event = log.info if receipt.complete else log.warning
            event(
                "ingest.window",
                entity=receipt.entity,
                by=receipt.by,
                since=str(receipt.since) if receipt.since else None,
                pages=receipt.pages_fetched,
                ids=receipt.seen,
                complete=receipt.complete,
                reason=receipt.reason,
            )

    def _show(self, entity: str | None = None) -> None:
        if self._bar is None or self._task is None:
            return
        minutes = max(time.monotonic() - self._started, 0.1) / 60
        left = max(self._expected - self._pages, 0) / max(self._pages / minutes, 0.1)
        speed = self._pages / minutes
        used = f" · {speed / self._budget:.0%} of the budget" if self._budget < FREE else ""
        detail = f"{self._rows:,} rows · {speed:,.0f} requests/min{used} · {span(left * 60)} left"
        total = max(self._expected, self._pages)
        self._bar.update(self._task, description=entity, completed=self._pages, total=total, detail=detail)


def span(seconds: float) -> str:
    """Return a stretch of time as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
