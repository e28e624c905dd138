"""Each planned fault has its effect on the request that it matches, and on no other."""

import json
from typing import Any

import aiohttp
import pytest

from ingest.sandbox.faults import Fault, Plan


def test_a_fault_strikes_the_nth_request_so_many_times() -> None:
    """A fault counts only the requests that match its path and page."""
    plan = Plan()
    plan.add(Fault(kind="status", path="/order", page=2, nth=2, times=2))
    struck = [bool(plan.strike("/order", page)) for page in (1, 2, 2, 3, 2, 2)]
    assert struck == [False, False, True, False, True, False]
    assert [met for _, met in plan.listed()] == [4]


def test_a_path_may_be_a_beginning() -> None:
    """A final star matches every continuation, an empty path matches all, and 0 times means always."""
    plan = Plan()
    plan.add(Fault(kind="reset", path="/order/*", times=0))
    plan.add(Fault(kind="delay", times=0))
    assert [len(plan.strike(path, None)) for path in ("/order", "/order/5", "/order/status", "/buyer")] == [
        1,
        2,
        2,
        1,
    ]
    plan.clear()
    assert plan.strike("/order/5", None) == []


async def planned(open_shop: Any, **fault: Any) -> Any:
    """Return a shop with one fault planned."""
    asker = await open_shop(days=4)
    asker.shop.shop.plan.add(Fault(**fault))
    return asker


async def test_the_next_request_is_right_again(open_shop: Any) -> None:
    """After its requests a fault ends."""
    asker = await planned(open_shop, kind="status", path="/order", status=502)
    response = await asker.ask("/order")
    assert (response.status, response.content_type) == (502, "text/html")
    assert (await asker.ask("/order")).status == 200
    assert asker.shop.shop.tally.counts().by_status == {502: 1, 200: 1}


@pytest.mark.parametrize(("seconds", "header"), [(0.0, None), (7.0, "7")])
async def test_refuse(open_shop: Any, seconds: float, header: str | None) -> None:
    """A refusal is 429, and has Retry-After only if the fault has seconds."""
    asker = await planned(open_shop, kind="refuse", seconds=seconds)
    response = await asker.ask("/order")
    assert (response.status, response.headers.get("Retry-After")) == (429, header)


@pytest.mark.parametrize("kind", ["reset", "stall", "cut"])
async def test_broken_connections(open_shop: Any, kind: Any) -> None:
    """A broken connection is an error for the client, and the next request is answered."""
    asker = await planned(open_shop, kind=kind, seconds=0.01, times=1 if kind == "cut" else 2)
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await asker.ask("/order")
    assert (await asker.ask("/order")).status == 200


async def test_a_stall_ends_with_the_shop(open_shop: Any) -> None:
    """The server does not wait for a client that has disconnected."""
    asker = await planned(open_shop, kind="stall", seconds=3600.0)
    timeout = aiohttp.ClientTimeout(total=0.05)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with pytest.raises(TimeoutError):
            await session.get(asker.shop.url + "/order", headers={"Authorization": "Bearer sandbox-key"})


@pytest.mark.parametrize("kind", ["truncated", "invalid_json"])
async def test_bodies_that_are_no_json(open_shop: Any, kind: Any) -> None:
    """The body is complete for HTTP and invalid as JSON."""
    asker = await planned(open_shop, kind=kind)
    response = await asker.ask("/order")
    assert (response.status, response.content_type) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(await response.text())


async def test_html_with_200(open_shop: Any) -> None:
    """The answer is a web page with status 200."""
    asker = await planned(open_shop, kind="html")
    response = await asker.ask("/order")
    assert (response.status, response.content_type) == (200, "text/html")


async def test_delay_answers_rightly(open_shop: Any) -> None:
    """A delayed answer is correct."""
    asker = await planned(open_shop, kind="delay", seconds=0.01)
    assert (await asker.get("/order"))["data"]


async def test_repeated_page(open_shop: Any) -> None:
    """The rows are those of the previous page, and the envelope is correct."""
    asker = await planned(open_shop, kind="repeat_page", path="/order", page=3)
    second = await asker.get("/order", page=2)
    third = await asker.get("/order", page=3)
    assert (third["data"], third["current_page"]) == (second["data"], 3)


async def test_rows_go_missing_or_come_twice(open_shop: Any) -> None:
    """A page can be empty, lack a row or repeat rows, and the envelope does not change."""
    asker = await open_shop(days=4)
    right = await asker.get("/order")
    ids = [row["id"] for row in right["data"]]
    for fault, expected in (
        (Fault(kind="empty_page"), []),
        (Fault(kind="drop_row", row=1), [ids[0], *ids[2:]]),
        (Fault(kind="duplicate_rows", row=1), [*ids, ids[1]]),
        (Fault(kind="duplicate_rows", row=-1), ids + ids),
    ):
        asker.shop.shop.plan.add(fault)
        body = await asker.get("/order")
        assert [row["id"] for row in body["data"]] == expected
        assert body["total"] == right["total"]


async def test_a_changed_total(open_shop: Any) -> None:
    """The number of rows in the envelope can be wrong."""
    asker = await planned(open_shop, kind="total", delta=-3)
    wrong = (await asker.get("/order"))["total"]
    assert wrong == (await asker.get("/order"))["total"] - 3


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "wrong_type", "field": "grand_total"}, {"unexpected": True}),
        ({"kind": "wrong_type", "field": "grand_total", "value": "багато"}, "багато"),
        ({"kind": "null", "field": "grand_total"}, None),
        ({"kind": "emoji", "field": "grand_total"}, "💄 Крем\u200f «Роса» 👩🏽‍🦰\u202e"),
        ({"kind": "nul", "field": "grand_total"}, "Крем\u0000Роса"),
        ({"kind": "long", "field": "grand_total"}, "Ж" * 100_000),
    ],
)
async def test_a_field_is_changed(open_shop: Any, fault: dict[str, Any], expected: object) -> None:
    """A fault changes one field of one row."""
    asker = await open_shop(days=4)
    right = (await asker.get("/order"))["data"]
    asker.shop.shop.plan.add(Fault(row=2, **fault))
    wrong = (await asker.get("/order"))["data"]
    assert wrong[2]["grand_total"] == expected
    assert wrong[:2] + wrong[3:] == right[:2] + right[3:]
    assert {**wrong[2], "grand_total": right[2]["grand_total"]} == right[2]


async def test_a_field_of_a_relation_is_changed(open_shop: Any) -> None:
    """A fault can change a field in a relation, and in each element of a list."""
    asker = await open_shop(days=4)
    asker.shop.shop.plan.add(Fault(kind="null", field="products.price", row=-1))
    rows = (await asker.get("/order", include="products"))["data"]
    assert {line["price"] for row in rows for line in row["products"]} == {None}
    asker.shop.shop.plan.add(Fault(kind="missing", field="products", path="/order/7"))
    assert "products" not in await asker.get("/order/7", include="products")


async def test_unknown_fields(open_shop: Any) -> None:
    """A fault can add unknown fields."""
    asker = await planned(open_shop, kind="extra", row=0)
    assert "zz_new_field" in (await asker.get("/buyer"))["data"][0]


async def test_date_header_is_wrong_or_missing(open_shop: Any) -> None:
    """The Date header can be wrong or missing."""
    asker = await planned(open_shop, kind="skew", seconds=-3600.0)
    asker.shop.shop.plan.add(Fault(kind="no_date", nth=2))
    assert (await asker.ask("/order")).headers["Date"] == "Wed, 04 Sep 2024 20:00:00 GMT"
    assert "Date" not in (await asker.ask("/order")).headers
    assert (await asker.ask("/order")).headers["Date"] == "Wed, 04 Sep 2024 21:00:00 GMT"
