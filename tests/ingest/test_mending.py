"""Mending: a row that is no JSON costs only itself, or only the field that is broken."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.entities import ORDERS
from ingest.mending import NotJson, mend
from ingest.observations import Observation, observe
from ingest.protocol import read_object, read_page
from ingest.typed_rows import TypedRows, type_rows
from lake.errors import SourceDown
from tests.ingest.test_observations import order

NOW = datetime(2026, 3, 4, tzinfo=UTC)
# Texts of a value, what it is mended to, and whether it is read.
TEXTS: dict[bytes, tuple[Any, bool]] = {
    b'"hi \\ud83d"': ("hi \ufffd", True),
    b'"\\udc00"': ("\ufffd", True),
    b'"\\ud800\\u0041"': ("\ufffdA", True),
    b'"\\ud800\\ud83d\\ude00"': ("\ufffd\U0001f600", True),
    b'"a\xff\xf0\x9f\x98b"': ("a\ufffd\ufffd\ufffd\ufffdb", True),
    b'"\xed\xa0\xbd"': ("\ufffd\ufffd\ufffd", True),
    b'"a\tb\nc\0d"': ("a\tb\nc\0d", True),
    b'"\\x41 \\u12 C:\\dir"': ("\\x41 \\u12 C:\\dir", True),
    b'"a 5" monitor, "new""': ('a 5" monitor, "new"', True),
    b"NaN": ({"not_json": "NaN"}, False),
    b"-Infinity": ({"not_json": "-Infinity"}, False),
    b"007": ({"not_json": "007"}, False),
    b"5.": ({"not_json": "5."}, False),
    b"'a'": ({"not_json": "'a'"}, False),
    b"": ({"not_json": ""}, False),
    b'"b" 1': ({"not_json": '"b" 1'}, False),
    b"{1: 2}": ({"not_json": "{1: 2}"}, False),
    b"[1, 2": ({"not_json": "[1, 2"}, False),
    b"[1,]": ([1], True),
    b'{"a": 1,}': ({"a": 1}, True),
    b"1" + b"0" * 4400: ("1" + "0" * 4400, True),
    b"1e400": ("1e400", True),
}


def body_of(value: bytes, field: str = "manager_comment", **more: Any) -> bytes:
    """Return an order whose field has the given text."""
    return json.dumps(order(**{field: "@"}, **more)).encode().replace(b'"@"', value)


def page_with(*rows: bytes) -> bytes:
    """Return a page of the rows."""
    envelope = b'{"total":%d,"current_page":1,"data":[%s],"last_page":1}'
    return envelope % (len(rows), b", ".join(rows))


def read(body: bytes) -> list[Observation]:
    """Return the observations of a page."""
    return [observe(ORDERS, bytes(row), NOW) for row in read_page(body, expected_page=1).data]


def typed(rows: list[Observation]) -> TypedRows:
    """Return the rows of the orders."""
    return type_rows(ORDERS, rows, run_id="r")


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_broken_text_of_an_unused_field_costs_nothing(text: bytes) -> None:
    """Each order of the page counts, the payload is JSON, and the field is named."""
    meaning, is_read = TEXTS[text]
    fine = [json.dumps(order(id=number)).encode() for number in (6, 7)]
    rows = typed(read(page_with(fine[0], body_of(text), fine[1])))
    assert rows.rejected.num_rows == 0
    table = rows.tables["bronze.orders"]
    assert table["id"].to_pylist() == [6, 5, 7]
    assert json.loads(table["payload"][1].as_py()) == order(manager_comment=meaning)
    assert [(row["id"], row["field"], row["is_read"]) for row in rows.odd_fields.to_pylist()] == [
        (5, "manager_comment", is_read)
    ]


@pytest.mark.parametrize("depth", [60, 900, 3000, 200_000])
def test_deep_nesting_of_an_unused_field_costs_nothing(depth: int) -> None:
    """What is too deep for a decoder is kept as text."""
    rows = typed(read(page_with(body_of(b"[" * depth + b"]" * depth), body_of(b'"fine"', id=6))))
    assert rows.tables["bronze.orders"]["id"].to_pylist() == [5, 6]
    assert rows.odd_fields.num_rows == (depth > 1000)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("field", ["grand_total", "status_id", "products", "ordered_at", "status_group_id"])
def test_a_broken_text_of_a_strict_field_costs_only_its_order(field: str, text: bytes) -> None:
    """It is refused with its id, and the other order counts."""
    rows = typed(read(page_with(body_of(text, field), body_of(b'"fine"', id=6))))
    assert rows.tables["bronze.orders"]["id"].to_pylist() == [6]
    assert rows.rejected["id"].to_pylist() == [5]
    assert rows.rejected["reason"][0].as_py().startswith(field)


@pytest.mark.parametrize("field", ["price_sold", "price", "quantity"])
def test_no_price_is_taken_from_a_value_that_is_no_json(field: str) -> None:
    """A line without a price that is sold has another revenue than one with an unreadable price."""
    line = {"id": 1, "price": 10, "price_sold": 9, "quantity": 1, field: "@"}
    body = json.dumps(order(products=[line])).encode().replace(b'"@"', b"NaN")
    assert typed([observe(ORDERS, body, NOW)]).rejected["reason"][0].as_py().startswith(f"products.{field}")


@pytest.mark.parametrize(
    "text",
    [
        b'{"id": 5, "grand_total": 19 "status_id": 1}',
        b'{"id": 5, 7: 8, "grand_total": 19}',
        b'{ "id" : "5", grand_total: 19.00}',
        b'{"id": 5, "a": b", "c": "d"}',
    ],
)
def test_a_row_without_a_plain_meaning_is_refused_alone(text: bytes) -> None:
    """Its bytes are kept, its id is read as it is written, and asking for it alone gives the same row."""
    rows = read(page_with(text, body_of(b'"fine"', id=6)))
    assert [row.id for row in rows] == [5, 6]
    assert typed(rows).rejected["payload"].to_pylist() == [text.decode()]
    assert read_object(text, expected_id=5) == text


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb\xbf \n", b"\n\n"])
def test_a_byte_order_mark_before_a_page_or_an_object_is_nothing(mark: bytes) -> None:
    """Some PHP files begin with one."""
    body = json.dumps(order()).encode()
    assert [row.id for row in read(mark + page_with(body, body_of(b'"\\ud83d"', id=6)))] == [5, 6]
    assert (
        observe(ORDERS, read_object(mark + body, expected_id=5), NOW).hash == observe(ORDERS, body, NOW).hash
    )


BROKEN = page_with(body_of(b'"\\ud83d"'), body_of(b"NaN", id=6))


@pytest.mark.parametrize("left", [1, 2, 3, 14, 40, len(BROKEN) // 2, len(BROKEN) - 60])
def test_a_page_that_is_cut_off_is_no_page(left: int) -> None:
    """None of its rows is taken, whatever else is broken in it."""
    with pytest.raises(SourceDown, match="not a page of JSON"):
        read_page(BROKEN[:-left], expected_page=1)


@pytest.mark.parametrize(
    "body",
    [
        BROKEN + b"<!-- x -->",
        BROKEN + BROKEN,
        b"<html>" + BROKEN,
        b"[" + BROKEN + b"]",
        BROKEN.replace(b'"data":[', b'"data":['[:-1]),
        BROKEN.replace(b'"data"', b'"rows"'),
        BROKEN.replace(b'],"last_page"', b'},"last_page"'),
        b'{"data":[NaN]}',
        b'{"data":{"a":NaN},"total":1}',
    ],
)
def test_what_is_no_page_stays_no_page(body: bytes) -> None:
    """The request is sent again."""
    with pytest.raises(SourceDown, match="not a page of JSON"):
        read_page(body, expected_page=1)


def test_a_list_with_gaps_may_have_a_broken_row() -> None:
    """PHP sends the list as an object then."""
    body = b'{"total":"2","data":{"0":%s,"3":%s},"per_page":NaN}'
    rows = read(body % (json.dumps(order()).encode(), body_of(b'"\t"', id=6)))
    assert [row.id for row in rows] == [5, 6]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_the_mended_payload_is_observed_like_the_broken_one(text: bytes) -> None:
    """A row of bronze is proven by its payload."""
    broken = observe(ORDERS, body_of(text), NOW)
    again = observe(ORDERS, broken.payload, NOW)
    assert (again.id, again.hash, again.payload, again.updated_at) == (
        broken.id,
        broken.hash,
        broken.payload,
        broken.updated_at,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e99, 1e99) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=20,
)


@given(value=st.dictionaries(st.text(), JSON))
def test_valid_json_means_the_same_after_mending(value: dict[str, Any]) -> None:
    """Nothing is noted of it, in any writing."""
    for body in (msgspec.json.encode(value), json.dumps(value, indent=1).encode()):
        mended = mend(body)
        assert (json.loads(mended.payload), mended.fields) == (value, {})


@given(value=st.dictionaries(st.text(), JSON), place=st.integers(0), junk=st.binary(min_size=1, max_size=3))
def test_whatever_is_mended_is_valid_json(value: dict[str, Any], place: int, junk: bytes) -> None:
    """Any bytes in any place give JSON that is mended no further, or are refused."""
    body = msgspec.json.encode(value)
    place %= len(body)
    try:
        mended = mend(body[:place] + junk + body[place + 1 :])
    except NotJson:
        return
    assert isinstance(msgspec.json.decode(mended.payload), dict)
    assert mend(mended.payload) == msgspec.structs.replace(mended, fields={})
