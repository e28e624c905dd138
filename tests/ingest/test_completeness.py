"""Completeness evidence: values read from the payload, rows written in batches and retained for a week."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from ingest.completeness import BATCH_ROWS, EvidenceWriter, evidence_of
from ingest.entities import ORDERS
from ingest.observations import observe
from lake.delta.tables import open_table
from lake.ledgers.completeness import EVIDENCE, SCHEMA, create_evidence, drop_old_evidence
from lake.ledgers.runs import id_of_run, new_run_id
from lake.paths import Lake

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def evidence_for(**fields: object) -> dict[str, object]:
    """Return the evidence row of a payload with these fields."""
    return evidence_of(observe(ORDERS, msgspec.json.encode({"id": 5, **fields}), NOW), "run")


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
def test_a_total_is_rounded_to_the_kopeck_or_missing(value: object, amount: str | None) -> None:
    """A number may be a text; if a value is no amount, it is missing and not a default."""
    assert evidence_for(grand_total=value)["grand_total"] == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    "text", ["2026-03-28T22:30:00.000000Z", "2026-03-29T02:30:00+04:00", "2026-03-28 22:30:00"]
)
def test_an_instant_may_have_several_forms(text: str) -> None:
    """If an instant has no zone, it is UTC."""
    assert evidence_for(ordered_at=text)["ordered_at"] == datetime(2026, 3, 28, 22, 30, tzinfo=UTC)


def test_a_broken_payload_still_gives_its_id() -> None:
    """The CRM showed an order of that id, whatever its other fields are."""
    row = evidence_of(observe(ORDERS, b'{"id": 5, "buyer_comment": "\xff"}', NOW), "run")
    assert (row["id"], row["payload_hash"] != "") == (5, True)
    row = evidence_of(observe(ORDERS, b'{"id": 5, "grand_total": 2.5, "promocode": "\xff"}', NOW), "run")
    assert row["grand_total"] == Decimal("2.50")


@pytest.mark.parametrize(("value", "number"), [("4", 4), (4.0, 4), (True, None), ("four", None), (4.5, None)])
def test_an_id_may_be_a_text(value: object, number: int | None) -> None:
    """Ids count the same whether the CRM writes them as numbers or as texts."""
    assert evidence_for(source_id=value)["source_id"] == number


def test_rows_are_written_in_batches_as_they_come(lake: Lake) -> None:
    """A million orders take no more memory than one batch."""
    evidence = EvidenceWriter(lake, run_id=new_run_id(NOW))
    rows = [observe(ORDERS, b'{"id": %d}' % number, NOW) for number in range(BATCH_ROWS // 4)]
    for _ in range(9):
        evidence.add(rows)
    assert sum(file.rows for file in open_table(lake, EVIDENCE).files()) == BATCH_ROWS * 2
    evidence.flush()
    assert sum(file.rows for file in open_table(lake, EVIDENCE).files()) == len(rows) * 9
    evidence.flush()
    assert len(open_table(lake, EVIDENCE).files()) == 3


def test_evidence_is_dropped_after_a_week(lake: Lake) -> None:
    """The evidence of an old run is dropped whole. If there is nothing to drop, no commit is made."""
    for days in (30, 8, 6, 0):
        run_id = new_run_id(NOW - timedelta(days=days))
        row = {**evidence_for(), "run_id": run_id}
        create_evidence(lake).append(SCHEMA.empty_table().from_pylist([row], schema=SCHEMA))
    drop_old_evidence(lake, now=NOW)
    left = create_evidence(lake)
    assert sorted(run[:8] for run in left.partitions("run_id")) == ["20261118", "20261124"]
    assert min(left.read(["run_id"])["run_id"].to_pylist()) > id_of_run(NOW - timedelta(days=7))
    drop_old_evidence(lake, now=NOW)
    assert create_evidence(lake).version == left.version
