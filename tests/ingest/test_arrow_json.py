"""Batch: what Arrow types at once is what typing object by object gives, whatever the CRM sends."""

import json
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import observations as bronze
from ingest.arrow_json import Odd
from ingest.entities import ORDERS
from ingest.observations import Typed, look, type_rows
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
# As they stand in a payload, where no JSON library would write them.
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


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a JSON value, objects and lists too."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


PLACES = list(places(WHOLE))
GONE = "this key is not there"
CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(VALUES, st.just(GONE))), max_size=2)


def changed(changes: list[tuple[tuple[Any, ...], Any]], found: int) -> bytes:
    """Return an order with other values at some of its places, as JSON."""
    value = deepcopy(WHOLE)
    value["id"] = found
    for path, new in changes:
        at: Any = value
        for key in path[:-1]:
            at = at[key] if has(at, key) else None
        if not has(at, path[-1]):
            continue
        if new == GONE:
            del at[path[-1]]
        else:
            at[path[-1]] = deepcopy(new)
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def has(value: Any, key: Any) -> bool:
    """True where a step of a path still leads somewhere."""
    if isinstance(value, dict):
        return key in value
    return isinstance(value, list) and isinstance(key, int) and key < len(value)


def both(monkeypatch: pytest.MonkeyPatch, payloads: list[bytes]) -> tuple[Typed, Typed]:
    """Return what becomes of the payloads, as it is, and object by object."""
    seen = [look(ORDERS, payload, NOW) for payload in payloads]
    found = type_rows(ORDERS, seen, run_id="r")
    with monkeypatch.context() as patch:
        patch.setattr(bronze, "tabulate_batch", refuse)
        return found, type_rows(ORDERS, seen, run_id="r")


def refuse(*_: object) -> None:
    """Take nothing."""
    raise Odd("switched off")


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(histories=st.lists(CHANGES, min_size=1, max_size=3))
def test_any_orders_become_the_same_rows(
    monkeypatch: pytest.MonkeyPatch, histories: list[list[tuple[tuple[Any, ...], Any]]]
) -> None:
    """Odd values anywhere, in one order or in several: the same rows, and the same are refused."""
    at_once, one_by_one = both(
        monkeypatch, [changed(one, 5 + number) for number, one in enumerate(histories)]
    )
    assert at_once.tables == one_by_one.tables
    assert at_once.rejected == one_by_one.rejected


CASES = [
    *((key, value) for key in ("ordered_at", "closed_at") for value in STAMPS),
    *((key, value) for key in ("grand_total", "shipping_price", "discount_percent") for value in NUMBERS),
    *((key, value) for key in ("id", "parent_id", "promocode", "is_gift") for value in (*NUMBERS, *TEXTS)),
    *((key, value) for key in ("products", "expenses", "buyer", "manager", "client_id") for value in SHAPES),
]


@pytest.mark.parametrize(("key", "value"), CASES)
def test_every_odd_value_of_a_field_is_taken_the_same_way(
    monkeypatch: pytest.MonkeyPatch, key: str, value: Any
) -> None:
    """Alone, beside an order as documented, and beside one with amounts that are rounded."""
    odd = json.dumps({**WHOLE, key: value}, ensure_ascii=False).encode()
    fine = changed([(("grand_total",), 646.5999999999999), (("shipping_price",), 0.00005)], 4)
    for payloads in ([odd], [changed([], 4), odd], [odd, fine]):
        at_once, one_by_one = both(monkeypatch, payloads)
        assert (at_once.tables, at_once.rejected) == (one_by_one.tables, one_by_one.rejected)


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize(
    "key", ["grand_total", "shipping_price", "discount_percent", "id", "promocode", "unknown"]
)
def test_every_spelling_of_a_number_is_taken_the_same_way(
    monkeypatch: pytest.MonkeyPatch, key: str, spelled: str
) -> None:
    """As a number and as a text; no spelling ends the run, and what comes with it is held."""
    fine = changed([(("grand_total",), 646.5999999999999), (("shipping_price",), 0.00005)], 4)
    for quoted in (spelled, f'"{spelled}"'):
        odd = json.dumps({**WHOLE, key: "here"}).replace('"here"', quoted).encode()
        at_once, one_by_one = both(monkeypatch, [odd, fine, changed([(("buyer",), [])], 6)])
        assert (at_once.tables, at_once.rejected) == (one_by_one.tables, one_by_one.rejected)
        assert {4, 6} <= set(at_once.tables["bronze.orders"]["id"].to_pylist())


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
def test_a_quoted_number_is_taken_the_same_way_alone(monkeypatch: pytest.MonkeyPatch, spelled: str) -> None:
    """Where a field is a text in every order, Arrow reads numbers out of texts."""
    odd = [
        json.dumps({**WHOLE, "id": found, "shipping_price": "here"}).replace("here", spelled).encode()
        for found in (5, 6)
    ]
    at_once, one_by_one = both(monkeypatch, odd)
    assert (at_once.tables, at_once.rejected) == (one_by_one.tables, one_by_one.rejected)


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
def test_what_is_hardly_json_is_for_the_slow_way(monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    """It says what is wrong with it; what comes with it is not lost."""
    at_once, one_by_one = both(monkeypatch, [payload, changed([], 7)])
    assert (at_once.tables, at_once.rejected) == (one_by_one.tables, one_by_one.rejected)
    assert 7 in at_once.tables["bronze.orders"]["id"].to_pylist()


def test_orders_as_documented_take_the_fast_way() -> None:
    """Else all of this would be for nothing; amounts in floating point too."""
    noisy = changed([(("grand_total",), 646.5999999999999), (("closed_at",), STAMPS[1])], 6)
    seen = [look(ORDERS, payload, NOW) for payload in (changed([], 5), noisy)]
    totals = bronze.tabulate_batch(seen, "r")["bronze.orders"]["grand_total"]
    assert totals.to_pylist() == [Decimal("19.00"), Decimal("646.60")]
