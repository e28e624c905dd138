"""Bronze repair: damaged bronze files are written again from payloads, or read again from the CRM."""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingest.bronze_repair import repair_bronze
from ingest.payload_check import row_fault
from lake.delta import damage
from lake.delta.tables import open_table
from lake.errors import TableDamaged
from lake.ledgers.findings import read_damage
from lake.maintenance.file_repair import repair_files
from lake.maintenance.verification import verify
from lake.paths import Lake
from lake.settings import LakeSettings
from tests.ingest.conftest import Ingest

ENGINE = LakeSettings()


def largest(lake: Lake, name: str) -> Path:
    """Return the largest data file of a table."""
    return max(map(Path, open_table(lake, name).uris()), key=lambda file: file.stat().st_size)


def damage_column(file: Path, column: str) -> None:
    """Overwrite four bytes in the pages of a column."""
    content = bytearray(file.read_bytes())
    group = pq.ParquetFile(BytesIO(content)).metadata.row_group(0)
    [chunk] = [each for each in map(group.column, range(group.num_columns)) if each.path_in_schema == column]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    middle = start + chunk.total_compressed_size * 3 // 4
    content[middle : middle + 4] = bytes(byte ^ 0x5A for byte in content[middle : middle + 4])
    file.write_bytes(content)


def repaired(lake: Lake) -> list[str]:
    """Verify and repair a lake as `just repair` does; return the lines about bronze."""
    damage.INTACT.clear()
    assert all(each.how is None for each in repair_files(lake))
    verify(lake, ENGINE, now=datetime.now(UTC))
    return list(repair_bronze(lake, ENGINE, now=datetime.now(UTC)))


def content_of(lake: Lake, name: str) -> list[str]:
    """Return a table's rows as sorted text."""
    return sorted(map(str, open_table(lake, name).read().to_pylist()))


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("bronze.orders", "grand_total"),
        ("bronze.orders", "payload_hash"),
        ("bronze.buyers", "full_name"),
        ("bronze.order_products", "price"),
        ("bronze.expenses", "amount"),
    ],
)
def test_columns_are_written_again_from_payloads(lake: Lake, name: str, column: str) -> None:
    """A typed column follows from the payload, and a line from its order's: the file is as it was."""
    before, file = content_of(lake, name), largest(lake, name)
    content = file.read_bytes()
    damage_column(file, column)
    with pytest.raises(TableDamaged):
        content_of(lake, name)
    [line] = repaired(lake)
    assert line.endswith(": written again from payloads")
    assert file.read_bytes() == content
    assert content_of(lake, name) == before
    assert read_damage(lake) == set()


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("name", ["bronze.orders", "bronze.products"])
def test_lost_rows_are_read_again_and_their_file_leaves(ingest: Ingest, lake: Lake, name: str) -> None:
    """Without its footer nothing of a file is left: a full load appends its objects, though unchanged."""
    ids = set(open_table(lake, name).read(["id"])["id"].to_pylist())
    file = largest(lake, name)
    file.write_bytes(file.read_bytes()[:-60] + bytes(60))
    [line] = repaired(lake)
    assert line.endswith("rows are lost; run `just ingest full`, then `just repair` again")
    assert str(file) in open_table(lake, name).uris()
    ingest("full")
    [line] = repaired(lake)
    assert "left its table" in line
    assert str(file) not in open_table(lake, name).uris()
    assert set(open_table(lake, name).read(["id"])["id"].to_pylist()) == ids
    assert repaired(lake) == []


@pytest.mark.usefixtures("loaded")
def test_a_few_lost_payloads_are_named(lake: Lake) -> None:
    """If the ids are readable, the line names the command that reads these orders again."""
    file = min(map(Path, open_table(lake, "bronze.orders").uris()), key=lambda file: file.stat().st_size)
    rows = pq.read_table(file, columns=["id"]).num_rows
    damage_column(file, "payload")
    [line] = repaired(lake)
    assert ("`just ingest order " in line) == (rows <= 200)
    assert line.endswith(", then `just repair` again")


@pytest.mark.usefixtures("loaded")
def test_deep_compares_columns_with_payloads(lake: Lake) -> None:
    """A row that was wrong before it was written has a valid checksum; only its payload contradicts it."""
    table = open_table(lake, "bronze.orders")
    rows = pq.read_table(largest(lake, "bronze.orders"), partitioning=None)
    assert row_fault(table.name, rows) is None
    index = rows.column_names.index("grand_total")
    wrong = rows.set_column(index, rows.field(index), rows["grand_total"].take([1, 0, *range(2, len(rows))]))
    fault = row_fault(table.name, wrong)
    assert fault
    assert fault.startswith("has 2 rows that differ from their payload, such as ")
    assert row_fault("bronze.expenses", rows) is None


@pytest.mark.usefixtures("loaded")
def test_a_load_has_no_damage(lake: Lake) -> None:
    """The columns of everything that the sandbox sells follow from their payloads."""
    assert verify(lake, ENGINE, now=datetime.now(UTC), deep=True, row_check=row_fault).damages == ()
