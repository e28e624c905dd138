"""The witness of a resync, written: a row for every order that arrived, in batches as they come.

What a row says is read from the payload here and not where bronze types it: a mistake
there would show on both sides of a comparison, and nobody would see it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pyarrow as pa

from ingest.observations import Seen, instant
from ingest.protocol import GARBAGE
from lake.ledgers.completeness import SCHEMA, forget_witnesses, make_witnesses
from lake.paths import Lake

# Some 3 MB of memory, and a commit for every hundred of a million orders.
AT_ONCE = 10_000
KOPECK = Decimal("0.01")
MOST = Decimal(10) ** 15


class Shown(msgspec.Struct):
    """What an order's payload says, of whatever type."""

    grand_total: Any = None
    ordered_at: Any = None
    source_id: Any = None
    status_id: Any = None


decoder = msgspec.json.Decoder(Shown, float_hook=Decimal)


class Witness:
    """The witness of one run; ``close`` writes the last batch. Older witnesses are dropped at its start."""

    def __init__(self, lake: Lake, *, run_id: str) -> None:
        self._run_id = run_id
        self._batches: list[pa.Table] = []
        forget_witnesses(lake, now=datetime.now(UTC))
        self._table = make_witnesses(lake)

    def take(self, rows: Sequence[Seen]) -> None:
        """Take what arrived; an object without an id is no order."""
        found = [row_of(seen, self._run_id) for seen in rows if seen.id is not None]
        self._batches.append(pa.Table.from_pylist(found, schema=SCHEMA))
        if sum(batch.num_rows for batch in self._batches) >= AT_ONCE:
            self.close()

    def close(self) -> None:
        """Append what was taken and not written yet."""
        if self._batches:
            self._table.append(pa.concat_tables(self._batches).combine_chunks())
            self._batches.clear()


def row_of(seen: Seen, run_id: str) -> dict[str, Any]:
    """Return the row of one look. Pure."""
    try:
        shown = decoder.decode(seen.payload)
    except GARBAGE:
        shown = Shown()
    return {
        "run_id": run_id,
        "id": seen.id,
        "grand_total": amount(shown.grand_total),
        "ordered_at": instant(shown.ordered_at),
        "source_id": number(shown.source_id),
        "status_id": number(shown.status_id),
        "payload_hash": seen.hash,
        "fetched_at": seen.fetched_at,
    }


def amount(value: Any) -> Decimal | None:
    """Return the value to the kopeck, None for what is no amount. Pure."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        found = Decimal(value)
    except ArithmeticError:
        return None
    return found.quantize(KOPECK, ROUND_HALF_UP) if found.is_finite() and abs(found) < MOST else None


def number(value: Any) -> int | None:
    """Return the value where it is a whole number that fits, else None. Pure."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and abs(value) < 2**63 else None
