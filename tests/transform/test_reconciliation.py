"""Reconciliation: each way in which a build may differ from the CRM."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from lake.delta.tables import open_table
from lake.errors import CheckFailed, UsageError
from lake.ledgers.completeness import SCHEMA, create_evidence
from lake.ledgers.runs import Run, WindowReceipt, write_run
from lake.releases.release import Release
from tests.support.built_lake import Shop, instant
from tests.support.receipts import receipt
from transform.build import Proposal
from transform.reconciliation import Comparison, compare, reconciled_through, refuse_difference, resync_run

BEGAN = datetime(2026, 8, 1, 1, tzinfo=UTC)
RUN = receipt(
    BEGAN + timedelta(minutes=20),
    kind="resync",
    started_at=BEGAN,
    watermark=BEGAN,
    source_time=BEGAN + timedelta(minutes=21),
    windows=(
        WindowReceipt(
            entity="orders",
            by="created",
            since=datetime(1970, 1, 1, tzinfo=UTC),
            until=datetime(2100, 1, 1, tzinfo=UTC),
            expected=6,
            seen=6,
            pages_expected=1,
            pages_fetched=1,
            pages_failed=0,
            complete=True,
        ),
    ),
)
Rows = dict[int, dict[str, Any]]


def evidence(shop: Shop) -> Rows:
    """Return evidence that equals bronze, fetched ten minutes after the run began."""
    columns = ["id", "grand_total", "ordered_at", "source_id", "status_id", "payload_hash"]
    rows = open_table(shop.lake, "bronze.orders").read(columns).to_pylist()
    common = {"run_id": RUN.run_id, "fetched_at": BEGAN + timedelta(minutes=10)}
    return {row["id"]: {**row, **common} for row in rows}


def compare_build(shop: Shop, witness: Rows, run: Run = RUN) -> tuple[Comparison, Proposal]:
    """Build in full and compare the candidates with the evidence."""
    create_evidence(shop.lake).append(pa.Table.from_pylist(list(witness.values()), schema=SCHEMA))
    found: list[tuple[Comparison, Proposal]] = []

    def before_commit(proposal: Proposal) -> None:
        found.append((compare(proposal.connection, shop.lake, run), proposal))

    assert shop.build(full=True, dry_run=True, before_commit=before_commit) is None
    return found[0]


def test_equal_sides_agree(few: Shop) -> None:
    """Orders of excluded sources are on neither side; the run is reconciled up to its start."""
    comparison, _ = compare_build(few, evidence(few))
    assert comparison.agrees
    assert (comparison.orders_in_crm, comparison.days) == (5, 5)
    assert comparison.money_in_crm == comparison.money_built == Decimal(1500)
    assert reconciled_through(RUN, comparison) == BEGAN + timedelta(minutes=1)
    assert reconciled_through(msgspec.structs.replace(RUN, watermark=None), comparison) is None


def test_orders_that_are_set_aside_are_compared(few: Shop) -> None:
    """They are in the CRM and in no number: they agree with their amounts, and a difference is found."""
    few.observe(
        "bronze.orders",
        "id | ordered_at | source_id | status_id | grand_total | fetched_at\n"
        f"7 | 2026-07-09 10:00 | 1 | 12 | -0.20 | {instant(0)}\n"
        f"8 | 9999-12-31 23:30 | 1 | 12 | 8.00 | {instant(0)}\n"
        f"9 | 1970-01-01 00:00 | 3 | 12 | 9.00 | {instant(0)}",
    )
    few.observe("bronze.sources", f"id | currency_code | fetched_at\n4 | USD | {instant(0)}")
    witness = evidence(few)
    comparison, proposal = compare_build(few, witness)
    assert comparison.agrees, comparison.fault
    assert (comparison.orders_built, comparison.money_built) == (7, Decimal("1507.80"))
    ((aside,),) = proposal.connection.execute("select count(*) from silver.set_aside_orders").fetchall()
    assert aside == 4


@pytest.mark.parametrize(
    ("order", "change", "what"),
    [
        (2, {"grand_total": Decimal("200.01")}, "is 200.01 in the CRM, 200.00 built"),
        (2, {"grand_total": None}, "is ? in the CRM, 200.00 built"),
        (
            2,
            {"ordered_at": datetime(2026, 6, 10, 21, tzinfo=UTC)},
            "is of 2026-06-11 in the CRM, of 2026-06-10",
        ),
        (2, {"status_id": 19}, "is built from another state"),
        (2, {"payload_hash": "other"}, "is built from another state"),
        (6, {"source_id": 1}, "is not built"),
        (5, None, "is not in the CRM"),
    ],
)
def test_a_difference_is_found_by_its_order(
    few: Shop, order: int, change: Mapping[str, Any] | None, what: str
) -> None:
    """A difference of a kopeck, a day, a status or a line, and an extra or missing order, are refused."""
    witness = evidence(few)
    changed = {} if change is None else {order: {**witness[order], **change}}
    comparison, proposal = compare_build(
        few, {**{id: witness[id] for id in witness if id != order}, **changed}
    )
    assert comparison.differing_orders == 1
    assert f"orders that differ: 1, {order} {what}" in comparison.fault
    is_same_content = change is not None and not {"payload_hash", "source_id"} & change.keys()
    assert (f"`just ingest order {order} --again`" in comparison.fault) == is_same_content
    with pytest.raises(CheckFailed, match="the last release serves"):
        refuse_difference(comparison, proposal)


def test_two_opposite_changes_are_two_differences(few: Shop) -> None:
    """The totals agree, but days and orders differ."""
    witness = evidence(few)
    for order, total in ((2, "300.00"), (3, "200.00")):
        witness[order]["grand_total"] = Decimal(total)
    comparison, _ = compare_build(few, witness)
    assert comparison.money_in_crm == comparison.money_built
    assert comparison.differing_orders == 2
    assert comparison.first_day
    assert (comparison.first_day.days, comparison.first_day.money_in_crm) == (2, Decimal(300))


def test_an_observation_newer_than_the_evidence_counts(few: Shop) -> None:
    """A concurrent sync brings an edit, a new order and a deletion."""
    witness = evidence(few)
    few.observe(
        "bronze.orders",
        "id | ordered_at | source_id | status_id | grand_total | is_deleted | run_id | fetched_at\n"
        f"2 | 2026-06-12 10:00 | 1 | 12 | 2.00 | false | sync | {instant(75)}\n"
        f"9 | 2026-07-09 10:00 | 1 | 12 | 9.00 | false | sync | {instant(65)}\n"
        f"5 | null | null | null | null | true | sync | {instant(76)}",
    )
    comparison, _ = compare_build(few, witness)
    assert comparison.agrees, comparison.fault
    assert (comparison.newer, comparison.orders_in_crm) == (3, 5)
    assert comparison.money_in_crm == Decimal("811.00")


def test_an_observation_of_the_run_without_evidence_differs(few: Shop) -> None:
    """An order that only the lake has is not in the CRM, even if the run itself wrote it."""
    few.observe(
        "bronze.orders",
        "id | ordered_at | source_id | status_id | grand_total | run_id | fetched_at\n"
        f"9 | 2026-07-09 10:00 | 1 | 12 | 9.00 | {RUN.run_id} | {instant(65)}",
    )
    witness = {found: row for found, row in evidence(few).items() if found != 9}
    comparison, _ = compare_build(few, witness)
    assert comparison.first_orders == ((9, "is not in the CRM"),)


def test_orders_outside_the_windows_are_not_compared(few: Shop) -> None:
    """If the run covers a part of history, orders created before it are left out."""
    created = {
        row["id"]: row["created_at"] for row in open_table(few.lake, "bronze.orders").read().to_pylist()
    }
    (window,) = RUN.windows
    late = msgspec.structs.replace(window, since=max(created.values()) + timedelta(seconds=1))
    part = msgspec.structs.replace(RUN, windows=(late,), watermark=None)
    comparison, _ = compare_build(few, {4: evidence(few)[4]}, part)
    assert comparison.agrees, comparison.fault
    assert comparison.orders_in_crm == 1


def test_a_run_without_evidence_is_refused(few: Shop) -> None:
    """A run whose evidence is no longer retained can't be compared."""
    with pytest.raises(UsageError, match="no longer retained"):
        compare_build(few, {1: {**evidence(few)[1], "run_id": "20260701T010000Z-0a1b2c3d"}})


def test_an_incomplete_run_is_refused(few: Shop) -> None:
    """The verdict in the receipt must be complete."""
    write_run(few.lake, msgspec.structs.replace(RUN, verdict="incomplete"))
    with pytest.raises(UsageError, match="resync, incomplete"):
        resync_run(few.lake, RUN.run_id)


def test_a_refused_proposal_changes_nothing(few: Shop) -> None:
    """If the hook raises, only candidates were built."""
    few.observe("bronze.buyers", f"id | full_name | fetched_at\n 31 | Нове | {instant(1)}")
    before = few.heads()

    def refuse(proposal: Proposal) -> None:
        assert {move.table for move in proposal.moved} >= {"silver.buyers", "silver.orders"}
        raise CheckFailed("no")

    with pytest.raises(CheckFailed):
        few.build(full=True, before_commit=refuse)
    assert few.heads() == before
    release: Release | None = few.build(full=True, kind="resync", before_commit=lambda _: BEGAN)
    assert release
    assert (release.kind, release.reconciled_through) == ("resync", BEGAN)
