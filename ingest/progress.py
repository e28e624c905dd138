"""What a person sees of a long ingest: a bar on a terminal, a log line per window elsewhere."""

import sys
import time
from types import TracebackType

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from lake.ledgers.runs import WindowReceipt

log = structlog.get_logger()
FREE = 10_000  # a budget that nobody will use up is not worth a word


class Watch:
    """Counts pages and rows, and shows them: a full ingest takes a while at 60 requests a minute."""

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

    def plan(self, pages: int) -> None:
        """So many more pages are to come in all, in windows that will say so again when they begin."""
        self._planned += pages
        self._show()

    @property
    def total(self) -> int:
        """How many pages there are, as far as is known: those planned, or more where windows say more."""
        return max(self._planned, self._expected, self._pages)

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
        seconds = time.monotonic() - self._started
        detail = detail_of(self._pages, self._rows, total=self.total, seconds=seconds, budget=self._budget)
        self._bar.update(
            self._task, description=entity, completed=self._pages, total=self.total, detail=detail
        )


def detail_of(pages: int, rows: int, *, total: int, seconds: float, budget: int) -> str:
    """Return rows, speed, what is used of the budget and the time left, in words. Pure."""
    minutes = max(seconds, 0.1) / 60
    # A minute's budget may be spent at once, so its use is looked at over a minute at least.
    use = f" · {pages / max(minutes, 1) / budget:.0%} of the budget" if budget < FREE else ""
    left = span(seconds_left(pages, total=total, seconds=seconds, budget=budget))
    return f"{rows:,} rows · {pages / minutes:,.0f} requests/min{use} · {left} left"


def seconds_left(pages: int, *, total: int, seconds: float, budget: int) -> float:
    """Return how long the pages that are left take: at the speed so far, but within the budget. Pure.

    What fits into one minute's budget may come at once, whatever is left of more may not.
    """
    left = max(total - pages, 0)
    at_this_speed = left * max(seconds, 0.1) / max(pages, 1)
    return max(at_this_speed, left / budget * 60 if total > budget else 0.0)


def span(seconds: float) -> str:
    """Return a stretch of time as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
