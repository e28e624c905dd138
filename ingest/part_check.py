"""Part check: the lines and expenses in a bronze file against the payloads of their orders. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingest.entities import ORDERS
from ingest.observations import Observation, observe
from ingest.schemas import SCHEMAS
from ingest.typed_rows import type_rows
from lake.messages import counted

# Columns of an order that its lines and expenses are derived from.
OF_ORDER = ("id", "payload", "payload_hash", "fetched_at", "run_id")
# An observation of an order: its id, its time, its run.
Seen = tuple[int, datetime, str]
Row = Mapping[str, Any]


def part_fault(table: str, rows: pa.Table, orders: Iterable[pa.Table]) -> str | None:
    """Return which lines or expenses of a file differ from the payloads; None if none is known to.

    ``orders`` are tables with the columns ``OF_ORDER``. An order whose payload does not have its hash
    proves nothing.
    """
    names = [name for name in SCHEMAS[table].names if name in rows.column_names]
    stored: dict[Seen, list[Row]] = {}
    for row in rows.select(names).to_pylist():
        stored.setdefault((row["order_id"], row["fetched_at"], row["run_id"]), []).append(row)
    differing: list[int] = []
    for batch in orders:
        for seen, expected in expected_parts(table, batch, stored.keys()):
            own = [{name: row[name] for name in names} for row in expected]
            if by_position(own) != by_position(stored[seen]):
                differing.append(seen[0])
    if not differing:
        return None
    ids = sorted(set(differing))
    return (
        f"differs from the payloads of {counted(len(ids), 'order')}, such as {', '.join(map(str, ids[:3]))}"
    )


def expected_parts(table: str, orders: pa.Table, wanted: Iterable[Seen]) -> Iterable[tuple[Seen, list[Row]]]:
    """Yield the parts that follow from the payload of each wanted observation, if the payload proves any."""
    seen = set(wanted)
    ids = pa.array({number for number, _, _ in seen}, pa.int64())
    runs: dict[str, list[Observation]] = {}
    for row in orders.filter(pc.is_in(orders["id"], ids)).select(list(OF_ORDER)).to_pylist():
        if row["payload"] is None or (row["id"], row["fetched_at"], row["run_id"]) not in seen:
            continue
        observation = observe(ORDERS, row["payload"].encode(), row["fetched_at"])
        if observation.hash == row["payload_hash"]:
            runs.setdefault(row["run_id"], []).append(observation)
    for run, observations in runs.items():
        typed = type_rows(ORDERS, observations, run_id=run).tables
        parts: dict[Seen, list[Row]] = {
            (order["id"], order["fetched_at"], run): []
            for order in typed[ORDERS.table].select(["id", "fetched_at"]).to_pylist()
        }
        for row in typed[table].to_pylist():
            parts[row["order_id"], row["fetched_at"], run].append(row)
        yield from parts.items()


def by_position(rows: Iterable[Row]) -> list[Row]:
    """Return the parts of an order in their order. Pure."""
    return sorted(rows, key=lambda row: int(row["position"]))
