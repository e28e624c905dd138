"""Ledger: a Struct is the only place that names a ledger's columns."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import full_load
from lake.delta.ledger import SPANS, Ledger, schema_of
from lake.ledgers import findings, jobs, origin, runs
from lake.maintenance import redaction as erasure
from lake.paths import Lake
from lake.releases import release, restores, tags

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
# Columns as existing lakes have them: name, type, and whether null is allowed.
COLUMNS: dict[str, list[tuple[str, str, bool]]] = {
    "ops.tags": [("name", "string", False), ("release", "int64", True), ("tagged_at", str(INSTANT), False)],
    "ops.origins": [("source", "string", False), ("since", str(INSTANT), False)],
    "ops.erasures": [("erased_at", str(INSTANT), False), ("rows", "int64", False), ("files", "int64", False)],
    "ops.restores": [
        ("restored_at", str(INSTANT), False),
        ("release", "int64", False),
        ("versions", "map<string, list<item: int64>>", False),
    ],
    "ops.jobs": [
        ("job", "string", False),
        ("slot", str(INSTANT), False),
        ("state", "string", False),
        ("at", str(INSTANT), False),
        ("exit_code", "int64", True),
        ("detail", "string", True),
    ],
    "ops.findings": [
        ("fingerprint", "string", False),
        ("state", "string", False),
        ("severity", "string", False),
        ("fact", "string", False),
        ("rows", "int64", False),
        ("amount", "decimal128(38, 2)", True),
        ("example", "string", False),
        ("first_seen_at", str(INSTANT), False),
        ("seen_at", str(INSTANT), False),
    ],
    "ops.windows": [
        ("load_began_at", str(INSTANT), False),
        ("load_started_at", str(INSTANT), False),
        ("run_id", "string", False),
        ("entity", "string", False),
        ("by", "string", False),
        ("since", str(INSTANT), True),
        ("until", str(INSTANT), True),
        ("seen", "int64", False),
    ],
    "ops.runs": [
        ("run_id", "string", False),
        ("kind", "string", False),
        ("verdict", "string", False),
        ("started_at", str(INSTANT), False),
        ("finished_at", str(INSTANT), False),
        ("source", "string", False),
        ("watermark", str(INSTANT), True),
        ("source_time", str(INSTANT), True),
        ("windows.entity", "string", False),
        ("windows.by", "string", False),
        ("windows.since", str(INSTANT), True),
        ("windows.until", str(INSTANT), True),
        ("windows.expected", "int64", True),
        ("windows.seen", "int64", False),
        ("windows.pages_expected", "int64", True),
        ("windows.pages_fetched", "int64", False),
        ("windows.pages_failed", "int64", False),
        ("windows.complete", "bool", False),
        ("windows.reason", "string", True),
        ("appended", "map<string, int64>", False),
        ("rejected", "int64", False),
        ("requests", "int64", False),
        ("retries", "int64", False),
        ("waited_seconds", "double", False),
        ("reason", "string", True),
    ],
    "ops.releases": [
        ("release", "int64", False),
        ("published_at", str(INSTANT), False),
        ("kind", "string", False),
        ("parent", "int64", True),
        ("tables", "map<string, int64>", False),
        ("consumed", "map<string, int64>", False),
        ("excluded_runs", "list<item: string>", False),
        ("is_held", "bool", False),
        ("rows", "map<string, int64>", False),
        ("money", "map<string, decimal128(38, 2)>", False),
        ("digests", "map<string, string>", False),
        ("moved.table", "string", False),
        ("moved.month", "date32[day]", True),
        ("moved.rows_before", "int64", False),
        ("moved.rows_after", "int64", False),
        ("moved.money_before", "decimal128(38, 2)", True),
        ("moved.money_after", "decimal128(38, 2)", True),
        ("checks", "map<string, int64>", False),
        ("models_hash", "string", False),
        ("code_version", "string", False),
        ("complete_through", str(INSTANT), True),
        ("reconciled_through", str(INSTANT), True),
    ],
}
LEDGERS: list[Ledger[Any]] = [
    findings.LEDGER,
    jobs.LEDGER,
    origin.LEDGER,
    runs.LEDGER,
    erasure.LEDGER,
    release.LEDGER,
    restores.LEDGER,
    tags.LEDGER,
    full_load.LEDGER,
]


class Part(msgspec.Struct, frozen=True):
    """A nested record."""

    name: str
    day: date | None = None


class Entry(msgspec.Struct, frozen=True):
    """A record with every kind of column."""

    at: datetime
    number: int
    text: str | None = None
    kind: Literal["a", "b"] = "a"
    money: Decimal | None = None
    share: float = 0.0
    is_new: bool = False
    counts: dict[str, int] = {}
    versions: dict[str, frozenset[int]] = {}
    words: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


LEDGER = Ledger("ops.entries", Entry, order_by="at")
integers = st.integers(-(2**63), 2**63 - 1)
entries = st.builds(
    Entry,
    at=st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),
    number=integers,
    text=st.none() | st.text(),
    kind=st.sampled_from(["a", "b"]),
    money=st.none() | st.decimals(-(10**12), 10**12, places=2),
    share=st.floats(allow_nan=False),
    is_new=st.booleans(),
    counts=st.dictionaries(st.text(), integers),
    versions=st.dictionaries(st.text(), st.frozensets(integers)),
    words=st.lists(st.text()).map(tuple),
    parts=st.lists(st.builds(Part, st.text(), st.none() | st.dates())).map(tuple),
)


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda ledger: ledger.name)
def test_columns_are_those_of_existing_lakes(ledger: Ledger[Any]) -> None:
    """A Struct that changes would make its ledger in existing lakes unwritable."""
    assert [
        (name, str(field.type), field.nullable)
        for column in ledger.schema
        for name, field in flattened(column)
    ] == COLUMNS[ledger.name]


def flattened(column: pa.Field) -> list[tuple[str, pa.Field]]:
    """Return a column, or the fields of the records that it lists, by their names."""
    if pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type):
        return [(f"{column.name}.{field.name}", field) for field in column.type.value_type]
    return [(column.name, column)]


@given(st.lists(entries))
def test_records_survive_the_way_to_arrow_and_back(records: list[Entry]) -> None:
    """Every kind of value, missing ones included, is the same after it was written and read."""
    expected = sorted(records, key=lambda record: record.at)
    assert LEDGER.records(LEDGER.rows(records)) == expected


def test_a_ledger_is_read_in_its_order_and_from_its_end(lake: Lake) -> None:
    """Records come back in the order of their instants, whatever the order of the commits."""
    assert LEDGER.open(lake) is None
    assert LEDGER.read(lake) == []
    assert list(LEDGER.newest_first(lake)) == []
    ages = [timedelta(days=400), timedelta(hours=1), timedelta(days=3), timedelta(), timedelta(hours=2)]
    for number, age in enumerate(ages):
        LEDGER.append(lake, [Entry(NOW - age, number, parts=(Part("x"),))])
    assert [record.number for record in LEDGER.read(lake)] == [0, 2, 4, 1, 3]
    assert [record.number for record in LEDGER.newest_first(lake)] == [3, 1, 4, 2, 0]
    until = NOW - timedelta(hours=1)
    assert [record.number for record in LEDGER.newest_first(lake, until=until)] == [1, 4, 2, 0]


def test_portions_from_the_end_are_disjoint_and_have_every_row(lake: Lake) -> None:
    """Each row is in exactly one portion, also if its instant is the end of one and beyond milliseconds."""
    edges = [timedelta(), *SPANS[:2], SPANS[1] + timedelta(microseconds=1), timedelta(days=9000)]
    instants = [NOW - edge + timedelta(microseconds=567) for edge in edges]
    LEDGER.append(lake, [Entry(instant, number) for number, instant in enumerate(instants)])
    portions = [rows["number"].to_pylist() for rows in LEDGER.portions(lake, ["number"])]
    assert len(portions) == len(SPANS)
    assert sorted(number for portion in portions for number in portion) == list(range(len(edges)))
    assert portions[0][:1] == [0]


def test_a_field_without_a_column_type_is_refused() -> None:
    """A Struct that no ledger can store is refused when the module is imported, not at the first write."""

    class Odd(msgspec.Struct):
        at: complex

    with pytest.raises(TypeError, match="no column of this type"):
        schema_of(Odd)
