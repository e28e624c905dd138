"""Paging: a window is complete only if every id of it arrived."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from ingest.client import Arrival
from ingest.entities import BUYERS, ORDERS, Entity
from ingest.observations import Observation
from ingest.paging import Pager
from ingest.progress import ProgressReporter
from ingest.protocol import Page, read_page
from ingest.settings import SourceSettings
from ingest.windows import WHOLE, Window
from lake.ledgers.runs import WindowReceipt

NOW = datetime(2026, 3, 1, tzinfo=UTC)
Pages = list[tuple[list[int], int]]


class ScriptedCrm:
    """A CRM that answers with the given pages in turn: their ids, and the total of the list."""

    settings = SourceSettings(max_in_flight=1)

    def __init__(self, pages: Pages) -> None:
        self._pages: Iterator[tuple[list[int], int]] = iter(pages)

    async def fetch_page(self, entity: Entity, window: Window, number: int) -> Arrival:
        """Return the next page."""
        ids, total = next(self._pages)
        rows = [msgspec.Raw(b'{"id":%d}' % row_id) for row_id in ids]
        return Arrival(Page(data=rows, total=total, current_page=number, last_page=2), number, NOW)


def receipt_and_ids(pages: Pages) -> tuple[WindowReceipt, set[int | None]]:
    """Return the receipt of a list with these pages, and the ids that arrived."""
    ids: set[int | None] = set()

    async def keep(entity: Entity, rows: list[Observation]) -> None:
        ids.update(row.id for row in rows)

    pager = Pager(cast(Any, ScriptedCrm(pages)), keep, ProgressReporter(budget=1, bar=False))
    (receipt,) = asyncio.run(pager.fetch_window(BUYERS, WHOLE))
    return receipt, ids


def test_two_passes_together_may_show_all_rows() -> None:
    """If a list without a sort order did not change between two passes, the ids of both count."""
    pages: Pages = [([1, 2], 4), ([2, 3], 4), ([1, 4], 4), ([4, 3], 4)]
    receipt, kept = receipt_and_ids(pages)
    assert (receipt.complete, receipt.seen, kept) == (True, 4, {1, 2, 3, 4})


@pytest.mark.parametrize("total", [4, 3])
def test_a_row_deleted_between_two_passes_replaces_no_missing_row(total: int) -> None:
    """If id 1 is deleted after the first pass and id 4 is hidden on both, the number of ids would match."""
    pages: Pages = [([1, 2], 4), ([2], total), ([2, 3], 3), ([3], 3)]
    receipt, kept = receipt_and_ids(pages)
    assert kept == {1, 2, 3}
    assert not receipt.complete
    assert receipt.reason == "2 distinct ids arrived, the CRM counted 3"


class ListCrm:
    """A CRM that answers with pages of a list, and counts them as ``envelope`` states."""

    settings = SourceSettings(max_in_flight=2)

    def __init__(self, rows: list[bytes], **envelope: Any) -> None:
        self._rows = rows
        self._envelope = envelope
        self.requests = 0

    async def fetch_page(self, entity: Entity, window: Window, number: int) -> Arrival:
        """Return the page, with 50 rows or fewer."""
        self.requests += 1
        rows = b",".join(self._rows[50 * (number - 1) : 50 * number])
        numbers = {"current_page": number, "last_page": -(-len(self._rows) // 50), "total": len(self._rows)}
        envelope = msgspec.json.encode({**numbers, "per_page": 50, **self._envelope})
        return Arrival(read_page(b'{"data":[%s],' % rows + envelope[1:], expected_page=number), number, NOW)


def read_list(crm: ListCrm, entity: Entity = BUYERS, window: Window = WHOLE) -> tuple[Pager, WindowReceipt]:
    """Return the pager and the receipt of a list."""

    async def keep(entity: Entity, rows: list[Observation]) -> None:
        pass

    pager = Pager(cast(Any, crm), keep, ProgressReporter(budget=1, bar=False))
    (receipt,) = asyncio.run(pager.fetch_window(entity, window))
    return pager, receipt


def rows_of(*ids: int) -> list[bytes]:
    """Return rows with these ids."""
    return [b'{"id":%d}' % row_id for row_id in ids]


ODD: tuple[Any, ...] = ("", "all", -1, [], True, None, {}, "50 ", "1_0", 10**12, 0)


@pytest.mark.parametrize("field", ["per_page", "last_page", "current_page"])
@pytest.mark.parametrize("value", ODD)
def test_a_number_that_is_not_needed_may_be_odd(field: str, value: Any) -> None:
    """All rows arrive, in one pass."""
    if field != "per_page" and value in ("50 ", 0):
        value = "none"  # such a number would be read: the page is another one, or there are more
    crm = ListCrm(rows_of(*range(121)), **{field: value})
    _, receipt = read_list(crm)
    assert (receipt.complete, receipt.seen, crm.requests) == (True, 121, 3)


@pytest.mark.parametrize("last_page", [0, 1, 2, "1"])
@pytest.mark.parametrize("per_page", [50, 500])
def test_pages_are_read_while_rows_are_missing(last_page: Any, per_page: int) -> None:
    """A last page that is too small hides no row."""
    crm = ListCrm(rows_of(*range(271)), last_page=last_page, per_page=per_page)
    _, receipt = read_list(crm)
    assert (receipt.complete, receipt.seen, crm.requests) == (True, 271, 6)


@pytest.mark.parametrize("total", [None, "", "1 21", -1, "many"])
@pytest.mark.parametrize("count", [0, 7, 50, 121])
@pytest.mark.parametrize("last_page", [None, 1])
def test_without_a_total_two_readings_show_the_same_rows(total: Any, count: int, last_page: Any) -> None:
    """The count is missing, so the whole list is read twice."""
    _, receipt = read_list(ListCrm(rows_of(*range(count)), total=total, last_page=last_page))
    assert (receipt.complete, receipt.seen, receipt.expected) == (True, count, None)


def test_without_a_total_a_list_that_moves_is_incomplete() -> None:
    """The second reading shows other rows than the first."""

    class MovingCrm(ListCrm):
        async def fetch_page(self, entity: Entity, window: Window, number: int) -> Arrival:
            self._rows = rows_of(self.requests)
            return await super().fetch_page(entity, window, number)

    _, receipt = read_list(MovingCrm([], total=None))
    assert not receipt.complete
    assert receipt.reason == "the CRM counts no rows, and two readings showed different ones"


@pytest.mark.parametrize("ids", [(1, 2, 2, 3), (2, 2), (1, *range(2, 60), 1), (5, 5, 5, *range(10, 80), 11)])
@pytest.mark.parametrize("entity", [BUYERS, ORDERS])
def test_an_id_that_the_crm_lists_twice_does_not_stop_a_list(entity: Entity, ids: tuple[int, ...]) -> None:
    """If two readings show the same rows, no row is missing; the id is named."""
    pager, receipt = read_list(ListCrm(rows_of(*ids)), entity)
    assert (receipt.complete, receipt.reason) == (True, None)
    assert (receipt.seen, receipt.expected) == (len(set(ids)), len(ids))
    extra = {row_id: ids.count(row_id) - 1 for row_id in ids if ids.count(row_id) > 1}
    assert pager.doubled == {entity.name: extra}


def test_an_id_that_stands_in_for_a_missing_one_is_no_doubled_id() -> None:
    """Between two readings the list moved, so a row may be missing on both."""
    receipt, _ = receipt_and_ids([([1, 2], 4), ([2, 3], 4), ([1, 3], 4), ([3, 2], 4)])
    assert not receipt.complete


@pytest.mark.parametrize(
    "stamp", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
def test_no_change_outside_all_windows_counts(stamp: str) -> None:
    """The watermark would follow it."""
    window = Window("updated", datetime(2026, 2, 1, tzinfo=UTC), NOW)
    rows = [msgspec.json.encode({"id": 1, "updated_at": stamp})]
    pager, receipt = read_list(ListCrm(rows), ORDERS, window)
    assert (receipt.complete, pager.latest_change) == (True, None)
    pager, _ = read_list(ListCrm([*rows, b'{"id":2,"updated_at":"2026-02-03 04:05:06"}']), ORDERS, window)
    assert pager.latest_change == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
