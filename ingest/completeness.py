"""Completeness evidence of a resync: a row for each order that arrived, written in batches.

The values are read from the payload here, independently of the code that types bronze rows.
If both used the same code, a mistake in it would be on both sides of the comparison.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pyarrow as pa

from ingest.mending import DECODE_ERRORS
from ingest.observations import Observation, instant
from lake.ledgers.completeness import SCHEMA, create_evidence, drop_old_evidence
from lake.paths import Lake

# Rows of one commit: some 3 MB of memory, and 100 commits for a million orders.
BATCH_ROWS = 10_000
KOPECK = Decimal("0.01")
# Amounts of this size and above are treated as missing.
TOO_LARGE = Decimal(10) ** 15


class PayloadFields(msgspec.Struct):
    """The compared fields of an order's payload, of any type."""

    grand_total: Any = None
    ordered_at: Any = None
    source_id: Any = None
    status_id: Any = None


decoder = msgspec.json.Decoder(PayloadFields, float_hook=Decimal)


class EvidenceWriter:
    """Writes the completeness evidence of one run; evidence that has expired is dropped first.

    If rows are left when the run ends, ``flush`` writes them.
    """

    def __init__(self, lake: Lake, *, run_id: str) -> None:
        self._run_id = run_id
        self._batches: list[pa.Table] = []
        drop_old_evidence(lake, now=datetime.now(UTC))
        self._table = create_evidence(lake)

    def add(self, rows: Sequence[Observation]) -> None:
        """Add orders that arrived. An object without an id is skipped: it is no order."""
        evidence = [evidence_of(row, self._run_id) for row in rows if row.id is not None]
        self._batches.append(pa.Table.from_pylist(evidence, schema=SCHEMA))
        if sum(batch.num_rows for batch in self._batches) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Append the rows that are not written yet."""
        if self._batches:
            self._table.append(pa.concat_tables(self._batches).combine_chunks())
            self._batches.clear()


def evidence_of(row: Observation, run_id: str) -> dict[str, Any]:
    """Return the evidence row of one observation. Pure."""
    fields = fields_of(row.payload)
    return {
        "run_id": run_id,
        "id": row.id,
        "grand_total": amount(fields.grand_total),
        "ordered_at": instant(fields.ordered_at),
        "source_id": integer(fields.source_id),
        "status_id": integer(fields.status_id),
        "payload_hash": row.hash,
        "fetched_at": row.fetched_at,
    }


def fields_of(payload: bytes) -> PayloadFields:
    """Return the compared fields, also if other text of the payload is broken. Pure."""
    with suppress(*DECODE_ERRORS):
        return decoder.decode(payload)
    with suppress(ValueError, RecursionError, ArithmeticError):
        value = json.loads(payload.decode("utf-8", "replace"), parse_float=Decimal)
        return msgspec.convert(value, PayloadFields)
    return PayloadFields()


def amount(value: Any) -> Decimal | None:
    """Return the value rounded to the kopeck, None if it is no amount. Pure."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:
        return None
    is_amount = number.is_finite() and abs(number) < TOO_LARGE
    return number.quantize(KOPECK, ROUND_HALF_UP) if is_amount else None


def integer(value: Any) -> int | None:
    """Return the value if it is an integer of 64 bits, as a number or as a text, else None. Pure."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:
        return None
    is_integer = number.is_finite() and abs(number) < 2**63 and number == int(number)
    return int(number) if is_integer else None
