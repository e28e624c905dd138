"""Table: concurrent appends succeed, stale replacements are refused, and schemas are enforced."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lake.delta.contract import Contract
from lake.delta.table import REOPEN
from lake.delta.tables import create_table, open_table, table_exists
from lake.errors import CommitConflict, ContractBroken, TableDamaged, TableMissing
from lake.paths import Lake

SCHEMA = Contract.of({"id": "BIGINT", "amount": "DECIMAL(18,2)?", "month": "DATE"}).schema
JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)


def rows(*values: tuple[int, str, date]) -> pa.Table:
    """Return rows of the test's table."""
    items = [{"id": key, "amount": Decimal(amount), "month": month} for key, amount, month in values]
    return pa.Table.from_pylist(items, schema=SCHEMA)


def ids(lake: Lake, version: int | None = None) -> list[int]:
    """Return the ids in a version."""
    return sorted(open_table(lake, "silver.things", version).read(["id"])["id"].to_pylist())


def test_append_adds_one_version_and_no_rows_adds_none(lake: Lake) -> None:
    """An append makes one version, and an append without rows makes no commit."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    assert table.append(rows((1, "1.50", JUNE))) == 1
    assert table.append(rows()) == 1
    assert ids(lake) == [1]


def test_two_appends_from_the_same_version_both_arrive(lake: Lake) -> None:
    """Appends never conflict, so a backfill and the sync can run concurrently."""
    first = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    second = open_table(lake, "silver.things")
    first.append(rows((1, "1", JUNE)))
    second.append(rows((2, "2", JUNE)))
    assert ids(lake) == [1, 2]


def test_replace_touches_only_the_months_named(lake: Lake) -> None:
    """A replacement leaves the files of other months as they were."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    table.append(rows((1, "1", JUNE), (2, "2", JULY)))
    july = [file for file in table.files() if "2026-07" in file.uri]
    table.replace(rows((3, "3", JUNE)), [JUNE])
    assert ids(lake) == [2, 3]
    assert [file for file in open_table(lake, "silver.things").files() if "2026-07" in file.uri] == july


def test_a_row_of_a_month_that_is_not_replaced_is_refused(lake: Lake) -> None:
    """A row of another month is refused, because it would be added to that month's present rows."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    table.append(rows((1, "1", JUNE), (2, "2", JULY)))
    with pytest.raises(ContractBroken, match="month 2026-07-01 is not among the partitions to replace"):
        table.replace(rows((3, "3", JUNE), (4, "4", JULY)), [JUNE])
    assert ids(lake) == [1, 2]


def test_replace_with_no_rows_empties_the_month(lake: Lake) -> None:
    """If the last order of a month moves to another month, the month becomes empty."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    table.append(rows((1, "1", JUNE), (2, "2", JULY)))
    table.replace(rows(), [JUNE])
    assert ids(lake) == [2]


def test_replace_whole_table(lake: Lake) -> None:
    """If no months are given, all rows are replaced; the older version still reads the same."""
    table = create_table(lake, "silver.things", SCHEMA)
    before = table.append(rows((1, "1", JUNE), (2, "2", JULY)))
    table.replace(rows((3, "3", JUNE)))
    assert ids(lake) == [3]
    assert ids(lake, before) == [1, 2]


@pytest.mark.parametrize("months", [None, [JUNE], [JULY]])
def test_replace_on_a_stale_version_is_refused(lake: Lake, months: list[date] | None) -> None:
    """Rows that were computed from an older version must not replace a newer one."""
    stale = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    open_table(lake, "silver.things").append(rows((1, "1", JUNE)))
    with pytest.raises(CommitConflict, match="nothing was written"):
        stale.replace(rows(*([(2, "2", month) for month in months or [JUNE]])), months)
    assert ids(lake) == [1]


def test_pinned_append_is_refused_on_a_stale_version(lake: Lake) -> None:
    """If two processes publish from the same version, only one succeeds."""
    stale = create_table(lake, "silver.things", SCHEMA)
    open_table(lake, "silver.things").append(rows((1, "1", JUNE)))
    with pytest.raises(CommitConflict):
        stale.append_pinned(rows((2, "2", JUNE)))
    assert ids(lake) == [1]


def test_the_log_has_statistics_of_ids_and_dates_and_none_of_texts(lake: Lake) -> None:
    """No text is in the log, even if the table gets other columns or has neither ids nor dates."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    table.append(rows((1, "1.50", JUNE)))
    other = Contract.of({"name": "VARCHAR", "buyer_id": "BIGINT", "on": "DATE"}).schema
    table.redefine(pa.Table.from_pylist([{"name": "Оксана", "buyer_id": 7, "on": JUNE}], other))
    table.append(pa.Table.from_pylist([{"name": "Марта", "buyer_id": 9, "on": JULY}], other))
    assert sorted(table.spans("buyer_id").values()) == [(7, 7), (9, 9)]
    assert table.maximum("on") == JULY
    names = Contract.of({"name": "VARCHAR"}).schema
    table.redefine(pa.Table.from_pylist([{"name": "Назар"}], names))
    create_table(lake, "silver.names", names).append(pa.Table.from_pylist([{"name": "Ліза"}], names))
    logs = [file.read_text("utf-8") for file in Path(lake.place).rglob("*.json")]
    assert not [name for name in ("Оксана", "Марта", "Назар", "Ліза") for log in logs if name in log]


@pytest.mark.parametrize("work", ["append", "append_pinned", "replace", "redefine", "restore"])
def test_the_version_returned_is_the_one_written(
    lake: Lake, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another process commits directly after, a release must still name our version and not the head."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    table.append(rows((1, "1", JUNE)))

    def then_another(write: Callable[..., Any]) -> Callable[..., Any]:
        def both(*arguments: Any, **named: Any) -> None:
            write(*arguments, **named)
            monkeypatch.undo()
            open_table(lake, "silver.things").replace(rows((9, "9", JULY)))

        return both

    commit = DeltaTable.create_write_transaction
    monkeypatch.setattr(DeltaTable, "create_write_transaction", then_another(commit))
    monkeypatch.setattr(DeltaTable, "restore", then_another(DeltaTable.restore))
    same = {"partition_by": ["month"]} if work == "redefine" else {}
    at = table.restore(0) if work == "restore" else getattr(table, work)(rows((2, "2", JUNE)), **same)
    assert ids(lake) == [9]
    assert sorted(ids(lake, at)) == {"restore": [], "append": [1, 2], "append_pinned": [1, 2]}.get(work, [2])
    assert (table.version, open_table(lake, "silver.things").version) == (at, at + 1)


def test_a_redefinition_of_a_stale_version_is_a_conflict(lake: Lake) -> None:
    """A redefinition on top of an older version raises CommitConflict with the next step."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    open_table(lake, "silver.things").append(rows((1, "1", JUNE)))
    other = Contract.of({"name": "VARCHAR", "buyer_id": "BIGINT"}).schema
    with pytest.raises(CommitConflict, match="run it again"):
        table.redefine(other.empty_table())


def test_a_file_has_statistics_of_the_columns_that_queries_filter_by(lake: Lake) -> None:
    """Ids and instants have statistics and are stored as differences; texts have none, to save space."""
    schema = Contract.of(
        {"id": "BIGINT", "at": "TIMESTAMPTZ", "payload": "VARCHAR", "entity": "VARCHAR"}
    ).schema
    at = datetime(2026, 6, 1, tzinfo=UTC)
    values = [{"id": key, "at": at, "payload": "Ы" * 500, "entity": "orders"} for key in (3, 4)]
    table = create_table(lake, "bronze.things", schema)
    table.append(pa.Table.from_pylist(values, schema))
    (file,) = table.files()
    group = pq.read_metadata(file.uri).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    by_name = {column.path_in_schema: column for column in columns}
    assert {name for name, column in by_name.items() if column.is_stats_set} == {"id", "at", "entity"}
    assert (by_name["id"].statistics.min, by_name["id"].statistics.max) == (3, 4)
    assert all("DELTA_BINARY_PACKED" in by_name[name].encodings for name in ("id", "at"))
    assert table.counts("entity") == {"orders": 2}


def test_a_handle_is_still_pinned_after_many_appends(tmp_path: Path) -> None:
    """A handle opens its table again after some commits, at the version it wrote and not at a newer one."""
    lake = Lake(root=str(tmp_path / "a b é"))
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    for number in range(1, REOPEN + 2):
        assert table.append_pinned(rows((number, "1", JUNE))) == number
    open_table(lake, "silver.things").append(rows((0, "1", JULY)))
    with pytest.raises(CommitConflict):
        table.append_pinned(rows((99, "1", JUNE)))
    assert table.version == REOPEN + 1
    assert table.read(["id"]).num_rows == REOPEN + 1
    assert ids(lake) == list(range(REOPEN + 2))


@pytest.mark.parametrize(
    "other",
    [
        pa.table({"id": [1.5], "amount": [Decimal("1.00")], "month": [JUNE]}),
        pa.table({"id": [1], "amount": [Decimal("2.555")], "month": [JUNE]}),
        pa.table({"id": [1], "month": [JUNE]}),
        pa.table({"id": [1], "amount": [Decimal("1.00")], "month": [JUNE], "extra": [1]}),
    ],
)
def test_another_schema_is_refused_before_delta_casts_it(lake: Lake, other: pa.Table) -> None:
    """Rows of another schema are refused, because Delta would store 1.5 as 1 and 2.555 as 2.56."""
    table = create_table(lake, "silver.things", SCHEMA)
    with pytest.raises(ContractBroken, match=r"silver\.things"):
        table.append(other)
    assert table.version == 0


def test_restore_brings_back_rows_as_a_new_version(lake: Lake) -> None:
    """A restore is a commit like any other, and the versions before it can still be read."""
    table = create_table(lake, "silver.things", SCHEMA)
    good = table.append(rows((1, "1", JUNE)))
    bad = table.replace(rows((2, "2", JUNE)))
    assert table.restore(good) == bad + 1
    assert ids(lake) == [1]
    assert ids(lake, bad) == [2]


def test_read_filters_and_maximum_come_from_statistics(lake: Lake) -> None:
    """The greatest id of a table comes from statistics, and a read with a filter returns only its rows."""
    table = create_table(lake, "silver.things", SCHEMA)
    assert table.maximum("id") is None
    for key in (3, 9, 5):
        table.append(rows((key, "1", JUNE)))
    assert table.maximum("id") == 9
    assert table.read(["id"], pc.field("id") == 9)["id"].to_pylist() == [9]


@pytest.mark.parametrize("folder", ["of a shop", "50% more", "Крамниця"])
def test_files_are_found_below_any_folder(tmp_path: Path, folder: str) -> None:
    """The folder of a lake may contain spaces, signs and any letters; they are not escaped as in a URI."""
    table = create_table(Lake(root=str(tmp_path / folder)), "silver.things", SCHEMA, partition_by=["month"])
    table.append(rows((1, "1", JUNE)))
    assert all(Path(file.uri).stat().st_size == file.size for file in table.files())
    assert len(table.files()) == 1


@pytest.mark.parametrize("is_merged", [False, True])
def test_ids_come_from_the_rows_if_the_feed_is_missing(lake: Lake, is_merged: bool) -> None:
    """The appended ids are found if the commits are missing, or their files were compacted and deleted."""
    table = create_table(lake, "silver.things", SCHEMA)
    before = table.append(rows((1, "1", JUNE), (2, "2", JUNE)))
    table.append(rows((3, "3", JUNE)))
    there = {file.uri for file in open_table(lake, "silver.things", before).files()}
    delta = DeltaTable(lake.uri("silver.things"))
    if is_merged:
        delta.optimize.compact()
        there |= {file.uri for file in open_table(lake, "silver.things").files()}
        for file in Path(lake.uri("silver.things")).glob("*.parquet"):
            if str(file) not in there:
                file.unlink()
    else:
        delta.create_checkpoint()
        Path(lake.uri("silver.things"), "_delta_log", f"{before + 1:020}.json").unlink()
    assert open_table(lake, "silver.things").appended("id", after=before) == {3}


def test_an_append_succeeds_if_the_log_was_cleaned_up_after_its_version(lake: Lake) -> None:
    """A process that keeps a table open for hours lacks the commits to update from, and opens it again."""
    table = create_table(lake, "silver.things", SCHEMA)
    other = open_table(lake, "silver.things")
    for number in range(2, 30):
        other.append(rows((number, "1", JUNE)))
    DeltaTable(lake.uri("silver.things")).create_checkpoint()
    for number in range(other.version):
        Path(lake.uri("silver.things"), "_delta_log", f"{number:020}.json").unlink()
    table.append(rows((1, "1", JUNE)))
    assert sorted(open_table(lake, "silver.things").read(["id"])["id"].to_pylist()) == list(range(1, 30))


def test_create_is_safe_twice_and_a_missing_table_has_a_clear_message(lake: Lake) -> None:
    """Two processes may both find no table, and both create it."""
    with pytest.raises(TableMissing, match="no such table"):
        open_table(lake, "silver.things")
    assert not table_exists(lake, "silver.things")
    create_table(lake, "silver.things", SCHEMA).append(rows((1, "1", JUNE)))
    assert create_table(lake, "silver.things", SCHEMA).version == 1
    with pytest.raises(TableDamaged, match="its log ends before version 99"):
        open_table(lake, "silver.things", 99)


def test_the_paths_of_files_are_spelled_as_on_the_disk(tmp_path: Path) -> None:
    """The paths exist on the disk, whatever the names of the lake's folder and the partition are."""
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("kind", pa.string())])
    table = create_table(Lake(root=str(tmp_path / "ä b")), "bronze.t", schema, partition_by=["kind"])
    table.append(pa.table({"id": [1, 2], "kind": ["x y", "%"]}, schema=schema))
    assert table.uris() == {file.uri for file in table.files()}
    assert all(Path(uri).exists() for uri in table.uris())


def test_payloads_are_not_in_the_log(lake: Lake) -> None:
    """The log has no statistics of payloads, because two texts a file would be most of the log."""
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("payload", pa.string())])
    table = create_table(lake, "bronze.t", schema)
    table.append(pa.table({"id": [1, 2], "payload": ["a" * 9000, "b" * 9000]}, schema=schema))
    logs = sorted(Path(lake.place, "bronze/t/_delta_log").glob("*.json"))
    assert all(b"aaaa" not in log.read_bytes() for log in logs)
    assert table.spans("id") == {uri: (1, 2) for uri in table.uris()}
