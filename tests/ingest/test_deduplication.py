"""Deduplication: which rows are new states when the commit is made, while other processes commit."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ingest.deduplication import Deduplicator
from ingest.entities import MANAGERS
from ingest.observations import Observation, observe
from ingest.schemas import SCHEMAS
from ingest.typed_rows import type_rows
from lake.delta import damage
from lake.delta.tables import create_table, open_table
from lake.errors import TableDamaged
from lake.paths import Lake
from lake.query.session import connect
from lake.settings import LakeSettings

TABLE = MANAGERS.table


@pytest.fixture
def deduplicator(lake: Lake) -> Deduplicator:
    """A deduplicator of the managers in a new lake."""
    create_table(lake, TABLE, SCHEMAS[TABLE], partition_by=["observed_on"])
    return Deduplicator(lake, connect(LakeSettings()), TABLE)


def observations(*ids: int) -> list[Observation]:
    """Return observations of managers."""
    now = datetime.now(UTC)
    return [observe(MANAGERS, f'{{"id":{number},"username":"m{number}"}}'.encode(), now) for number in ids]


def rows(observed: list[Observation]) -> pa.Table:
    """Return the observations as bronze rows."""
    return type_rows(MANAGERS, observed, run_id="r1").tables[TABLE]


@pytest.mark.parametrize(("theirs", "appended"), [((1, 2), 0), ((1,), 1), ((3,), 2)])
def test_rows_that_another_process_appended_are_not_repeated(
    lake: Lake, deduplicator: Deduplicator, theirs: tuple[int, ...], appended: int
) -> None:
    """If another process appended all, some or none of the rows, each id is in the table once."""
    new = deduplicator.new_states(observations(1, 2))
    other = Deduplicator(lake, connect(LakeSettings()), TABLE)
    other.append(rows(observations(*theirs)))
    assert deduplicator.append(rows(new)) == appended
    assert sorted(open_table(lake, TABLE).read(["id"])["id"].to_pylist()) == sorted({1, 2, *theirs})


@pytest.mark.parametrize(("theirs", "written"), [((3,), 1), ((1,), 2)])
def test_a_staged_file_is_rewritten_only_if_it_has_known_rows(
    lake: Lake, deduplicator: Deduplicator, theirs: tuple[int, ...], written: int
) -> None:
    """If another process committed other rows, the staged file is committed as it is."""
    ours = rows(deduplicator.new_states(observations(1, 2)))
    staged = deduplicator.table.stage(ours)
    Deduplicator(lake, connect(LakeSettings()), TABLE).append(rows(observations(*theirs)))
    deduplicator.append_staged(ours, staged)
    assert len(list(Path(lake.uri(TABLE)).rglob("*.parquet"))) == written + 1


def test_unknown_ids_are_new_states_and_known_ones_are_not(deduplicator: Deduplicator) -> None:
    """An id is new if the table has no observation of it, above its greatest id or below it."""
    deduplicator.append(rows(deduplicator.new_states(observations(5, 7))))
    assert [
        [row.id for row in deduplicator.new_states(observations(*ids))]
        for ids in ((8, 9), (7,), (6,), (7, 8), (-1,))
    ] == [
        [8, 9],
        [],
        [6],
        [8],
        [-1],
    ]


def test_a_damaged_time_in_the_future_is_refused(lake: Lake, deduplicator: Deduplicator) -> None:
    """The file is still readable, and every later state of its objects would be taken for an old one."""
    deduplicator.append(rows(observations(1, 2)))
    (file,) = map(Path, open_table(lake, TABLE).uris())
    table = pq.read_table(file, partitioning=None)
    index = table.column_names.index("fetched_at")
    later = pc.add(table["fetched_at"], pa.scalar(timedelta(days=5000), pa.duration("us")))
    pq.write_table(table.set_column(index, table.field(index), later.cast(table.field(index).type)), file)
    damage.INTACT.clear()
    with pytest.raises(TableDamaged, match=rf"{TABLE}: .* is not as it was written.*`just repair`"):
        Deduplicator(lake, connect(LakeSettings()), TABLE).new_states(observations(1))
