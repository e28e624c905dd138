"""Writer: every reader gets the rows that were written, and the log describes each file correctly."""

import errno
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.delta.commits import read_live
from lake.delta.contract import Contract, narrow
from lake.delta.files import Files
from lake.delta.table import Table
from lake.delta.tables import create_table, open_table
from lake.delta.writer import split, write_files
from lake.errors import ContractBroken
from lake.paths import Lake
from lake.query.session import connect, fetch, scan
from lake.settings import LakeSettings

NAME = "silver.things"
SCHEMA = Contract.of(
    {
        "id": "BIGINT",
        "amount": "DECIMAL(18,2)?",
        "quantity": "DECIMAL(38,4)?",
        "percent": "DECIMAL(5,2)?",
        "at": "TIMESTAMPTZ?",
        "on": "DATE?",
        "note": "VARCHAR?",
        "is_it": "BOOLEAN?",
        "share": "DOUBLE?",
        "phones": "VARCHAR[]?",
        "month": "DATE",
    }
).schema
JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)
INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(-(2**63), 2**63 - 1),
            "amount": st.none() | st.decimals(-(10**15), 10**15, places=2),
            "quantity": st.none() | st.decimals(-(10**30), 10**30, places=4),
            "percent": st.none() | st.decimals(-999, 999, places=2),
            "at": st.none() | INSTANTS,
            "on": st.none() | st.dates(date(1970, 1, 1), date(2100, 1, 1)),
            "note": st.none() | st.text(max_size=8),
            "is_it": st.none() | st.booleans(),
            "share": st.none() | st.floats(allow_nan=False),
            "phones": st.none() | st.lists(st.text(max_size=3), max_size=2),
            "month": st.sampled_from([JUNE, JULY, date(2026, 8, 1)]),
        }
    ),
    min_size=1,
    max_size=30,
)


def in_order(rows: pa.Table) -> list[str]:
    """Return rows as sorted texts, because the order of rows in a table does not matter."""
    return sorted(map(repr, rows.select(SCHEMA.names).to_pylist()))


@pytest.mark.slow
@settings(deadline=None)
@given(ROWS, st.booleans())
def test_every_reader_finds_the_rows_and_the_log_describes_the_files(
    items: list[dict[str, Any]], is_narrow: bool
) -> None:
    """Rows and months may be in any order, and decimals as wide as in Arrow or in DuckDB."""
    rows = pa.Table.from_pylist(items, schema=SCHEMA)
    with TemporaryDirectory() as folder:
        lake = Lake(root=folder, durable=False)
        table = create_table(lake, NAME, SCHEMA, partition_by=["month"])
        table.append(rows.cast(narrow(SCHEMA)) if is_narrow else rows)
        assert in_order(open_table(lake, NAME).read()) == in_order(rows)
        duckdb = connect(LakeSettings())
        assert in_order(fetch(duckdb, scan(duckdb, table)).cast(SCHEMA)) == in_order(rows)
        live = read_live(DeltaTable(lake.uri(NAME)))
        assert len(live) == len({row["month"] for row in items})
        for file in live:
            own = [row for row in items if str(row["month"]) == file.partition["month"]]
            assert file.rows == len(own)
            assert file.size == (Path(lake.uri(NAME)) / file.path).stat().st_size
            for name in ("id", "at", "on"):
                values = [row[name] for row in own if row[name] is not None]
                assert file.nulls[name] == len(own) - len(values)
                ends = file.least.get(name), file.greatest.get(name)
                assert ends == ((truncate(min(values)), truncate(max(values))) if values else (None, None))


def truncate(value: Any) -> Any:
    """Return a value as in Delta's statistics: an instant is truncated to milliseconds."""
    if isinstance(value, datetime):
        return value - timedelta(microseconds=value.microsecond % 1000)
    return value


def test_rows_that_are_in_order_by_partition_are_not_copied() -> None:
    """Partitions of sorted rows are slices of them; other rows are sorted by partition, in a stable order."""
    values = pa.table({"id": [1, 2, 3, 4], "month": pa.array([JUNE, JUNE, JULY, JULY])})
    own = values["id"].chunk(0).buffers()[1].address
    parts = list(split(values, ["month"]))
    assert [folder for folder, _ in parts] == [{"month": "2026-06-01"}, {"month": "2026-07-01"}]
    assert all(part["id"].chunk(0).buffers()[1].address == own for _, part in parts)
    mixed = values.take(pa.array([2, 1, 3, 0]))
    assert [(folder["month"][5:7], part["id"].to_pylist()) for folder, part in split(mixed, ["month"])] == [
        ("06", [2, 1]),
        ("07", [3, 4]),
    ]


@pytest.mark.parametrize("text", ["20260901T00:00-a", "two words", "a/b", "50%", "Ї=1", "%2F", "."])
def test_a_partition_can_have_any_text(any_lake: Lake, text: str) -> None:
    """Characters that a path can't contain are escaped in the folder's name and in the log."""
    schema = Contract.of({"id": "BIGINT", "run": "VARCHAR"}).schema
    table = create_table(any_lake, NAME, schema, partition_by=["run"])
    rows = pa.Table.from_pylist([{"id": 1, "run": text}, {"id": 2, "run": "plain"}], schema)
    table.append(rows)
    table = open_table(any_lake, NAME)
    assert table.read().sort_by("id").select(schema.names) == rows
    assert table.partitions("run") == {text, "plain"}
    table.replace(rows.slice(1))
    assert open_table(any_lake, NAME).read()["id"].to_pylist() == [2]


def test_decimals_are_whole_numbers_in_the_file(lake: Lake) -> None:
    """Decimals are stored as integers, as by other writers of Delta: half the bytes and faster to read."""
    table = create_table(lake, NAME, SCHEMA, partition_by=["month"])
    table.append(pa.Table.from_pylist([{"id": 1, "amount": Decimal("1.50"), "month": JUNE}], SCHEMA))
    (file,) = table.files()
    assert pq.read_metadata(file.uri).schema.column(1).physical_type == "INT64"


def test_a_value_that_is_promised_is_never_missing(lake: Lake) -> None:
    """A row without a promised value is refused before any file is written."""
    table = create_table(lake, NAME, SCHEMA, partition_by=["month"])
    with pytest.raises(ContractBroken, match="id is missing in 1 rows"):
        table.append(pa.table({**empty(1), "month": pa.array([JUNE])}, schema=SCHEMA))
    assert not list(Path(lake.uri(NAME)).rglob("*.parquet"))


def empty(rows: int) -> dict[str, pa.Array]:
    """Return columns that contain only nulls."""
    return {field.name: pa.nulls(rows, field.type) for field in SCHEMA}


def test_an_append_commits_after_concurrent_ones_with_its_own_files(lake: Lake) -> None:
    """No file is written twice, and each version has the rows of its own commit."""
    schema = Contract.of({"id": "BIGINT"}).schema
    tables = [create_table(lake, NAME, schema), *(open_table(lake, NAME) for _ in range(4))]
    versions = [append(table, number) for number, table in enumerate(tables)]
    assert versions == [1, 2, 3, 4, 5]
    assert len(list(Path(lake.uri(NAME)).rglob("part-*.parquet"))) == 5
    assert sorted(open_table(lake, NAME).read()["id"].to_pylist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("before", "after"), [(["month"], []), ([], ["month"])])
def test_an_append_is_refused_if_the_partitioning_changed(
    lake: Lake, before: list[str], after: list[str]
) -> None:
    """The files were partitioned as the table was before, so they do not fit the table any more."""
    schema = Contract.of({"id": "BIGINT", "month": "DATE"}).schema
    rows = pa.table({"id": [1], "month": pa.array([JUNE])}, schema=schema)
    create_table(lake, NAME, schema, partition_by=before)
    late = open_table(lake, NAME)
    open_table(lake, NAME).redefine(rows, partition_by=after)
    with pytest.raises(ContractBroken, match="its partitioning changed"):
        late.append(rows)
    assert open_table(lake, NAME).read().num_rows == 1


@pytest.mark.parametrize("value", [None, ""])
def test_a_row_without_a_partition_is_refused(lake: Lake, value: str | None) -> None:
    """A row without a value in the partition column is refused, because its folder could not be read."""
    schema = Contract.of({"id": "BIGINT", "run": "VARCHAR?"}).schema
    table = create_table(lake, NAME, schema, partition_by=["run"])
    with pytest.raises(ContractBroken, match="run is missing"):
        table.append(pa.Table.from_pylist([{"id": 1, "run": value}], schema))


@pytest.mark.parametrize("work", ["append", "append_pinned"])
def test_no_rows_make_no_file(lake: Lake, work: str) -> None:
    """An append without rows writes no file, because readers would have to open it."""
    table = create_table(lake, NAME, SCHEMA, partition_by=["month"])
    getattr(table, work)(SCHEMA.empty_table())
    assert not table.files()


def append(table: Table, number: int) -> int:
    """Append one row; return the version."""
    return table.append(pa.table({"id": pa.array([number], pa.int64())}, schema=table.schema))


def test_an_append_is_refused_if_the_columns_changed(lake: Lake) -> None:
    """The files would lack a column that the table promises by now."""
    schema = Contract.of({"id": "BIGINT"}).schema
    create_table(lake, NAME, schema)
    late = open_table(lake, NAME)
    other = Contract.of({"id": "BIGINT", "note": "VARCHAR"}).schema
    open_table(lake, NAME).redefine(pa.Table.from_pylist([{"id": 1, "note": "x"}], other))
    with pytest.raises(ContractBroken, match="contract requires"):
        append(late, 2)
    assert open_table(lake, NAME).read().to_pylist() == [{"id": 1, "note": "x"}]


@pytest.mark.parametrize("error", [CommitFailedError, DeltaError])
@pytest.mark.parametrize("work", ["append", "append_pinned", "replace"])
def test_a_commit_whose_response_was_lost_is_made_once(
    lake: Lake, work: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that succeeded is not repeated if its response was lost or its checkpoint failed."""
    schema = Contract.of({"id": "BIGINT"}).schema
    table = create_table(lake, NAME, schema)
    commit = DeltaTable.create_write_transaction

    def lost(delta: DeltaTable, *arguments: Any, **options: Any) -> None:
        commit(delta, *arguments, **options)
        monkeypatch.undo()
        append(open_table(lake, NAME), 9)
        raise error("no answer came")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lost)
    assert getattr(table, work)(pa.table({"id": pa.array([1], pa.int64())}, schema=schema)) == 1
    assert table.read()["id"].to_pylist() == [1]
    assert sorted(open_table(lake, NAME).read()["id"].to_pylist()) == [1, 9]


def test_if_one_file_cannot_be_written_none_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file can't be written, the others are deleted, so that retries do not fill a full disk."""
    days = [date(2026, month, 1) for month in range(1, 13)]
    rows = pa.table({"id": range(12), "month": pa.array(days)})
    put, left = Files._put_in_place, iter(range(12))

    def full(files: Files, written: str, path: str) -> None:
        if next(left) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(files, written, path)

    monkeypatch.setattr(Files, "_put_in_place", full)
    with pytest.raises(OSError, match="No space left"):
        write_files(Files(str(tmp_path)), rows, ["month"])
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
