"""The control interface over HTTP: time, edits, truth, counts and faults."""

from typing import Any

import pytest


@pytest.fixture
async def asker(open_shop: Any) -> Any:
    """Return a shop with a short history for each test."""
    return await open_shop(days=4)


async def test_time(asker: Any) -> None:
    """The clock can be read, advanced by a step and advanced to a time."""
    assert (await asker.direct("GET", "/clock"))[1]["now"] == "2024-09-04T21:00:00Z"
    assert (await asker.direct("POST", "/advance", {"days": 1, "seconds": 60}))[1][
        "now"
    ] == "2024-09-05T21:01:00Z"
    status, body = await asker.direct("POST", "/advance", {"to": "2024-09-08T00:00:00Z"})
    assert (status, body["now"]) == (200, "2024-09-08T00:00:00Z")
    assert (await asker.get("/order"))["total"] == body["orders"]


async def test_edits(asker: Any) -> None:
    """One edit or several are applied in their order."""
    status, body = await asker.direct(
        "POST", "/edit", {"edit": "add_order", "manager_id": 15, "lines": [{"price": "12.50", "quantity": 2}]}
    )
    id = body["ids"][0]
    assert (status, (await asker.get(f"/order/{id}"))["grand_total"]) == (200, 25)
    several = [
        {"edit": "set_status", "order_id": id, "status_id": 22, "bump": False},
        {"edit": "add_expense", "order_id": id, "amount": 7.5},
    ]
    assert (await asker.direct("POST", "/edit", several))[0] == 200
    row = await asker.get(f"/order/{id}")
    assert (row["status_id"], row["expenses_sum"]) == (22, 7.5)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/edit", {"edit": "explode"}),
        ("/edit", {"edit": "set_status", "order_id": 1}),
        ("/edit", {"edit": "set_status", "order_id": 999_999, "status_id": 12}),
        ("/edit", {"edit": "delete_order", "order_id": 1, "really": True}),
        ("/advance", {"weeks": 1}),
        ("/faults", {"kind": "gremlins"}),
    ],
)
async def test_wrong_requests_are_explained(asker: Any, path: str, body: object) -> None:
    """A wrong request is answered 400 with the reason."""
    status, answer = await asker.direct("POST", path, body)
    assert status == 400
    assert answer["message"]


async def test_truth(asker: Any) -> None:
    """The truth over HTTP equals the world's."""
    _, body = await asker.direct("GET", "/truth")
    assert len(body["orders"]) == len(asker.world.store.orders)
    assert set(body) == {
        "now", "orders", "products", "buyers", "managers", "categories", "sources", "statuses",
        "expense_types",
    }  # fmt: skip


async def test_counts(asker: Any) -> None:
    """Requests to the API are counted, and those to the control interface are not."""
    for path in ("/order", "/order", "/buyer", "/nowhere"):
        await asker.ask(path)
    _, counts = await asker.direct("GET", "/requests")
    assert counts["by_path"] == {"/order": 2, "/buyer": 1, "/nowhere": 1}
    assert (counts["requests"], counts["by_status"]) == (4, {"200": 3, "404": 1})
    _, counts = await asker.direct("DELETE", "/requests")
    assert (counts["requests"], counts["most_in_a_minute"]) == (0, 0)


async def test_faults(asker: Any) -> None:
    """Faults can be planned, listed with the number of requests that they matched, and cleared."""
    planned = [{"kind": "status", "path": "/order", "times": 0}, {"kind": "null", "field": "name"}]
    assert (await asker.direct("POST", "/faults", planned))[0] == 200
    assert (await asker.ask("/order")).status == 503
    _, listed = await asker.direct("GET", "/faults")
    assert [each["met"] for each in listed] == [1, 1]
    assert (await asker.direct("DELETE", "/faults"))[1] == []
    assert (await asker.ask("/order")).status == 200
