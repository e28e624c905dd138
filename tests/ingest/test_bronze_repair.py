"""Bronze repair: damaged bronze files are written again from payloads, or read again from the CRM."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.bronze_repair import repair_bronze
from ingest.payload_check import PayloadCheck, row_fault
from lake.delta import damage
from lake.delta.log_check import WHOLE
from lake.delta.tables import open_table
from lake.errors import TableDamaged
from lake.ledgers.findings import read_damage
from lake.maintenance.damage_findings import Damage
from lake.maintenance.file_check import NeededFile
from lake.maintenance.file_repair import repair_files
from lake.maintenance.redaction import Redaction, erase
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


@pytest.mark.usefixtures("loaded")
def test_a_load_has_no_damage(lake: Lake) -> None:
    """The columns of everything that the sandbox sells follow from their payloads."""
    assert deep_damages(lake) == []


def deep_damages(lake: Lake) -> list[Damage]:
    """Return the damage that a deep verification finds."""
    check = PayloadCheck(lake).fault
    return list(verify(lake, ENGINE, now=datetime.now(UTC), deep=True, row_check=check).damages)


def as_older_release(file: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Change the rows of a file, and let its name and its log be of a release without checksums."""
    rows = change(pq.read_table(file, partitioning=None))
    old = file.with_name(f"part-00000-{uuid4()}-c000.zstd.parquet")
    pq.write_table(rows, old)
    for entry in file.parents[1].glob("_delta_log/*.json"):
        text = entry.read_text()
        if file.name in text:
            named = text.replace(file.name, old.name).replace("actionsDigest", "otherDigest")
            size, length = f'"size":{file.stat().st_size}', f'"size":{old.stat().st_size}'
            entry.unlink()
            entry.write_text(named.replace(size, length))
    for checkpoint in file.parents[1].glob("_delta_log/*.checkpoint*"):
        checkpoint.unlink()
    file.unlink()
    WHOLE.clear()
    return old


def swapped(column: str) -> Callable[[pa.Table], pa.Table]:
    """Return a change of rows that gives one row another value in a column."""

    def change(rows: pa.Table) -> pa.Table:
        values = rows[column].to_pylist()
        position = next(at for at, value in enumerate(values) if value is not None)
        values[position] = values[position] + (1 if isinstance(values[position], int) else Decimal("0.01"))
        index = rows.column_names.index(column)
        return rows.set_column(index, rows.field(index), pa.array(values, rows[column].type))

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bronze.order_products", swapped("price")),
        ("bronze.order_products", swapped("quantity")),
        ("bronze.order_products", swapped("purchased_price")),
        ("bronze.order_products", lambda rows: rows.slice(1)),
        ("bronze.order_products", lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])),
        ("bronze.expenses", swapped("amount")),
        ("bronze.expenses", swapped("expense_type_id")),
    ],
)
def test_lines_and_expenses_are_compared_with_the_payloads_of_their_orders(
    first_load: Lake, name: str, change: Callable[[pa.Table], pa.Table]
) -> None:
    """They have what gold counts: a value, a lost row or one too many is found, and names its order."""
    file = largest(first_load, name)
    needed = NeededFile(name, str(file.relative_to(first_load.place)))
    rows, check = pq.read_table(file, partitioning=None), PayloadCheck(first_load)
    assert check.fault(needed, rows) is None
    fault = check.fault(needed, change(rows))
    assert fault
    assert re.fullmatch(r"differs from the payloads of 1 order, such as \d+", fault)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("name", "column"), [("bronze.order_products", "price"), ("bronze.expenses", "amount")]
)
def test_a_changed_part_in_a_file_of_an_older_release_is_found_and_written_again(
    lake: Lake, name: str, column: str
) -> None:
    """Such a file has no checksum, so that only its orders contradict it."""
    before = content_of(lake, name)
    file = as_older_release(largest(lake, name), swapped(column))
    assert content_of(lake, name) != before
    (found,) = deep_damages(lake)
    assert found.path.endswith(file.name)
    assert found.line.endswith("; run `just repair`")
    lines = list(repair_bronze(lake, ENGINE, now=datetime.now(UTC)))
    assert lines == [f"{found.path}: written again from payloads"]
    assert content_of(lake, name) == before


@pytest.mark.usefixtures("loaded")
def test_an_erased_order_proves_nothing_of_its_lines(lake: Lake) -> None:
    """Its payload is another one than was hashed, and all other orders are compared as before."""
    ids = set(open_table(lake, "bronze.orders").read(["id"])["id"].to_pylist())
    one = {"payload": lambda text: text and text.replace('"price"', '"cost"')}
    erase(lake, [Redaction("bronze.orders", "id", {min(ids)}, one)])
    check = PayloadCheck(lake)
    for file in map(Path, open_table(lake, "bronze.order_products").uris()):
        needed = NeededFile("bronze.order_products", str(file.relative_to(lake.place)))
        assert check.fault(needed, pq.read_table(file, partitioning=None)) is None
