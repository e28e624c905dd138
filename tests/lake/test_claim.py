"""Claims: in an object store too, one process at a time does what two must not do."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from lake import claim
from lake.claim import CLAIMS, StoreClaim, claimed
from lake.compaction import MANY, compact
from lake.contract import Contract
from lake.errors import CommitConflict
from lake.paths import Lake
from lake.table import create_table, open_table

LOOK = Contract.of({"id": "BIGINT", "observed_on": "DATE"}).schema
JUNE = date(2026, 6, 1)
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits looks again at once."""
    monkeypatch.setattr(claim, "LOOK_AGAIN", 0.01)


def test_of_compactions_at_once_in_an_object_store_one_merges(s3_lake: Lake) -> None:
    """The others wait, and find nothing to merge: no row is there twice."""
    looks = create_table(s3_lake, "bronze.looks", LOOK, partition_by=["observed_on"])
    ids = list(range(MANY + 2))
    for number in ids:
        looks.append(pa.Table.from_pylist([{"id": number, "observed_on": JUNE}], schema=LOOK))
    start = threading.Barrier(4, timeout=300)

    def run() -> int:
        start.wait()
        return len(compact(s3_lake, now=NOW))

    with ThreadPoolExecutor(4) as pool:
        merged = [pool.submit(run) for _ in range(4)]
    assert sorted(one.result() for one in merged) == [0, 0, 0, 1]
    assert sorted(open_table(s3_lake, "bronze.looks").read()["id"].to_pylist()) == ids


def test_a_claim_keeps_everybody_else_waiting_until_it_is_given_back(s3_lake: Lake) -> None:
    """Of many who want it no two ever have it together, and each gets it once."""
    inside: list[int] = []
    most: list[int] = []

    def run(number: int) -> None:
        with claimed(s3_lake, "bronze"):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(run, number) for number in range(4)]:
            done.result()
    assert most == [1, 1, 1, 1]
    rows = open_table(s3_lake, CLAIMS).read().sort_by("number").to_pylist()
    assert [row["number"] for row in rows] == list(range(1, 9))
    for taken, given in zip(rows[::2], rows[1::2], strict=True):
        assert taken["holder"] == given["holder"]
        assert taken["lasts_until"] - taken["claimed_at"] == timedelta(minutes=10)
        assert given["lasts_until"] == given["claimed_at"]


def test_who_died_holds_up_nobody_for_longer_than_the_claim_lasts(
    s3_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is told so should it live after all: what it was at is another's now."""
    dead = StoreClaim(s3_lake)
    with monkeypatch.context() as patch:
        patch.setattr(claim, "LASTS", timedelta(0))
        dead.take()
    with claimed(s3_lake, "bronze") as held:
        held.renew()
        with pytest.raises(CommitConflict, match="another process took over the work"):
            dead.renew()
        dead.give_back()
        assert open_table(s3_lake, CLAIMS).maximum("number") == 2


def test_a_claim_is_renewed_once_half_of_it_is_over(s3_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its ledger was committed to meanwhile."""
    with claimed(s3_lake, "bronze") as held:
        held.renew()
        assert open_table(s3_lake, CLAIMS).maximum("number") == 1
        with monkeypatch.context() as patch:
            patch.setattr(claim, "LASTS", timedelta(days=1))  # what is left is less than half of it
            held.renew()
        (first, second) = open_table(s3_lake, CLAIMS).read().sort_by("number").to_pylist()
        assert second["holder"] == first["holder"]
        assert second["lasts_until"] > first["lasts_until"]
