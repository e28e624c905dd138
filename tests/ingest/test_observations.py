"""Observations: which content is new, how it is typed, and what is rejected with which reason."""

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.entities import BUYERS, MANAGERS, ORDERS, PRODUCTS, Entity
from ingest.observations import observe
from ingest.typed_rows import type_rows

NOW = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)


def line(**more: Any) -> dict[str, Any]:
    """Return a line as the CRM sends it."""
    offer = {"id": 9, "product_id": 7, "price": 12, "quantity": 40}
    return {"id": 1, "name": "Крем", "price": 10, "price_sold": 9.5, "quantity": 2, "offer": offer, **more}


def order(**more: Any) -> dict[str, Any]:
    """Return an order as the CRM sends it, with every include."""
    return {
        "id": 5,
        "source_id": 4,
        "status_id": 12,
        "grand_total": 19,
        "shipping_price": "0.00",
        "client_id": 3,
        "ordered_at": "2026-03-04T21:47:12.000000Z",
        "created_at": "2026-03-04T22:01:40.000000Z",
        "updated_at": "2026-03-04T22:01:40.000000Z",
        "closed_at": "2026-03-05 01:00:00",
        "buyer": {"id": 3, "full_name": "Х", "orders_sum": "19.00"},
        "manager": {"id": 22, "last_logged_at": "2026-03-04T22:01:40.000000Z"},
        "status": {"id": 12, "name": "completed"},
        "products": [line()],
        "expenses": [],
        **more,
    }


def typed(entity: Entity, *values: Any) -> Any:
    """Return the typed rows of the values."""
    rows = [observe(entity, json.dumps(value, ensure_ascii=False).encode(), NOW) for value in values]
    return type_rows(entity, rows, run_id="r1")


def test_an_order_is_typed_without_loss() -> None:
    """Money becomes decimals, instants of both spellings become UTC, and ids come out of included objects."""
    typed_rows = typed(ORDERS, order())
    row = typed_rows.tables["bronze.orders"].to_pylist()[0]
    assert (row["grand_total"], row["shipping_price"]) == (Decimal("19.00"), Decimal("0.00"))
    assert (row["buyer_id"], row["manager_id"]) == (3, 22)
    assert row["ordered_at"] == datetime(2026, 3, 4, 21, 47, 12, tzinfo=UTC)
    assert row["closed_at"] == datetime(2026, 3, 5, 1, tzinfo=UTC)
    assert (row["observed_on"], row["run_id"], row["is_deleted"]) == (date(2026, 3, 5), "r1", False)
    sold = typed_rows.tables["bronze.order_products"].to_pylist()[0]
    assert (sold["order_id"], sold["position"], sold["product_id"], sold["offer_id"]) == (5, 1, 7, 9)
    assert (sold["price_sold"], sold["quantity"]) == (Decimal("9.50"), Decimal("2.000"))
    assert typed_rows.rejected.num_rows == 0
    assert list(typed_rows.tables) == ["bronze.order_products", "bronze.expenses", "bronze.orders"]


def test_the_payload_is_kept_to_the_byte() -> None:
    """Unknown keys, emoji, NUL and very long text are kept."""
    value = order(buyer_comment="🌿\x00" + "я" * 100_000, a_new_key={"x": [1, None]})
    (row,) = typed(ORDERS, value).tables["bronze.orders"].to_pylist()
    assert row["payload"] == json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(
    "change",
    [
        {"buyer": {"id": 3, "full_name": "Х", "orders_sum": "99.00", "orders_count": 8}},
        {"manager": {"id": 22, "last_logged_at": "2026-12-31T00:00:00.000000Z"}},
        {"status": {"id": 12, "name": "Виконано"}},
        {"last_synced_at": "2026-03-09 00:00:00"},
        {"products": [line(offer={"id": 9, "product_id": 7, "price": 99, "quantity": 1})]},
    ],
)
def test_a_volatile_field_is_no_change(change: dict[str, Any]) -> None:
    """If it were, every stock movement would make a new state of every order with the offer."""
    assert content_hash(order(**change)) == content_hash(order())


@pytest.mark.parametrize(
    "change",
    [
        {"status_id": 19},
        {"grand_total": 19.01},
        {"client_id": 4, "buyer": {"id": 4}},
        {"manager": None},
        {"products": [line(quantity=3)]},
        {"products": [line(offer={"id": 10, "product_id": 8})]},
        {"products": []},
        {"expenses": [{"id": 1, "expense_type_id": 1, "amount": 5}]},
        {"buyer_comment": "інше"},
        {"a_new_key": 1},
    ],
)
def test_own_content_is_a_change(change: dict[str, Any]) -> None:
    """A change in an undocumented key counts too."""
    assert content_hash(order(**change)) != content_hash(order())


def content_hash(value: dict[str, Any], entity: Entity = ORDERS) -> str:
    """Return the hash that decides whether an observation is a new state."""
    return observe(entity, json.dumps(value).encode(), NOW).hash


def test_the_order_of_keys_is_no_change() -> None:
    """Keys of a JSON object have no order."""
    assert content_hash(dict(reversed(order().items()))) == content_hash(order())
    assert content_hash({"id": 1, "last_logged_at": "a"}, MANAGERS) == content_hash({"id": 1}, MANAGERS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"grand_total": "12 грн"}, "grand_total"),
        ({"grand_total": None}, "grand_total"),
        ({"grand_total": True}, "grand_total"),
        ({"grand_total": 2.555}, "grand_total is 2.555: finer than a kopeck"),
        ({"grand_total": "NaN"}, "grand_total: expected a number, got a text"),
        ({"grand_total": 10**20}, "which is no amount"),
        ({"ordered_at": "yesterday"}, "ordered_at"),
        ({"ordered_at": None}, "ordered_at"),
        ({"source_id": "four"}, "source_id"),
        ({"id": 2**63}, "id"),
        ({"products": [line(price="x")]}, r"products.*price"),
        ({"products": None}, "products"),
    ],
)
def test_an_order_that_cannot_be_typed_is_rejected_with_the_reason(
    change: dict[str, Any], reason: str
) -> None:
    """If one order is rejected, the other order of the batch arrives."""
    typed_rows = typed(ORDERS, order(**change), order(id=6))
    assert typed_rows.tables["bronze.orders"]["id"].to_pylist() == [6]
    assert typed_rows.tables["bronze.order_products"]["order_id"].to_pylist() == [6]
    (rejected,) = typed_rows.rejected.to_pylist()
    assert rejected["entity"] == "orders"
    assert re.search(reason, rejected["reason"]), rejected["reason"]
    assert json.loads(rejected["payload"]) == {**order(), **change}


@pytest.mark.parametrize("row", [None, 5, "text", [], {}])
def test_a_row_that_is_no_object_is_rejected(row: Any) -> None:
    """The rejected row has no id but has its bytes."""
    (rejected,) = typed(ORDERS, row).rejected.to_pylist()
    assert (rejected["id"], json.loads(rejected["payload"])) == (None, row)


def test_a_missing_include_is_rejected_and_not_read_as_empty() -> None:
    """If the lines were read as empty, the order would have money for nothing."""
    value = order()
    del value["products"]
    assert typed(ORDERS, value).rejected.num_rows == 1


@given(kopecks=st.integers(0, 10**14))
def test_float_noise_is_rounded_to_the_kopeck(kopecks: int) -> None:
    """A server that adds in floating point sends 646.5999999999999."""
    exact = Decimal(kopecks) / 100
    value = json.dumps(order()).replace('"grand_total": 19', f'"grand_total": {exact + Decimal("1e-10")}')
    seen = observe(ORDERS, value.encode(), NOW)
    (row,) = type_rows(ORDERS, [seen], run_id="r").tables["bronze.orders"].to_pylist()
    assert row["grand_total"] == exact


@pytest.mark.parametrize(
    ("stamp", "hour"),
    [
        ("2026-03-04T21:47:12.000000Z", 21),
        ("2026-03-05T01:47:12+04:00", 21),
        ("2026-03-04 21:47:12", 21),
        ("2026-03-04", 0),
    ],
)
def test_every_spelling_of_an_instant_is_utc(stamp: str, hour: int) -> None:
    """If the text is a bare date, the instant is its midnight in UTC."""
    (row,) = typed(ORDERS, order(ordered_at=stamp)).tables["bronze.orders"].to_pylist()
    assert (row["ordered_at"].date().isoformat(), row["ordered_at"].hour) == ("2026-03-04", hour)


def test_php_empties_are_null() -> None:
    """PHP sends an empty object as a list or as null."""
    value = order(client_id=None, buyer=[], manager=[], products=[line(offer=[]), line(offer=None)])
    typed_rows = typed(ORDERS, value)
    (row,) = typed_rows.tables["bronze.orders"].to_pylist()
    assert (row["buyer_id"], row["manager_id"]) == (None, None)
    assert typed_rows.tables["bronze.order_products"]["product_id"].to_pylist() == [None, None]


def test_a_buyers_phones_are_a_list_however_they_come() -> None:
    """The CRM sends one text, a list or null."""
    rows = [{"id": 1, "phone": "+38"}, {"id": 2, "phone": ["a", "b"]}, {"id": 3, "phone": None}]
    buyers = typed(BUYERS, *rows).tables["bronze.buyers"]
    assert buyers["phone"].to_pylist() == [["+38"], ["a", "b"], []]


def test_a_products_custom_fields_are_kept_as_json() -> None:
    """Their meaning is a rule of the shop."""
    value = {"id": 1, "name": "Крем", "custom_fields": [{"uuid": "CT_1001", "value": ["Лелека"]}]}
    (row,) = typed(PRODUCTS, value).tables["bronze.products"].to_pylist()
    assert json.loads(row["custom_fields"]) == value["custom_fields"]


def test_a_unit_price_may_be_finer_than_a_kopeck() -> None:
    """285.55 less 3 % is 276.9835; four places are kept and the order is not rejected."""
    value = order(margin_sum=123.45678, products=[line(price=285.55, price_sold=276.9835)])
    typed_rows = typed(ORDERS, value)
    assert typed_rows.rejected.num_rows == 0
    assert typed_rows.tables["bronze.order_products"]["price_sold"].to_pylist() == [Decimal("276.9835")]
    assert typed_rows.tables["bronze.orders"]["margin_sum"].to_pylist() == [Decimal("123.4568")]


@pytest.mark.parametrize(
    ("key", "typed_ids"), [("ordered_at", [6]), ("promocode", [5, 6]), ("buyer_comment", [5, 6])]
)
def test_a_byte_that_is_no_utf_8_harms_only_its_field(key: str, typed_ids: list[int]) -> None:
    """If gold counts with the field, the order is refused; the payload is text."""
    broken = json.dumps(order(**{key: "?"})).encode().replace(b'"?"', b'"\xff"')
    rows = [observe(ORDERS, broken, NOW), observe(ORDERS, json.dumps(order(id=6)).encode(), NOW)]
    assert [row.id for row in rows] == [5, 6]
    typed_rows = type_rows(ORDERS, rows, run_id="r")
    assert typed_rows.tables["bronze.orders"]["id"].to_pylist() == typed_ids
    payloads = [
        *typed_rows.rejected["payload"].to_pylist(),
        *typed_rows.tables["bronze.orders"]["payload"].to_pylist(),
    ]
    assert any('"\ufffd"' in payload for payload in payloads)
