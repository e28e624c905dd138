"""Walk: a window counts as read only where every id of it arrived."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from ingest.client import Arrival
from ingest.entities import BUYERS, Entity
from ingest.observations import Seen
from ingest.paging import Walk
from ingest.progress import Watch
from ingest.protocol import Page
from ingest.settings import SourceSettings
from ingest.windows import WHOLE, Window
from lake.ledgers.runs import WindowReceipt

NOW = datetime(2026, 3, 1, tzinfo=UTC)
Pages = list[tuple[list[int], int]]


class Told:
    """A CRM that answers with these pages, one after another: ids, and how many it says there are."""

    settings = SourceSettings(max_in_flight=1)

    def __init__(self, pages: Pages) -> None:
        self._pages: Iterator[tuple[list[int], int]] = iter(pages)

    async def fetch_page(self, entity: Entity, window: Window, number: int) -> Arrival:
        """Return the next page."""
        ids, total = next(self._pages)
        rows = [msgspec.Raw(b'{"id":%d}' % found) for found in ids]
        return Arrival(Page(data=rows, total=total, current_page=number, last_page=2), number, NOW)


def walked(pages: Pages) -> tuple[WindowReceipt, set[int | None]]:
    """Return the receipt of a list that is walked so, and the ids that were kept."""
    kept: set[int | None] = set()

    async def keep(entity: Entity, rows: list[Seen]) -> None:
        kept.update(row.id for row in rows)

    walk = Walk(cast(Any, Told(pages)), keep, Watch(budget=1, bar=False))
    (receipt,) = asyncio.run(walk.window(BUYERS, WHOLE))
    return receipt, kept


def test_a_list_without_an_order_may_show_a_row_on_either_walk() -> None:
    """Of a list that did not change between them: the two together are all of it."""
    pages: Pages = [([1, 2], 4), ([2, 3], 4), ([1, 4], 4), ([4, 3], 4)]
    receipt, kept = walked(pages)
    assert (receipt.complete, receipt.seen, kept) == (True, 4, {1, 2, 3, 4})


@pytest.mark.parametrize("total", [4, 3])
def test_a_row_that_left_between_two_walks_stands_for_none_that_never_came(total: int) -> None:
    """1 was deleted after the first walk saw it, 4 was hidden on both: together they are as many."""
    pages: Pages = [([1, 2], 4), ([2], total), ([2, 3], 3), ([3], 3)]
    receipt, kept = walked(pages)
    assert kept == {1, 2, 3}
    assert not receipt.complete
    assert receipt.reason == "2 distinct ids arrived, the CRM counted 3"
