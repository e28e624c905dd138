"""Leniency: odd values are read by their plain meaning, and cost no more than their field."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ingest.entities import BUYERS, ENTITIES, OFFERS, ORDERS, PRODUCTS, STATUSES, Entity
from ingest.lenient import is_counted
from ingest.observations import observe
from ingest.schemas import LISTS
from ingest.typed_rows import TypedRows, type_rows
from tests.ingest.test_observations import NOW, line, order, typed

ORDER, LINES, EXPENSES = "bronze.orders", "bronze.order_products", "bronze.expenses"
ODD_VALUES: tuple[Any, ...] = (
    *(0, "", "?", True, -1e300, 2**70, "0000-00-00"),
    *([], [None], {}, {"0": None}, {"a": []}),
)
EXPENSE = {"id": 1, "expense_type_id": 2, "amount": 5}


def only(rows: TypedRows, table: str = ORDER) -> dict[str, Any]:
    """Return the one row of a table."""
    assert rows.rejected.to_pylist() == []
    (row,) = rows.tables[table].to_pylist()
    return dict(row)


def odd(rows: TypedRows) -> dict[str, bool]:
    """Return the odd fields, and whether each is read."""
    return {row["field"]: row["is_read"] for row in rows.odd_fields.to_pylist()}


@pytest.mark.parametrize(
    ("field", "value", "meaning"),
    [
        ("is_gift", 0, False),
        ("is_gift", 1.0, True),
        ("is_gift", "1", True),
        ("is_gift", "TRUE", True),
        ("is_gift", "", None),
        ("source_uuid", 20041, "20041"),
        ("source_uuid", 20041.50, "20041.5"),
        ("promocode", [], None),
        ("promocode", {}, None),
        ("status_changed_at", "", None),
        ("closed_at", [], None),
        ("parent_id", 7.0, 7),
        ("parent_id", "", None),
        ("shipping_price", "", None),
        ("promocode", "a\ud800b", "a\ufffdb"),
    ],
)
def test_an_odd_value_is_read_by_its_plain_meaning(field: str, value: Any, meaning: Any) -> None:
    """The value is in its column, and the field is named as odd."""
    rows = type_rows(ORDERS, [observe(ORDERS, json.dumps(order(**{field: value})).encode(), NOW)], run_id="r")
    assert only(rows)[field] == meaning
    assert odd(rows) == {field: True}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("closed_at", "-0001-11-30T00:00:00.000000Z"),
        ("closed_at", "0000-00-00 00:00:00"),
        ("closed_at", "0000-00-00"),
        ("closed_at", "tomorrow"),
        ("closed_at", 1772660832),
        ("closed_at", False),
        ("closed_at", "9999-12-31T23:00:00-12:00"),
        ("is_gift", "perhaps"),
        ("is_gift", 2),
        ("promocode", {"a": 1}),
        ("promocode", True),
        ("shipping_price", "12 грн"),
        ("shipping_price", 1e30),
        ("shipping_price", True),
        ("discount_percent", 123456789),
        ("parent_id", 10**20),
        ("parent_id", "7a"),
        ("client_id", []),
    ],
)
def test_an_unreadable_value_is_null_and_the_order_counts(field: str, value: Any) -> None:
    """The other fields are those of the documented order."""
    rows = typed(ORDERS, order(**{field: value}))
    fine = only(typed(ORDERS, order(**{field: None})))
    same = only(rows).keys() - {"payload", "payload_hash"}
    assert {name: only(rows)[name] for name in same} == {name: fine[name] for name in same}
    assert json.loads(only(rows)["payload"]) == order(**{field: value})
    assert odd(rows) == {field: field == "client_id"}


@pytest.mark.parametrize("value", ["x", 22, False, [1], {"id": "x"}, {"name": "only"}])
def test_an_included_object_of_the_wrong_kind_is_null(value: Any) -> None:
    """The order has no manager then, and counts."""
    rows = typed(ORDERS, order(manager=value))
    assert only(rows)["manager_id"] is None
    assert odd(rows) == ({} if value == [1] else {"manager": False})


def test_ids_may_be_texts_wherever_they_are() -> None:
    """Ids in lists and included objects too; a number written as a text is not odd."""
    value = order(
        id="1204",
        source_id="4",
        status_id="12",
        client_id=None,
        buyer={"id": "3"},
        manager={"id": "22"},
        products=[line(id="1", offer={"id": "9", "product_id": "7"})],
        expenses=[{"id": "1", "expense_type_id": "2", "amount": "5"}],
    )
    rows = typed(ORDERS, value)
    row, sold, cost = only(rows), only(rows, LINES), only(rows, EXPENSES)
    assert [row[name] for name in ("id", "source_id", "status_id", "buyer_id", "manager_id")] == [
        1204,
        4,
        12,
        3,
        22,
    ]
    assert (sold["order_id"], sold["offer_id"], sold["product_id"]) == (1204, 9, 7)
    assert (cost["order_id"], cost["expense_type_id"], cost["amount"]) == (1204, 2, Decimal(5))
    assert odd(rows) == {}
    assert observe(ORDERS, json.dumps(value).encode(), NOW).id == 1204


def test_lists_with_gaps_that_php_sends_as_objects_are_lists() -> None:
    """The elements have their positions in order, and today's stock of an offer is no change."""
    parts = {"0": line(), "2": line(id=2, upsale=1)}
    value = order(products=parts, expenses={"1": EXPENSE})
    rows = typed(ORDERS, value)
    assert [(row["id"], row["position"]) for row in rows.tables[LINES].to_pylist()] == [(1, 1), (2, 2)]
    assert only(rows, EXPENSES)["amount"] == Decimal(5)
    assert odd(rows) == {"expenses": True, "products": True, "products.upsale": True}
    before = observe(ORDERS, json.dumps(value).encode(), NOW).hash
    parts["0"]["offer"] = {"id": 9, "product_id": 7, "quantity": 1}
    assert observe(ORDERS, json.dumps(value).encode(), NOW).hash == before


@pytest.mark.parametrize(
    ("entity", "value", "field", "meaning", "is_read"),
    [
        (STATUSES, {"id": 5, "name": "new", "is_active": 1}, "is_active", True, True),
        (STATUSES, {"id": "5", "name": 7}, "name", "7", True),
        (STATUSES, {"id": 5, "created_at": "0000-00-00"}, "created_at", None, False),
        (BUYERS, {"id": 5, "phone": [380501112233, None]}, "phone", ["380501112233"], True),
        (BUYERS, {"id": 5, "phone": 380501112233}, "phone", ["380501112233"], True),
        (BUYERS, {"id": 5, "email": {"0": "a@x", "2": "b@x"}}, "email", ["a@x", "b@x"], True),
        (BUYERS, {"id": 5, "email": {"a": {}}}, "email", [], False),
        (PRODUCTS, {"id": 5, "name": None}, "name", "", False),
        (PRODUCTS, {"id": 5, "name": 505}, "name", "505", True),
        (PRODUCTS, {"id": 5, "name": "x", "custom_fields": ""}, "custom_fields", "[]", True),
        (PRODUCTS, {"id": 5, "name": "x", "price": "?"}, "price", None, False),
        (OFFERS, {"id": 5, "is_archived": "0"}, "is_archived", False, True),
    ],
)
def test_the_lists_are_lenient_too(
    entity: Entity, value: Any, field: str, meaning: Any, is_read: bool
) -> None:
    """An odd field of a status, a card or a product costs only itself."""
    rows = typed(entity, value)
    assert only(rows, entity.table)[field] == meaning
    assert odd(rows) == {field: is_read}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status_group_id": "six"}, "status_group_id: expected an integer"),
        ({"products": [line(price_sold="?")]}, "products.price_sold: "),
        ({"products": [line(quantity={})]}, "products.quantity: "),
        ({"products": [line(), "?"]}, "products is a text"),
        ({"products": None}, "products is null"),
        ({"products": "?"}, "products is a text"),
        ({"grand_total": "1_000"}, "grand_total: expected a number, got a text"),
        ({"grand_total": "١٢"}, "grand_total: expected a number, got a text"),
        ({"products": [line(price="1_0")]}, "products.price: expected a number"),
        ({"products": [line(quantity="２")]}, "products.quantity: expected a number"),
        ({"products": {"first": line()}}, "products is an object"),
        ({"created_at": "0000-00-00 00:00:00"}, "created_at: "),
        ({"source_id": 4.5, "is_gift": 0}, "source_id: expected an integer"),
        ({"status_id": False}, "status_id: expected an integer"),
        ({"grand_total": 2.555, "closed_at": "?"}, "grand_total is 2.555: finer than a kopeck"),
    ],
)
def test_a_field_that_gold_counts_with_is_strict(change: dict[str, Any], reason: str) -> None:
    """The order is refused, the reason names the field, and no odd field of it is noted."""
    rows = typed(ORDERS, order(**change), order(id=6))
    (refused,) = rows.rejected.to_pylist()
    assert refused["reason"].startswith(reason), refused["reason"]
    assert rows.tables[ORDER]["id"].to_pylist() == [6]
    assert rows.odd_fields.num_rows == 0


NO_IDS: tuple[Any, ...] = (None, "x", [], 2**64)
NO_AMOUNTS: tuple[Any, ...] = (None, "", "12,50", "abc", 1e14, "1_0", {})


@pytest.mark.parametrize(
    ("expenses", "amounts", "field"),
    [
        *(([EXPENSE, {**EXPENSE, "id": value}], [5], "expenses.id") for value in NO_IDS),
        *(([{**EXPENSE, "expense_type_id": value}], [], "expenses.expense_type_id") for value in NO_IDS),
        *(([{**EXPENSE, "amount": value}, EXPENSE], [5], "expenses.amount") for value in NO_AMOUNTS),
        ([{"id": 1, "amount": 5}, EXPENSE], [5], "expenses.expense_type_id"),
        ([EXPENSE, "?", 7, []], [5], "expenses"),
        ({"a": EXPENSE}, [], "expenses"),
        (None, [], "expenses"),
        ("", [], "expenses"),
        ("none", [], "expenses"),
    ],
)
def test_an_odd_expense_costs_only_itself(expenses: Any, amounts: list[int], field: str) -> None:
    """The order counts with its other expenses, and the field is named."""
    rows = typed(ORDERS, order(expenses=expenses))
    assert only(rows)["grand_total"] == 19
    assert rows.tables[EXPENSES]["amount"].to_pylist() == amounts
    assert odd(rows) == {field: False}


def test_an_order_without_the_key_of_its_expenses_counts() -> None:
    """The key is always requested, so its absence is odd."""
    value = order()
    del value["expenses"]
    assert odd(typed(ORDERS, value)) == {"expenses": False}


def test_nulls_in_a_list_are_left_out() -> None:
    """The other elements are lines and expenses as ever."""
    rows = typed(ORDERS, order(products=[None, line(), None], expenses=[EXPENSE, None]))
    assert (only(rows, LINES)["position"], only(rows, EXPENSES)["position"]) == (1, 1)
    assert odd(rows) == {"expenses": True, "products": True}


@pytest.mark.parametrize("cost", ["12,50", "abc", True, 1e14, "1_0", [1], -(10**20)])
def test_an_odd_cost_of_a_line_is_null(cost: Any) -> None:
    """Revenue needs no cost."""
    rows = typed(ORDERS, order(products=[line(purchased_price=cost)]))
    assert only(rows, LINES)["purchased_price"] is None
    assert odd(rows) == {"products.purchased_price": False}


@pytest.mark.parametrize(
    "field",
    ["closed_at", "is_gift", "buyer", "manager", "promocode", "client_id", "parent_id", "source_uuid"],
)
@pytest.mark.parametrize("value", [b"1" + b"0" * 4400, b"1e99999999999999999999", b"[" * 900 + b"]" * 900])
def test_an_absurd_value_of_a_lenient_field_costs_only_itself(field: str, value: bytes) -> None:
    """A number that no decoder has, and deep nesting, are unreadable; in a field of text a number is text."""
    body = json.dumps(order(**{field: "@"})).encode().replace(b'"@"', value)
    rows = type_rows(ORDERS, [observe(ORDERS, body, NOW)], run_id="r")
    assert only(rows)["grand_total"] == 19
    is_text = field in ("promocode", "source_uuid") and value[:1] == b"1"
    is_documented = field in ("buyer", "manager") and value[:1] == b"["  # PHP writes an empty object so
    assert odd(rows) == ({} if is_documented else {field: is_text})


@pytest.mark.parametrize("text", ["1_000", "١٢", "1__0", "_1", "１"])
def test_numbers_are_those_of_json(text: str) -> None:
    """An amount that no total needs is null, in orders and lists, also if the digits are escaped."""
    for ascii_only in (True, False):
        for entity, value in ((ORDERS, order(taxes=text)), (PRODUCTS, {"id": 5, "price": text})):
            body = json.dumps(value, ensure_ascii=ascii_only).encode()
            rows = type_rows(entity, [observe(entity, body, NOW)], run_id="r")
            field = "taxes" if entity is ORDERS else "price"
            assert only(rows, entity.table)[field] is None
            assert odd(rows) == {field: False}


@pytest.mark.parametrize("text", [" 7 ", "+7", "7.0", "7.", "70e-1", "007"])
def test_texts_that_are_plain_numbers_count(text: str) -> None:
    """The CRM writes amounts as texts."""
    rows = typed(ORDERS, order(grand_total=text))
    assert (only(rows)["grand_total"], odd(rows)) == (7, {})


def test_an_offer_without_a_readable_stock_is_refused() -> None:
    """Gold counts stock and cost, so the last accepted state of the offer stays."""
    for field in ("quantity", "in_reserve", "purchased_price"):
        assert typed(OFFERS, {"id": 5, field: "many"}).rejected.num_rows == 1


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
def test_any_one_odd_field_of_any_entity_costs_only_itself(entity: Entity) -> None:
    """Whatever value a lenient field has, the object makes a row with its other fields as they were."""
    fine = order() if entity is ORDERS else {"id": 5, "name": "x"}
    expected = only(typed(entity, fine), entity.table)
    for field in msgspec.structs.fields(entity.kind):
        if field.required or is_counted(field.type):
            continue
        for value in ODD_VALUES:
            row = only(typed(entity, {**fine, field.encode_name: value}), entity.table)
            changed = {name for name in expected if row[name] != expected[name]}
            assert changed <= {field.encode_name, "payload", "payload_hash", *columns_of(entity, field.name)}


def columns_of(entity: Entity, field: str) -> set[str]:
    """Return the columns that a field of the entity fills."""
    paths = LISTS[entity.table].paths
    return {name for name, places in paths.items() if field in {place.split(".")[0] for place in places}}


def test_the_columns_of_an_odd_order_follow_from_its_payload_alone() -> None:
    """Neighbours in the batch, documented or not, change nothing."""
    odds = [order(id=number, is_gift=number % 2, closed_at="0000-00-00") for number in (7, 8)]
    together = typed(ORDERS, order(id=6), *odds, order(id=9, grand_total=None)).tables[ORDER].to_pylist()
    alone = [only(typed(ORDERS, value)) for value in (order(id=6), *odds)]
    assert together == alone
    assert alone[1]["ordered_at"] == datetime(2026, 3, 4, 21, 47, 12, tzinfo=UTC)
