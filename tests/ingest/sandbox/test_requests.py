"""Requests to the API: pages, limits, keys, filters, sorts, and refusals."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.sandbox import edits
from ingest.sandbox.answers import Desk
from ingest.sandbox.envelope import envelope
from ingest.sandbox.query import Query


async def test_envelope_of_a_page_in_the_middle(open_shop: Any) -> None:
    """A page in the middle has its numbers, neighbours and links, with the request's own parameters."""
    asker = await open_shop()
    body = await asker.get("/order", limit=7, page=3, include="buyer,status", filter_source_id="1,4")
    total, last = body["total"], -(-body["total"] // 7)
    assert (body["current_page"], body["per_page"], body["from"], body["to"]) == (3, 7, 15, 21)
    assert body["last_page"] == last
    kept = "limit=7&include=buyer%2Cstatus&filter%5Bsource_id%5D=1%2C4"
    assert body["path"] == f"{asker.shop.url}/order"
    assert body["first_page_url"] == f"{body['path']}?{kept}&page=1"
    assert body["prev_page_url"] == f"{body['path']}?{kept}&page=2"
    assert body["next_page_url"] == f"{body['path']}?{kept}&page=4"
    assert body["last_page_url"] == f"{body['path']}?{kept}&page={last}"
    labels = [link["label"] for link in body["links"]]
    assert labels[0] == "&laquo; Previous"
    assert labels[-1] == "Next &raquo;"
    assert [link["label"] for link in body["links"] if link["active"]] == ["3"]
    assert total == len(await asker.walk("/order", filter_source_id="1,4"))


@pytest.mark.parametrize(
    ("page", "labels"),
    [(1, "1 2 3 4 5 6 7 8 9 10 ... 49 50"), (25, "1 2 ... 22 23 24 25 26 27 28 ... 49 50"),
     (50, "1 2 ... 41 42 43 44 45 46 47 48 49 50")],
)  # fmt: skip
def test_links_leave_a_gap(page: int, labels: str) -> None:
    """The numbered links are the first pages, the last pages and the neighbours."""
    asked = Query(page=page, limit=1, sort="", include=(), filters={}, spans={})
    body = envelope([], 50, asked, path="/", parameters=[], last_page=True)
    assert " ".join(link["label"] for link in body["links"][1:-1]) == labels


async def test_limit(open_shop: Any) -> None:
    """The default limit is 15, a limit above 50 is cut to 50, and per_page has no effect."""
    asker = await open_shop()
    for asked, got in (({}, 15), ({"limit": 50}, 50), ({"limit": 200}, 50), ({"per_page": 40}, 15)):
        body = await asker.get("/order", **asked)
        assert (len(body["data"]), body["per_page"]) == (got, got)


async def test_past_the_end_is_an_empty_page(open_shop: Any) -> None:
    """A page past the end is answered 200 without rows."""
    asker = await open_shop()
    body = await asker.get("/order", page=9999)
    assert (body["data"], body["next_page_url"], body["from"], body["to"]) == ([], None, None, None)
    assert (await asker.get("/order", page=0))["current_page"] == 1


async def test_no_match_is_one_empty_page(open_shop: Any) -> None:
    """A filter without matches has a total of 0 and one page."""
    asker = await open_shop()
    body = await asker.get("/order", filter_source_uuid="нема")
    assert (body["total"], body["last_page"], body["data"]) == (0, 1, [])


@pytest.mark.parametrize("key", [None, "other"])
async def test_a_wrong_key_is_401(open_shop: Any, key: str | None) -> None:
    """With a wrong key, or without one, the answer is 401 without data."""
    asker = await open_shop()
    response = await asker.ask("/order", key=key)
    assert response.status == 401
    assert await response.json() == {"message": "Unauthenticated."}


@pytest.mark.parametrize(
    "path", ["/orders", "/order-status", "/order/999999", "/buyer/0", "/products/x", "/buyers", "/users/4"]
)
async def test_unknown_is_404(open_shop: Any, path: str) -> None:
    """Unknown routes and ids are answered 404 in JSON."""
    asker = await open_shop()
    status, body = await asker.refused(path)
    assert status == 404
    assert body["message"]


async def test_outside_v1_is_the_proxys_404(open_shop: Any) -> None:
    """Without /v1 the proxy answers in HTML."""
    asker = await open_shop()
    response = await asker.ask("/order", url=asker.shop.url.removesuffix("/v1"))
    assert (response.status, response.content_type) == (404, "text/html")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"filter_ordered_between": "2024-09-01,2024-09-02"}, "created_between"),
        ({"filter_updated_at": "2024-09-01"}, "updated_between"),
        ({"filter[updated_at][from]": "2024-09-01"}, "updated_between"),
        ({"filter_id": "5"}, "status_id"),
        ({"include": "source"}, "products.offer"),
        ({"include": "buyer,products.warehouse"}, "expenses"),
        ({"sort": "created_at"}, "updated_at"),
    ],
)
async def test_orders_refuse_what_they_do_not_know(open_shop: Any, asked: dict[str, str], named: str) -> None:
    """An unknown filter, include or sort of /order is 400, and the message names the allowed ones."""
    asker = await open_shop()
    status, body = await asker.refused("/order", **asked)
    assert status == 400
    assert named in body["message"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"page": "abc"}, "page"),
        ({"limit": "x"}, "limit"),
        ({"filter_created_between": "вчора,сьогодні"}, "filter.created_between"),
        ({"filter_updated_between": "2024-09-01"}, "filter.updated_between"),
        ({"filter_updated_between": "2024-13-01,2024-09-01"}, "filter.updated_between"),
        ({"filter_status_id": "new"}, "filter.status_id"),
        ({"filter_has_tracking_code": "maybe"}, "filter.has_tracking_code"),
    ],
)
async def test_malformed_values_are_422(open_shop: Any, asked: dict[str, str], field: str) -> None:
    """The errors name a value that is not valid."""
    asker = await open_shop()
    status, body = await asker.refused("/order", **asked)
    assert status == 422
    assert list(body["errors"]) == [field]
    assert body["message"]


KEYS = st.sampled_from(
    (
        *("page", "limit", "sort", "include", "filter[", "filter[]", "filter[a][b][c]", "filter[id]"),
        *("filter[status_id]", "filter[created_between]", "filter[updated_between]", "filter[buyer_phone]"),
        *("filter[updated_between][from]", "filter[updated_between][to]", "filter[shipping_between]"),
        *("filter[has_tracking_code]", "filter[is_archived]"),
    )
)
VALUES = st.one_of(
    st.text(max_size=12),
    st.integers(-5, 10**20).map(str),
    st.sampled_from(
        (
            *("2024-09-05,2024-09-02", "2024-09-01 00:00:00, 2024-09-03 00:00:00", "0001-01-01,9999-12-31"),
            *("2024-02-30", "²", "-id", "id", "updated_at,id", "-updated_at", "buyer,products.offer", "true"),
            *("12,22", ",", ""),
        )
    ),
)
PATHS = st.sampled_from(
    ("/order", "/order/5", "/buyer", "/products", "/users", "/offers/stocks", "/custom-fields")
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, asked=st.lists(st.tuples(KEYS, VALUES), max_size=4))
def test_any_query_is_answered_or_refused(sixty_days: Any, path: str, asked: list[tuple[str, str]]) -> None:
    """Any query is answered, or refused with a reason."""
    answer = Desk(sixty_days).answer(path, asked, base="")
    assert answer.status in (200, 400, 422)
    assert answer.status == 200 or (isinstance(answer.body, dict) and answer.body["message"])


async def test_lenient_routes(open_shop: Any) -> None:
    """Stocks and users ignore unknown filters; every route ignores other parameters."""
    asker = await open_shop()
    everything = (await asker.get("/offers/stocks"))["total"]
    assert (await asker.get("/offers/stocks", filter_warehouse_id="1", include="offer"))[
        "total"
    ] == everything
    assert "role" not in (await asker.get("/users", include="role"))["data"][0]
    assert (await asker.get("/order", created_at_min="2030-01-01"))["total"] > 0


async def test_only_reading_is_allowed(open_shop: Any) -> None:
    """The API refuses requests that write."""
    asker = await open_shop()
    headers = {"Authorization": "Bearer sandbox-key"}
    async with asker._session.post(asker.shop.url + "/order", headers=headers) as response:
        assert response.status == 405


async def test_ranges_are_inclusive_at_both_ends(open_shop: Any) -> None:
    """A range of one second contains the order of that second, in every format."""
    asker = await open_shop()
    order = asker.world.store.order(40)
    for name, at in (("created_between", order.created_at), ("updated_between", order.updated_at)):
        second = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
        for asked in (
            {f"filter_{name}": f"{second},{second}"},
            {f"filter_{name}": f"{second}, {second}"},
            {f"filter[{name}][from]": second, f"filter[{name}][to]": second},
        ):
            assert 40 in [row["id"] for row in (await asker.get("/order", **asked))["data"]]


async def test_every_filter_selects_what_it_says(open_shop: Any, sixty_days: Any) -> None:
    """Each filter equals the same condition on all rows."""
    asker = await open_shop(sixty_days)
    rows = await asker.walk("/order", include="buyer,shipping")
    span = "2024-09-20 10:00:00,2024-09-25 10:00:00"

    def within(row: Any, key: str) -> bool:
        return "2024-09-20T10:00:00" <= str(row[key])[:19] <= "2024-09-25T10:00:00"

    buyer = next(
        row["buyer"] for row in rows if row["buyer"] and row["buyer"]["phone"] and row["buyer"]["email"]
    )
    number = next(row["source_uuid"] for row in rows if row["source_uuid"])
    cases: dict[str, tuple[str, Callable[[Any], object]]] = {
        "status_id": ("12,22", lambda row: row["status_id"] in (12, 22)),
        "source_id": ("3", lambda row: row["source_id"] == 3),
        "source_uuid": (number, lambda row: row["source_uuid"] == number),
        "created_between": (span, lambda row: within(row, "created_at")),
        "updated_between": (span, lambda row: within(row, "updated_at")),
        "payment_status": (
            "part_paid,overpaid",
            lambda row: row["payment_status"] in ("part_paid", "overpaid"),
        ),
        "has_tracking_code": ("false", lambda row: row["shipping"]["tracking_code"] is None),
        "buyer_phone": (buyer["phone"], lambda row: row["buyer"] and row["buyer"]["phone"] == buyer["phone"]),
        "buyer_email": (buyer["email"], lambda row: row["buyer"] and row["buyer"]["email"] == buyer["email"]),
    }
    for name, (value, holds) in cases.items():
        found = await asker.walk("/order", **{f"filter_{name}": value})
        assert [row["id"] for row in found] == [row["id"] for row in rows if holds(row)], name
        assert found, name
    both = await asker.walk("/order", filter_status_id="12", filter_created_between=span, sort="id")
    assert [row["id"] for row in both] == [
        row["id"] for row in reversed(rows) if row["status_id"] == 12 and within(row, "created_at")
    ]


async def test_shipping_between(open_shop: Any) -> None:
    """A filter selects orders by the time of shipping."""
    asker = await open_shop()
    found = await asker.walk("/order", filter_shipping_between="2024-09-03 00:00:00,2024-09-04 00:00:00")
    left = {order.id for order in asker.world.store.orders if 1725321600 <= order.shipped_at <= 1725408000}
    assert {row["id"] for row in found} == left
    assert left


async def test_phone_matches_every_number_of_a_card(open_shop: Any) -> None:
    """Any complete phone of the card finds the order, with any grouping of its digits."""
    asker = await open_shop()
    buyer_id = edits.apply(
        asker.world, edits.AddBuyer("Оля", phones=("+38 (000) 111-22-33", "+380001112244"))
    )
    order_id = edits.apply(asker.world, edits.AddOrder(buyer_id=buyer_id))
    for phone in ("+380001112233", "380001112244", "+38 000 111 22 44", "1,+380001112233"):
        rows = (await asker.get("/order", filter_buyer_phone=phone))["data"]
        assert [row["id"] for row in rows] == [order_id]
    assert (await asker.get("/order", filter_buyer_phone="0001112233"))["total"] == 0


async def test_filters_of_the_other_lists(open_shop: Any) -> None:
    """Each filter of buyers, products, categories, users, offers and stocks selects its rows."""
    asker = await open_shop()
    buyer = (await asker.get("/buyer", filter_buyer_id="3,5,99999"))["data"]
    assert [row["id"] for row in buyer] == [3, 5]
    stamp = buyer[0]["created_at"][:19].replace("T", " ")
    assert 3 in [
        row["id"] for row in (await asker.get("/buyer", filter_created_between=f"{stamp},{stamp}"))["data"]
    ]
    later = await asker.walk("/buyer", filter_updated_between="2024-09-10 00:00:00,2024-09-30 00:00:00")
    assert all(row["updated_at"] >= "2024-09-10" for row in later)
    assert later
    assert [row["id"] for row in (await asker.get("/products", filter_product_id="7,8"))["data"]] == [7, 8]
    shelf = await asker.walk("/products", filter_category_id="3")
    assert {row["category_id"] for row in shelf} == {3}
    face = await asker.walk("/products/categories", filter_parent_id="100")
    assert {row["parent_id"] for row in face} == {100}
    assert [row["id"] for row in (await asker.get("/users", filter_id="4,22"))["data"]] == [4, 22]
    assert {row["status"] for row in (await asker.get("/users", filter_status="active"))["data"]} == {
        "active"
    }
    offers = (await asker.get("/offers", filter_product_id="1,2", sort="-id"))["data"]
    assert [row["product_id"] for row in offers] == sorted(
        (row["product_id"] for row in offers), reverse=True
    )
    sku = offers[0]["sku"]
    assert [row["sku"] for row in (await asker.get("/offers/stocks", filter_offers_sku=sku))["data"]] == [sku]
    by_id = await asker.get("/offers/stocks", filter_offers_id="1,2,3")
    assert [row["id"] for row in by_id["data"]] == [1, 2, 3]


async def test_the_newest_order_comes_first(open_shop: Any) -> None:
    """Without sort, ids descend; ``sort=id`` reverses them; reference lists ascend."""
    asker = await open_shop()
    newest = [row["id"] for row in await asker.walk("/order")]
    assert newest == sorted(newest, reverse=True)
    assert [row["id"] for row in await asker.walk("/order", sort="id")] == newest[::-1]
    statuses = [row["id"] for row in (await asker.get("/order/status", sort="-id", limit=50))["data"]]
    assert statuses == sorted(statuses, reverse=True)


async def test_ties_of_updated_at_change_places(open_shop: Any) -> None:
    """Orders with the same second change places between two requests, and each is on the page once."""
    asker = await open_shop(days=3)
    for _ in range(30):
        edits.apply(asker.world, edits.AddOrder())
    pages = []
    for _ in range(8):
        rows = (await asker.get("/order", sort="-updated_at", limit=50))["data"]
        stamps = [row["updated_at"] for row in rows]
        assert stamps == sorted(stamps, reverse=True)
        pages.append([row["id"] for row in rows[:30]])
    assert len({frozenset(ids) for ids in pages}) == 1
    assert len({tuple(ids) for ids in pages}) > 1


async def test_a_second_sort_key_is_ignored(open_shop: Any) -> None:
    """``sort=updated_at,id`` is accepted, but ties still change places."""
    asker = await open_shop(days=1)
    for _ in range(30):
        edits.apply(asker.world, edits.AddOrder())
    pages = [
        [row["id"] for row in (await asker.get("/order", sort="updated_at,id", limit=50, page=2))["data"]]
        for _ in range(6)
    ]
    assert len({tuple(ids) for ids in pages}) > 1


async def test_pages_shift_while_orders_change(open_shop: Any) -> None:
    """If the newest come first, a new order moves a known one to the next page; deletions hide others."""
    asker = await open_shop()
    first = [row["id"] for row in (await asker.get("/order", limit=10))["data"]]
    edits.apply(asker.world, edits.AddOrder())
    second = [row["id"] for row in (await asker.get("/order", limit=10, page=2))["data"]]
    assert second[0] == first[-1]
    edits.apply(asker.world, edits.DeleteOrder(first[0]))
    edits.apply(asker.world, edits.DeleteOrder(first[1]))
    third = [row["id"] for row in (await asker.get("/order", limit=10, page=3))["data"]]
    assert third[0] == second[-1] - 3  # no page had the two orders between


async def test_every_answer_has_the_shops_time(open_shop: Any) -> None:
    """The Date header is the shop's time, also on errors."""
    asker = await open_shop(days=2)
    for path in ("/order", "/order/999999", "/nowhere"):
        response = await asker.ask(path)
        assert response.headers["Date"] == "Mon, 02 Sep 2024 21:00:00 GMT"
