"""Progress of a long ingest: a bar if stderr is a terminal, a log line per window if it is not."""

import sys
import time
from types import TracebackType

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from lake.ledgers.runs import WindowReceipt

log = structlog.get_logger()
# Requests per minute from which the share of the budget is not shown: no run uses it up.
UNLIMITED = 10_000


class ProgressReporter:
    """Counts pages and rows and shows them; at 60 requests a minute a full ingest takes 20 minutes or more.

    ``budget`` is the number of requests per minute.
    """

    def __init__(self, *, budget: int, bar: bool | None = None) -> None:
        self._budget = budget
        self._started = time.monotonic()
        self._pages = self._rows = self._expected = self._planned = 0
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

    def __enter__(self) -> "ProgressReporter":
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

    def expect_pages(self, pages: int) -> None:
        """Add pages of a window that has begun."""
        self._expected += pages
        self._show()

    def plan_pages(self, pages: int) -> None:
        """Add pages of windows that have not begun; each window adds its own again when it begins."""
        self._planned += pages
        self._show()

    @property
    def total(self) -> int:
        """How many pages there are: the planned ones, or more if the windows begun have more."""
        return max(self._planned, self._expected, self._pages)

    def add_page(self, entity: str, rows: int) -> None:
        """Count one page that arrived, and its rows."""
        self._pages += 1
        self._rows += rows
        self._show(entity)

    def finish_window(self, receipt: WindowReceipt) -> None:
        """Log a window that was read to its end, if no bar is shown."""
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
        seconds = time.monotonic() - self._started
        detail = detail_of(self._pages, self._rows, total=self.total, seconds=seconds, budget=self._budget)
        self._bar.update(
            self._task, description=entity, completed=self._pages, total=self.total, detail=detail
        )


def detail_of(pages: int, rows: int, *, total: int, seconds: float, budget: int) -> str:
    """Return the rows, the speed, the share of the budget and the time left as text. Pure."""
    minutes = max(seconds, 0.1) / 60
    # A burst may spend a minute's budget in a second, so the share is taken over a minute at least.
    use = f" · {pages / max(minutes, 1) / budget:.0%} of the budget" if budget < UNLIMITED else ""
    left = duration(seconds_left(pages, total=total, seconds=seconds, budget=budget))
    return f"{rows:,} rows · {pages / minutes:,.0f} requests/min{use} · {left} left"


def seconds_left(pages: int, *, total: int, seconds: float, budget: int) -> float:
    """Return the seconds that the remaining pages take, at the speed so far and within the budget. Pure.

    If all pages fit into one minute's budget, they may come in one burst and only the speed counts.
    """
    left = max(total - pages, 0)
    at_this_speed = left * max(seconds, 0.1) / max(pages, 1)
    return max(at_this_speed, left / budget * 60 if total > budget else 0.0)


def duration(seconds: float) -> str:
    """Return a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
