"""Writer: what is refused is kept, once for each resource."""

from datetime import UTC, datetime

from ingest.bronze import look
from ingest.entities import SOURCES, STATUSES
from ingest.writer import Writer
from lake.paths import Lake
from lake.session import connect
from lake.settings import LakeSettings
from lake.table import open_table


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
