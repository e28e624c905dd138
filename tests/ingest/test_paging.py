"""Paging: a window is complete only if every id of it arrived."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from ingest.client import Arrival
from ingest.entities import BUYERS, Entity
from ingest.observations import Observation
from ingest.paging import Pager
from ingest.progress import ProgressReporter
from ingest.protocol import Page
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
