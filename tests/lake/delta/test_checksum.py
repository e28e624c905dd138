"""Checksums: in the name of each file that the lake writes, and enough to flip one bit back."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.delta.checksum import (
    checksum,
    is_intact,
    is_stated_inside,
    new_name,
    repaired,
    state_inside,
    stated,
)
from lake.delta.contract import Contract
from lake.delta.files import Files
from lake.delta.table import Table
from lake.delta.tables import create_table
from lake.maintenance.compaction import compact
from lake.maintenance.redaction import Redaction, erase
from lake.paths import Lake

NAME = "bronze.things"
SCHEMA = Contract.of({"id": "BIGINT", "name": "VARCHAR", "price": "DECIMAL(18,2)", "on": "DATE"}).schema
DAYS = [date(2026, 6, 1), date(2026, 6, 2)]


def rows(count: int = 40) -> pa.Table:
    """Return rows of two days."""
    items = [{"id": id, "name": f"Оксана {id}", "price": id, "on": DAYS[id % 2]} for id in range(count)]
    return pa.Table.from_pylist(items, SCHEMA)


def data_files(lake: Lake, name: str = NAME) -> dict[str, bytes]:
    """Return the content of each data file of a table by its path."""
    return {str(file): file.read_bytes() for file in Path(lake.uri(name)).rglob("part-*.parquet")}


def flip(content: bytes, bit: int) -> bytes:
    """Return the content with one other bit; ``bit`` counts from the start, around the end."""
    byte, place = divmod(bit % (len(content) * 8), 8)
    return content[:byte] + bytes([content[byte] ^ 1 << place]) + content[byte + 1 :]


@pytest.mark.parametrize(
    "write",
    [
        lambda table: table.append(rows()),
        lambda table: table.replace(rows()),
        lambda table: table.append_pinned(rows()),
        lambda table: table.redefine(rows(), partition_by=["on"]),
        lambda table: table.redefine(rows(), partition_by=[]),
        lambda table: table.redefine(rows().drop_columns(["name"])),
    ],
)
def test_every_file_is_named_by_its_content(lake: Lake, write: Callable[[Table], int]) -> None:
    """Whichever operation writes a file, its name states its checksum, and the rows are readable."""
    table = create_table(lake, NAME, SCHEMA, partition_by=["on"])
    write(table)
    files = data_files(lake)
    assert files
    assert {stated(path) for path in files} == {checksum(content) for content in files.values()}
    assert table.read()["id"].to_pylist() != []


def test_equal_rows_get_different_files(lake: Lake) -> None:
    """Two appends of the same rows have the same checksum and do not share a file."""
    table = create_table(lake, NAME, SCHEMA)
    table.append(rows(2))
    table.append(rows(2))
    assert len(data_files(lake)) == 2
    assert len({stated(path) for path in data_files(lake)}) == 1
    assert table.read().num_rows == 4


def test_compacted_files_have_checksums(lake: Lake) -> None:
    """A merged file is named like any other."""
    table = create_table(lake, NAME, SCHEMA)
    for _ in range(40):
        table.append(rows(2))
    compact(lake, now=datetime(2026, 6, 3, tzinfo=UTC))
    table.refresh()
    [file] = table.files()
    assert stated(file.uri) == checksum(Path(file.uri).read_bytes())


def test_a_flipped_bit_in_a_page_is_found_by_arrow(lake: Lake) -> None:
    """Pages have checksums too, so any reader that verifies them refuses a damaged one."""
    create_table(lake, NAME, SCHEMA).append(rows())
    [(_, content)] = data_files(lake).items()
    chunk = pq.ParquetFile(BytesIO(content)).metadata.row_group(0).column(2)
    middle = chunk.dictionary_page_offset + chunk.total_compressed_size - 3
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(BytesIO(flip(content, middle * 8)), page_checksum_verification=True)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 2**20))
def test_one_flipped_bit_is_flipped_back(content: bytes, bit: int) -> None:
    """Any single bit is found and repaired; the content is then exactly the old one."""
    name = f"bronze/things/on=2026-06-01/{new_name(content)}"
    damaged = flip(content, bit)
    assert is_intact(name, content)
    assert not is_intact(name, damaged)
    assert repaired(name, damaged) == content


def test_more_damage_is_not_repaired_into_something_else() -> None:
    """Two flipped bits, a lost end or a zeroed sector are found, and never "repaired" to another content."""
    content = bytes(range(256)) * 20
    name = new_name(content)
    for damaged in (
        flip(flip(content, 9), 900),
        content[:-1],
        content[:1000] + bytes(512) + content[1512:],
        b"",
    ):
        assert not is_intact(name, damaged)
        assert repaired(name, damaged) is None


def test_an_erased_file_has_its_checksum_inside(lake: Lake) -> None:
    """An erasure rewrites a file under its name: it is intact as it is then, and any flipped bit is found."""
    create_table(lake, NAME, SCHEMA).append(rows())
    [(path, before)] = data_files(lake).items()
    erase(lake, [Redaction(NAME, "id", {7}, {"name": lambda _: ""})])
    after = Path(path).read_bytes()
    assert (len(after), after != before) == (len(before), True)
    assert is_intact(path, after)
    assert is_stated_inside(after)
    flips = range(0, len(after) * 8, 61)
    assert not [bit for bit in flips if is_intact(path, flip(after, bit))]
    healed = [repaired(path, flip(after, bit)) for bit in flips]
    assert set(healed) <= {after, None}
    assert healed.count(after) > 0.9 * len(healed)  # all but the bits of the checksum itself


def test_a_file_of_another_writer_has_no_checksum(tmp_path: Path) -> None:
    """A file that was written by an older release or another program counts as intact."""
    assert stated("part-00000-0d9f8b1e-6b7e-4b7a-9c63-6a0c8d9f5b11-c000.zstd.parquet") is None
    assert is_intact("part-00001-a.snappy.parquet", b"anything")
    assert not Files(str(tmp_path)).sizes()


def test_a_checksum_inside_is_filled_in_once() -> None:
    """Only a content with the mark of a checksum can state one; its size stays."""
    content = b"PAR1" + b"crc32-sha256:" + b"0" * 40 + b"PAR1"
    assert len(state_inside(content)) == len(content)
    assert is_stated_inside(state_inside(content))
    assert not is_stated_inside(content)
    with pytest.raises(ValueError, match="not found"):
        state_inside(b"PAR1PAR1")
