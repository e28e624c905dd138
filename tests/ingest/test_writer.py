"""Writer: what is refused is kept, once for each resource."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.bronze import look
from ingest.entities import SOURCES, STATUSES
from ingest.writer import Writer
from lake.maintenance import maintain
from lake.paths import Lake
from lake.session import connect
from lake.settings import LakeSettings
from lake.table import open_table
from tests.lake.simulated import Simulated


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
