"""Writer: what arrived is kept, and what is refused once for each resource."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.entities import ORDERS, SOURCES, STATUSES
from ingest.observations import Seen, look
from ingest.writer import Writer
from lake.delta.files import Files
from lake.delta.table import open_table
from lake.maintenance.vacuum import maintain
from lake.paths import Lake
from lake.query.session import connect
from lake.settings import LakeSettings
from tests.support.simulated_lake import Simulated


def test_the_same_bytes_refused_of_two_resources_are_two_refusals(lake: Lake, engine: LakeSettings) -> None:
    """And the same of one, however often it comes, is one."""
    for run_id in ("a", "b"):
        writer = Writer(lake, connect(engine), run_id=run_id)
        writer.make_tables()
        for entity in (SOURCES, STATUSES, SOURCES):
            writer.write(entity, [look(entity, b'{"id":"x"}', datetime.now(UTC))])
        assert writer.rejected == 2
    refused = open_table(lake, "bronze.rejected").read(["entity", "run_id"]).to_pylist()
    assert sorted(row["entity"] for row in refused) == ["sources", "statuses"]
    assert {row["run_id"] for row in refused} == {"a"}


def test_a_load_of_many_hours_outlives_what_maintenance_deletes(lake: Lake, engine: LakeSettings) -> None:
    """Its tables were merged, vacuumed and their logs cleaned since it began; it refuses nothing twice."""
    old = Writer(lake, connect(engine), run_id="old")
    old.make_tables()
    old.write(SOURCES, [look(SOURCES, b'{"id":"x"}', datetime.now(UTC))])
    time = Simulated(lake, now=datetime.now(UTC))
    for number in range(40):
        others = Writer(lake, connect(engine), run_id=f"{number}")
        others.write(SOURCES, [look(SOURCES, b'{"id":"y%d"}' % number, datetime.now(UTC))])
    for _ in range(3):
        time.passes(timedelta(days=2))
        maintain(lake, engine, now=time.now)
    assert not Path(lake.uri("bronze.rejected"), "_delta_log", f"{5:020}.json").exists()
    rows = [look(SOURCES, body, datetime.now(UTC)) for body in (b'{"id":"x"}', b'{"id":"y7"}', b'{"id":"z"}')]
    old.write(SOURCES, rows)
    refused = open_table(lake, "bronze.rejected").read(["payload"])["payload"].to_pylist()
    assert sorted(refused) == sorted(
        {f'{{"id":"{word}"}}' for word in ("x", "z", *(f"y{n}" for n in range(40)))}
    )


def order(found: int) -> Seen:
    """Return the look at an order of one line and one expense."""
    stamp = "2026-09-01T05:53:14Z"
    said = {"id": found, "source_id": 1, "status_id": 12, "grand_total": 2.5}
    expense = {"id": found, "expense_type_id": 1, "amount": 1}
    parts = {"products": [{"price": 2.5, "quantity": 1}], "expenses": [expense]}
    stamps = dict.fromkeys(("ordered_at", "created_at", "updated_at"), stamp)
    return look(ORDERS, json.dumps({**said, **parts, **stamps}).encode(), datetime.now(UTC))


def rows(lake: Lake) -> dict[str, list[int]]:
    """Return the orders' ids as they are in each table of orders."""
    columns = {"orders": "id", "order_products": "order_id", "expenses": "order_id"}
    return {
        name: sorted(open_table(lake, f"bronze.{name}").read([column])[column].to_pylist())
        for name, column in columns.items()
    }


@pytest.mark.parametrize("name", ["orders", "order_products", "expenses"])
def test_a_file_that_an_erasure_tidied_up_is_written_again(
    lake: Lake, engine: LakeSettings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It takes away what is half there, be it of a writer that lives."""
    writer = Writer(lake, connect(engine), run_id="r")
    writer.make_tables()
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


def test_what_arrived_is_kept_while_python_ends(
    lake: Lake, engine: LakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread begins anything by then."""
    writer = Writer(lake, connect(engine), run_id="r")
    writer.make_tables()
    ended = ThreadPoolExecutor(1)
    ended.shutdown()
    monkeypatch.setattr("ingest.writer.STAGER", ended)
    writer.write(ORDERS, [order(1)])
    assert rows(lake) == {"orders": [1], "order_products": [1], "expenses": [1]}
