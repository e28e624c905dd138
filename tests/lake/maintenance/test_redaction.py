"""Redaction: files of realistic sizes are rewritten in their size, with any content."""

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ingest.erasure import no_texts, nothing, order_payload
from ingest.schemas import SCHEMAS
from lake.delta.files import HALF, Files
from lake.delta.tables import create_table, open_table
from lake.maintenance.redaction import Change, Redaction, erase
from lake.paths import Lake
from transform.models import read_models

CONTRACTS = {**SCHEMAS, **{model.name: model.header.contract.schema for model in read_models()}}
CARD: Mapping[str, Change] = {"name": nothing, "birthday": nothing, "phones": no_texts, "emails": no_texts}
CASES: dict[str, tuple[str, Mapping[str, Change]]] = {
    "silver.orders": ("buyer_id", {"buyer_name": nothing}),
    "silver.buyers": ("id", CARD),
    "bronze.orders": ("buyer_id", {"payload": order_payload}),
    "bronze.order_products": ("order_id", {"comment": nothing}),
    "bronze.buyers": ("id", {"full_name": nothing, "phone": no_texts}),
}


def value(field: pa.Field, row: int, dice: random.Random) -> Any:
    """Return a random value of a column, as varied as a shop's values."""
    kind = field.type
    if pa.types.is_integer(kind):
        return row if field.name in ("id", "order_id") else dice.randrange(1, 9000)
    if pa.types.is_decimal(kind):
        return Decimal(dice.randrange(1000, 500_000)) / 100
    if pa.types.is_timestamp(kind):
        return datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=row * 1200 + dice.randrange(600))
    if pa.types.is_date(kind):
        return date(2026, 5, 1)
    if pa.types.is_boolean(kind):
        return dice.random() < 0.5
    if pa.types.is_list(kind):
        return [f"+380{dice.randrange(10**9):09}"]
    if field.name == "payload":
        name = f"Оксана {dice.randrange(10**6)}"
        return f'{{"id":{row},"grand_total":{dice.randrange(9999)},"buyer":{{"full_name":"{name}"}}}}'
    return dice.choice(("Оксана", "Марія", "Іван", dice.randbytes(5).hex()))


@pytest.mark.parametrize("rows", [1, 50, 3000])
@pytest.mark.parametrize("name", CASES)
def test_a_file_of_any_size_loses_only_the_personal_values(lake: Lake, name: str, rows: int) -> None:
    """Files keep their paths and sizes, and rows keep all values except the personal ones."""
    (key, changes), schema, dice = CASES[name], CONTRACTS[name], random.Random(rows)
    partition_by = [column for column in ("observed_on", "month") if column in schema.names]
    values = [{field.name: value(field, row, dice) for field in schema} for row in range(rows)]
    table = create_table(lake, name, schema, partition_by=partition_by)
    table.append(pa.Table.from_pylist(values, schema))
    before, sizes = table.read().sort_by("id" if "id" in schema.names else key), table.files()
    person = before[key][rows // 2].as_py()
    erased = erase(lake, [Redaction(name, key, frozenset({person}), changes)])
    assert (erased.files, erased.rows) == (1, pc.sum(pc.equal(before[key], person)).as_py())
    after = open_table(lake, name)
    assert after.files() == sizes
    others = [column for column in schema.names if column not in changes]
    actual = after.read().sort_by("id" if "id" in schema.names else key)
    assert actual.select(others) == before.select(others)
    assert actual.filter(pc.field(key) != person) == before.filter(pc.field(key) != person)
    redacted = actual.filter(pc.field(key) == person).select(list(changes)).to_pylist()
    assert all("Оксана" not in str(row) and "+380" not in str(row) for row in redacted)


@pytest.mark.parametrize("name", CASES)
def test_a_small_file_has_room_to_lose_short_values(lake: Lake, name: str) -> None:
    """A sync writes files of a few rows with short texts, which several rows may share."""
    (key, changes), schema = CASES[name], CONTRACTS[name]
    texts = [column for column in changes if pa.types.is_string(schema.field(column).type)]
    for seed in range(24):
        dice = random.Random(seed)
        rows = [{field.name: value(field, row, dice) for field in schema} for row in range(1 + seed % 8)]
        for row in rows:
            short = dice.choice(("", "я", "Ян", "ok", "Оксана", "12.5"))
            row.update(dict.fromkeys(texts, f'{{"id":1,"buyer":{{"full_name":"{short}"}}}}'))
            if "payload" not in texts:
                row.update(dict.fromkeys(texts, short))
        own = Lake(root=f"{lake.root}/{seed}", durable=False)
        partition_by = [column for column in ("observed_on", "month") if column in schema.names]
        table = create_table(own, name, schema, partition_by=partition_by)
        table.append(pa.Table.from_pylist(rows, schema))
        (file,) = table.files()
        erase(own, [Redaction(name, key, frozenset({rows[0][key]}), changes)])
        assert open_table(own, name).files() == [file]


def test_the_unfinished_file_of_a_killed_writer_is_deleted(lake: Lake) -> None:
    """It may contain personal values too, and it does not stop the erasure of other files."""
    schema = CONTRACTS["bronze.buyers"]
    table = create_table(lake, "bronze.buyers", schema, partition_by=["observed_on"])
    table.append(
        pa.Table.from_pylist([{field.name: value(field, 1, random.Random(1)) for field in schema}], schema)
    )
    (file,) = table.files()
    half = Path(file.uri + HALF)
    half.write_bytes(Path(file.uri).read_bytes()[:-9])
    key, changes = CASES["bronze.buyers"]
    assert erase(lake, [Redaction("bronze.buyers", key, frozenset({1}), changes)]).rows == 1
    assert not half.exists()


def test_a_file_that_another_process_deletes_is_skipped(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vacuum or a failed build may delete it, and the other files lose the personal values."""
    schema = CONTRACTS["bronze.buyers"]
    table = create_table(lake, "bronze.buyers", schema, partition_by=["observed_on"])
    for row in (1, 2):
        values = {field.name: value(field, row, random.Random(row)) for field in schema}
        table.append(pa.Table.from_pylist([values], schema))
    deleted = max(file.uri for file in table.files())
    list_sizes = Files.sizes

    def late(files: Files, folder: str = "") -> dict[str, int]:
        sizes = list_sizes(files, folder)
        Path(deleted).unlink(missing_ok=True)
        return sizes

    monkeypatch.setattr(Files, "sizes", late)
    key, changes = CASES["bronze.buyers"]
    assert erase(lake, [Redaction("bronze.buyers", key, frozenset({1, 2}), changes)]).rows == 1
