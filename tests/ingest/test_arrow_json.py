"""Typing by Arrow: a batch gives the same rows as typing object by object, whatever the CRM sends."""

import json
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import typed_rows as bronze
from ingest.arrow_json import Undocumented
from ingest.entities import ORDERS
from ingest.observations import observe
from ingest.typed_rows import TypedRows, type_rows
from tests.ingest.test_observations import NOW, line, order

EXPENSE = {
    "id": 8,
    "expense_type_id": 2,
    "amount": "12.50",
    "payment_date": "2026-03-04 10:00:00",
    "created_at": "2026-03-04T21:47:12.000000Z",
}
WHOLE = order(
    products=[line(), line(id=2, sku="A", quantity="1.250", discount_percent=3, offer=None)],
    expenses=[EXPENSE],
)
STAMPS = (
    "2026-03-04T21:47:12Z",
    "2026-03-04T21:47:12.123456+04:00",
    "2026-03-04 21:47:12",
    "2026-03-04",
    "2026-02-30T00:00:00Z",
    "2026-03-04T24:00:00Z",
    "2026-03-04T23:59:60Z",
    "2026-03-04T21:47:12.1234567Z",
    "2026-03-04t21:47:12z",
    "2026-03-04T21:47:12+25:00",
    "2026-03-04T21:47:12-0300",
    "2026-03-04 21:47",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59Z",
    "1850-01-01T00:00:00Z",
    "yesterday",
)
NUMBERS = (
    *(
        "12.5",
        " 1",
        "1_000",
        "1e3",
        "1E+1000000",
        "NaN",
        "Infinity",
        "-0",
        "+5",
        ".5",
        "5.",
        "",
        "12,5",
        "0x10",
    ),
    *(0, -1, 10**15, 10**16, 2**63, 2**63 - 1, 10**30, 1e300, 5.0, 2.555, 2.5, 646.5999999999999),
    *(0.00005, 1.00005, -1.00005, 99999.99995, 0.1234567890123456789, 123456.12345),
)
# Numbers as a payload may spell them; no JSON library would write them so.
SPELLED = (
    *(
        "1e-8000000",
        "0e-499955555",
        "0e16",
        "0E+30",
        "1E-8000000",
        "0E-499955555",
        "1e-41",
        "1e-39",
        "1e20",
        "1e400",
        "-0.0",
        "1E+2",
        "12.50",
    ),
    *("1e99999999999999999999", "0.1234567890123456789", "123456789012345678901234567890.5", "5e0"),
    "0." + "3" * 60,
    "0." + "0" * 21 + "5" + "0" * 36,
)
TEXTS = ("", "\x00", "🌿", '"', "\\", "\n", "я" * 3000, "\u2028", "null", "1", "true")
SHAPES: tuple[Any, ...] = (
    *(None, True, [], {}, [None], [{}], [[]], {"id": None}, {"id": 3}, {"id": "3"}, {"id": 3.0}),
    *([line()], [line(), None], [line(price=None)], [line(offer={})], [line(offer=[1])], [EXPENSE]),
    *([{**EXPENSE, "amount": None}], [line(discount_percent=100000)], [{**EXPENSE, "created_at": "2026"}]),
)
VALUES = st.one_of(
    st.sampled_from([*STAMPS, *NUMBERS, *TEXTS]),
    st.sampled_from(SHAPES),
    st.text(max_size=4),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**16), 10**16, places=5).map(float),
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON value, objects and lists included."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*path, key))


PATHS = list(paths_of(WHOLE))
MISSING = "this key is not there"
CHANGES = st.lists(st.tuples(st.sampled_from(PATHS), st.one_of(VALUES, st.just(MISSING))), max_size=2)


def changed(changes: list[tuple[tuple[Any, ...], Any]], number: int) -> bytes:
    """Return an order with other values at some of its paths, as JSON."""
    value = deepcopy(WHOLE)
    value["id"] = number
    for path, new in changes:
        target: Any = value
        for key in path[:-1]:
            target = target[key] if has(target, key) else None
        if not has(target, path[-1]):
            continue
        if new == MISSING:
            del target[path[-1]]
        else:
            target[path[-1]] = deepcopy(new)
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def has(value: Any, key: Any) -> bool:
    """True if a step of a path exists in the value."""
    if isinstance(value, dict):
        return key in value
    return isinstance(value, list) and isinstance(key, int) and key < len(value)


def both(monkeypatch: pytest.MonkeyPatch, payloads: list[bytes]) -> tuple[TypedRows, TypedRows]:
    """Return the typed payloads of the batch way and of the object way."""
    seen = [observe(ORDERS, payload, NOW) for payload in payloads]
    batch = type_rows(ORDERS, seen, run_id="r")
    with monkeypatch.context() as patch:
        patch.setattr(bronze, "tabulate_batch", refuse)
        return batch, type_rows(ORDERS, seen, run_id="r")


def refuse(*_: object) -> None:
    """Reject every batch."""
    raise Undocumented("switched off")


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(histories=st.lists(CHANGES, min_size=1, max_size=3))
def test_odd_values_give_the_same_rows_both_ways(
    monkeypatch: pytest.MonkeyPatch, histories: list[list[tuple[tuple[Any, ...], Any]]]
) -> None:
    """If one order or several have odd values, both ways give the same rows and the same rejections."""
    batch, one_by_one = both(
        monkeypatch, [changed(history, 5 + number) for number, history in enumerate(histories)]
    )
    assert batch.tables == one_by_one.tables
    assert batch.rejected == one_by_one.rejected


CASES = [
    *((key, value) for key in ("ordered_at", "closed_at") for value in STAMPS),
    *((key, value) for key in ("grand_total", "shipping_price", "discount_percent") for value in NUMBERS),
    *((key, value) for key in ("id", "parent_id", "promocode", "is_gift") for value in (*NUMBERS, *TEXTS)),
    *((key, value) for key in ("products", "expenses", "buyer", "manager", "client_id") for value in SHAPES),
]


@pytest.mark.parametrize(("key", "value"), CASES)
def test_an_odd_value_of_any_field_gives_the_same_rows(
    monkeypatch: pytest.MonkeyPatch, key: str, value: Any
) -> None:
    """The result is the same if the odd order is alone, with a documented one, or with a rounded one."""
    odd = json.dumps({**WHOLE, key: value}, ensure_ascii=False).encode()
    fine = changed([(("grand_total",), 646.5999999999999), (("shipping_price",), 0.00005)], 4)
    for payloads in ([odd], [changed([], 4), odd], [odd, fine]):
        batch, one_by_one = both(monkeypatch, payloads)
        assert (batch.tables, batch.rejected) == (one_by_one.tables, one_by_one.rejected)


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize(
    "key", ["grand_total", "shipping_price", "discount_percent", "id", "promocode", "unknown"]
)
def test_any_spelling_of_a_number_gives_the_same_rows(
    monkeypatch: pytest.MonkeyPatch, key: str, spelled: str
) -> None:
    """No spelling of a number or a quoted number ends the run, and the other orders of the batch arrive."""
    fine = changed([(("grand_total",), 646.5999999999999), (("shipping_price",), 0.00005)], 4)
    for quoted in (spelled, f'"{spelled}"'):
        odd = json.dumps({**WHOLE, key: "here"}).replace('"here"', quoted).encode()
        batch, one_by_one = both(monkeypatch, [odd, fine, changed([(("buyer",), [])], 6)])
        assert (batch.tables, batch.rejected) == (one_by_one.tables, one_by_one.rejected)
        assert {4, 6} <= set(batch.tables["bronze.orders"]["id"].to_pylist())


@pytest.mark.parametrize(
    "spelled",
    [
        *SPELLED,
        *(
            "+0e-99999999",
            "0.00e-499955555",
            "-0e-499955555",
            "1e-57",
            "5E-57",
            "5e-57",
            "1e-56",
            "1e-9",
            "1e-08000000",
        ),
        *("1e-8000000 ", r"\u0030e-499955555", r"1\u0065-8000000", r"1e\u002d8000000", r"0\u002e" + "0" * 60),
    ],
)
def test_a_quoted_number_in_every_order_gives_the_same_rows(
    monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    """Arrow reads numbers out of texts if a field is a text in every order of the batch."""
    odd = [
        json.dumps({**WHOLE, "id": number, "shipping_price": "here"}).replace("here", spelled).encode()
        for number in (5, 6)
    ]
    batch, one_by_one = both(monkeypatch, odd)
    assert (batch.tables, batch.rejected) == (one_by_one.tables, one_by_one.rejected)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id":5}{"id":6}',
        b'{"id":5,"id":6}',
        b"[]",
        b"5",
        b"null",
        b"{}",
        b"",
        b"{",
        b'{"id":5}\x00{',
        json.dumps(WHOLE, indent=1).encode(),
        json.dumps(WHOLE).replace('"\\u0425"', '"\\ud800"').encode(),
        json.dumps(WHOLE).encode().replace(b'"A"', b'"\xff"'),
        json.dumps(WHOLE).replace('"promocode": null', '"promocode": "a"').encode(),
    ],
)
def test_broken_json_is_typed_object_by_object(monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    """A payload that is hardly JSON is rejected with the reason, and the other order arrives."""
    batch, one_by_one = both(monkeypatch, [payload, changed([], 7)])
    assert (batch.tables, batch.rejected) == (one_by_one.tables, one_by_one.rejected)
    assert 7 in batch.tables["bronze.orders"]["id"].to_pylist()


def test_documented_orders_are_typed_by_arrow() -> None:
    """If orders are as documented, the fast way types them, amounts in floating point included."""
    noisy = changed([(("grand_total",), 646.5999999999999), (("closed_at",), STAMPS[1])], 6)
    seen = [observe(ORDERS, payload, NOW) for payload in (changed([], 5), noisy)]
    totals = bronze.tabulate_batch(seen, "r")["bronze.orders"]["grand_total"]
    assert totals.to_pylist() == [Decimal("19.00"), Decimal("646.60")]
