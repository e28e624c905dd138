"""The witness: what a payload says, whoever can type it or not; batches as they come, a week long."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from ingest.completeness import AT_ONCE, Witness, row_of
from ingest.entities import ORDERS
from ingest.observations import look
from lake.delta.table import open_table
from lake.ledgers.completeness import SCHEMA, WITNESSES, forget_witnesses, make_witnesses
from lake.ledgers.runs import id_of_run, new_run_id
from lake.paths import Lake

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def said(**fields: object) -> dict[str, object]:
    """Return the row of a payload with these fields."""
    return row_of(look(ORDERS, msgspec.json.encode({"id": 5, **fields}), NOW), "run")


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (100, "100.00"),
        ("646.60", "646.60"),
        (646.5999999999999, "646.60"),
        (2.555, "2.56"),
        (None, None),
        (True, None),
        ("", None),
        ([], None),
        (1e30, None),
    ],
)
def test_a_total_is_to_the_kopeck_or_missing(value: object, amount: str | None) -> None:
    """A number as a text too; what is no amount is never a default."""
    assert said(grand_total=value)["grand_total"] == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    "text", ["2026-03-28T22:30:00.000000Z", "2026-03-29T02:30:00+04:00", "2026-03-28 22:30:00"]
)
def test_an_instant_comes_in_more_than_one_form(text: str) -> None:
    """Without a zone it is UTC."""
    assert said(ordered_at=text)["ordered_at"] == datetime(2026, 3, 28, 22, 30, tzinfo=UTC)


def test_a_payload_that_is_garbage_is_an_id_at_least() -> None:
    """The CRM showed an order of that id: so much is known."""
    row = row_of(look(ORDERS, b'{"id": 5, "buyer_comment": "\xff"}', NOW), "run")
    assert (row["id"], row["payload_hash"] != "") == (5, True)
    assert said(source_id="4", status_id=True)["source_id"] is None


def test_rows_are_written_in_batches_as_they_come(lake: Lake) -> None:
    """So that a million orders take no more memory than ten thousand."""
    witness = Witness(lake, run_id=new_run_id(NOW))
    rows = [look(ORDERS, b'{"id": %d}' % found, NOW) for found in range(AT_ONCE // 4)]
    for _ in range(9):
        witness.take(rows)
    assert sum(file.rows for file in open_table(lake, WITNESSES).files()) == AT_ONCE * 2
    witness.close()
    assert sum(file.rows for file in open_table(lake, WITNESSES).files()) == len(rows) * 9
    witness.close()
    assert len(open_table(lake, WITNESSES).files()) == 3


def test_a_witness_is_dropped_after_a_week(lake: Lake) -> None:
    """Whole, by its run; one that was killed too. Nothing to drop is no commit."""
    for days in (30, 8, 6, 0):
        run_id = new_run_id(NOW - timedelta(days=days))
        row = {**said(), "run_id": run_id}
        make_witnesses(lake).append(SCHEMA.empty_table().from_pylist([row], schema=SCHEMA))
    forget_witnesses(lake, now=NOW)
    left = make_witnesses(lake)
    assert sorted(run[:8] for run in left.partitions("run_id")) == ["20261118", "20261124"]
    assert min(left.read(["run_id"])["run_id"].to_pylist()) > id_of_run(NOW - timedelta(days=7))
    forget_witnesses(lake, now=NOW)
    assert make_witnesses(lake).version == left.version
