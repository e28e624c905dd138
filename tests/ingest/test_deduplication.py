"""The gate: what is news at the very moment of the commit, whoever else commits."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from ingest.deduplication import Gate
from ingest.entities import MANAGERS
from ingest.observations import Seen, look, type_rows
from ingest.schemas import SCHEMAS
from lake.delta.table import create_table, open_table
from lake.paths import Lake
from lake.query.session import connect
from lake.settings import LakeSettings

TABLE = MANAGERS.table


@pytest.fixture
def gate(lake: Lake) -> Gate:
    """Open the gate of the managers of a new lake."""
    create_table(lake, TABLE, SCHEMAS[TABLE], partition_by=["observed_on"])
    return Gate(lake, connect(LakeSettings()), TABLE)


def seen(*ids: int) -> list[Seen]:
    """Return looks at managers."""
    now = datetime.now(UTC)
    return [look(MANAGERS, f'{{"id":{found},"username":"m{found}"}}'.encode(), now) for found in ids]


def rows(looks: list[Seen]) -> pa.Table:
    """Return the looks as rows of bronze."""
    return type_rows(MANAGERS, looks, run_id="r1").tables[TABLE]


@pytest.mark.parametrize(("theirs", "appended"), [((1, 2), 0), ((1,), 1), ((3,), 2)])
def test_what_another_appended_meanwhile_is_no_news(
    lake: Lake, gate: Gate, theirs: tuple[int, ...], appended: int
) -> None:
    """All of it, a part of it, or none: each id is in the table once."""
    news = gate.news(seen(1, 2))
    other = Gate(lake, connect(LakeSettings()), TABLE)
    other.append(rows(seen(*theirs)))
    assert gate.append(rows(news)) == appended
    assert sorted(open_table(lake, TABLE).read(["id"])["id"].to_pylist()) == sorted({1, 2, *theirs})


@pytest.mark.parametrize(("theirs", "written"), [((3,), 1), ((1,), 2)])
def test_a_file_is_written_anew_only_where_rows_of_it_are_no_news_any_more(
    lake: Lake, gate: Gate, theirs: tuple[int, ...], written: int
) -> None:
    """Whoever else committed, the rows that are in it already may still be right."""
    ours = rows(gate.news(seen(1, 2)))
    staged = gate.table.stage(ours)
    Gate(lake, connect(LakeSettings()), TABLE).append(rows(seen(*theirs)))
    gate.append_staged(ours, staged)
    assert len(list(Path(lake.uri(TABLE)).rglob("*.parquet"))) == written + 1


def test_an_id_above_all_others_is_news_and_no_other_that_is_held(gate: Gate) -> None:
    """Held, gone or never seen: what is asked of the lake is what it can know."""
    gate.append(rows(gate.news(seen(5, 7))))
    assert [[row.id for row in gate.news(seen(*ids))] for ids in ((8, 9), (7,), (6,), (7, 8), (-1,))] == [
        [8, 9],
        [],
        [6],
        [8],
        [-1],
    ]
