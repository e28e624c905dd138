"""Writer: rows that arrived are kept, and rejections are stored once per resource."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.entities import ORDERS, SOURCES, STATUSES
from ingest.observations import Observation, observe
from ingest.windows import BEGINNING
from ingest.writer import Writer
from lake.delta.files import Files
from lake.delta.tables import open_table
from lake.maintenance.vacuum import maintain
from lake.paths import Lake
from lake.query.session import connect
from lake.settings import LakeSettings
from tests.support.simulated_lake import Simulated


def test_equal_bytes_of_two_resources_are_two_rejections(lake: Lake, engine: LakeSettings) -> None:
    """If one resource sends the same bytes again, they are one rejection."""
    for run_id in ("a", "b"):
        writer = Writer(lake, connect(engine), run_id=run_id)
        writer.create_tables()
        for entity in (SOURCES, STATUSES, SOURCES):
            writer.write(entity, [observe(entity, b'{"id":"x"}', datetime.now(UTC))])
        assert writer.rejected == 2
    rejected = open_table(lake, "bronze.rejected").read(["entity", "run_id"]).to_pylist()
    assert sorted(row["entity"] for row in rejected) == ["sources", "statuses"]
    assert {row["run_id"] for row in rejected} == {"a"}


def test_a_long_load_outlives_maintenance(lake: Lake, engine: LakeSettings) -> None:
    """If its tables are compacted and vacuumed during the load, it still rejects nothing twice."""
    old = Writer(lake, connect(engine), run_id="old")
    old.create_tables()
    old.write(SOURCES, [observe(SOURCES, b'{"id":"x"}', datetime.now(UTC))])
    time = Simulated(lake, now=datetime.now(UTC))
    for number in range(40):
        others = Writer(lake, connect(engine), run_id=f"{number}")
        others.write(SOURCES, [observe(SOURCES, b'{"id":"y%d"}' % number, datetime.now(UTC))])
    for _ in range(3):
        time.passes(timedelta(days=2))
        maintain(lake, engine, now=time.now)
    assert not Path(lake.uri("bronze.rejected"), "_delta_log", f"{5:020}.json").exists()
    rows = [
        observe(SOURCES, body, datetime.now(UTC)) for body in (b'{"id":"x"}', b'{"id":"y7"}', b'{"id":"z"}')
    ]
    old.write(SOURCES, rows)
    rejected = open_table(lake, "bronze.rejected").read(["payload"])["payload"].to_pylist()
    assert sorted(rejected) == sorted(
        {f'{{"id":"{word}"}}' for word in ("x", "z", *(f"y{n}" for n in range(40)))}
    )


def order(number: int) -> Observation:
    """Return the observation of an order with one line and one expense."""
    stamp = "2026-09-01T05:53:14Z"
    fields = {"id": number, "source_id": 1, "status_id": 12, "grand_total": 2.5}
    expense = {"id": number, "expense_type_id": 1, "amount": 1}
    parts = {"products": [{"price": 2.5, "quantity": 1}], "expenses": [expense]}
    stamps = dict.fromkeys(("ordered_at", "created_at", "updated_at"), stamp)
    return observe(ORDERS, json.dumps({**fields, **parts, **stamps}).encode(), datetime.now(UTC))


def rows(lake: Lake) -> dict[str, list[int]]:
    """Return the order ids in each table of orders."""
    columns = {"orders": "id", "order_products": "order_id", "expenses": "order_id"}
    return {
        name: sorted(open_table(lake, f"bronze.{name}").read([column])[column].to_pylist())
        for name, column in columns.items()
    }


@pytest.mark.parametrize("far", [2**62, 2**63 - 1, 60_000])
def test_an_id_far_from_all_others_makes_no_gap(lake: Lake, engine: LakeSettings, far: int) -> None:
    """The ids between are not requested; ids of 0 and below are none of the CRM's own."""
    writer = Writer(lake, connect(engine), run_id="r")
    writer.create_tables()
    writer.write(ORDERS, [order(number) for number in (-(2**63), -3, 2, 5, 9, far)])
    for first_id in (None, -(2**63), 0, 2):
        expected = [8, 7, 6, 4, 3] + ([] if first_id == 2 else [1])
        assert writer.gap_ids(BEGINNING, first_id=first_id, limit=500) == (expected, len(expected))
    assert writer.live_count(ORDERS, up_to=far) == 6


def test_an_order_is_stored_again_if_it_is_requested(lake: Lake, engine: LakeSettings) -> None:
    """Its newest row replaces one whose columns were damaged, with its lines and expenses."""
    for again, appended in ((False, 1), (False, 0), (True, 1)):
        writer = Writer(lake, connect(engine), run_id=f"{again}", again=again)
        writer.create_tables()
        writer.write(ORDERS, [order(1)])
        assert writer.appended["bronze.orders"] == writer.appended["bronze.expenses"] == appended
    assert rows(lake) == {"orders": [1, 1], "order_products": [1, 1], "expenses": [1, 1]}


@pytest.mark.parametrize("name", ["orders", "order_products", "expenses"])
def test_a_staged_file_that_an_erasure_deleted_is_written_again(
    lake: Lake, engine: LakeSettings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An erasure deletes unfinished files, also those of a running writer."""
    writer = Writer(lake, connect(engine), run_id="r")
    writer.create_tables()
    put, tidied = Files._put_in_place, list[str]()

    def late(self: Files, written: str, path: str) -> None:
        if self.place.endswith(f"/{name}") and not tidied:
            tidied.append(written)
            self.delete([written])
        put(self, written, path)

    monkeypatch.setattr(Files, "_put_in_place", late)
    writer.write(ORDERS, [order(1), order(2)])
    assert tidied
    assert rows(lake) == {"orders": [1, 2], "order_products": [1, 2], "expenses": [1, 2]}
    assert writer.appended == {"bronze.orders": 2, "bronze.order_products": 2, "bronze.expenses": 2}


def test_rows_are_written_while_python_shuts_down(
    lake: Lake, engine: LakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no thread can start any more, the caller does the work."""
    writer = Writer(lake, connect(engine), run_id="r")
    writer.create_tables()
    ended = ThreadPoolExecutor(1)
    ended.shutdown()
    monkeypatch.setattr("ingest.writer.STAGER", ended)
    writer.write(ORDERS, [order(1)])
    assert rows(lake) == {"orders": [1], "order_products": [1], "expenses": [1]}
