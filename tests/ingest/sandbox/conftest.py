"""Sandbox shops for the tests, and the official schema that their answers are checked against."""

import re
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from ingest.sandbox.command import lived
from ingest.sandbox.running import RunningShop, start
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.world import World

KEY = "sandbox-key"
QUIET = Sandbox(port=0, days=12, day_seconds=0, requests_per_minute=0)


class Asker:
    """Sends requests to one running shop, through its API and its control interface."""

    def __init__(self, shop: RunningShop, session: aiohttp.ClientSession) -> None:
        self.shop = shop
        self.world = shop.world
        self._session = session

    async def ask(
        self, path: str, *, key: str | None = KEY, url: str = "", **parameters: Any
    ) -> aiohttp.ClientResponse:
        """Return the response to GET ``path``; ``filter_x`` stands for ``filter[x]``."""
        query = {
            re.sub(r"^filter_(.*)$", r"filter[\1]", name): str(value) for name, value in parameters.items()
        }
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self._session.get(
            (url or self.shop.url) + path, params=query, headers=headers
        ) as response:
            await response.read()
            return response

    async def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON of a GET that succeeds."""
        response = await self.ask(path, **parameters)
        assert response.status == 200, await response.text()
        return await response.json()

    async def refused(self, path: str, **parameters: Any) -> tuple[int, Any]:
        """Return the status and JSON of a GET that fails."""
        response = await self.ask(path, **parameters)
        assert response.status >= 400
        return response.status, await response.json()

    async def direct(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request to the control interface."""
        url = self.shop.url.removesuffix("/v1") + "/control" + path
        async with self._session.request(method, url, json=body) as response:
            return response.status, await response.json()

    async def walk(self, path: str, **parameters: Any) -> list[Any]:
        """Return every row of a list, page by page."""
        rows: list[Any] = []
        page = 1
        while found := (await self.get(path, limit=50, page=page, **parameters))["data"]:
            rows += found
            page += 1
        return rows


OpenShop = Callable[..., Awaitable[Asker]]


@pytest.fixture(scope="session")
def two_years() -> World:
    """Return a world with two years of history; tests must not change it."""
    return lived(Sandbox())


@pytest.fixture(scope="session")
def sixty_days() -> World:
    """Return a world with sixty days of history; tests must not change it."""
    return lived(replace(QUIET, days=60))


@pytest.fixture
async def open_shop() -> AsyncIterator[OpenShop]:
    """Start shops: a short history by default, other settings, or a given world."""
    async with AsyncExitStack() as stack:

        async def opened(
            world: World | None = None, *, real_clock: Callable[[], float] | None = None, **chosen: Any
        ) -> Asker:
            world = world or lived(replace(QUIET, **chosen))
            clock = {"real_clock": real_clock} if real_clock else {}
            shop = await start(world, replace(world.settings, port=0), api_key=KEY, **clock)
            stack.push_async_callback(shop.stop)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Asker(shop, session)

        yield opened


_SIMPLE: dict[str, dict[str, Any]] = {
    "any": {},
    "stamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000000Z$"},
    "plain": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"},
    "date": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
    "decimal": {"type": "string", "pattern": r"^-?\d+\.\d\d$"},
    "money": {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?\d+\.\d\d$"}]},
    "payment_status": {"enum": ["not_paid", "part_paid", "paid", "overpaid"]},
    "expense_status": {"enum": ["paid", "not_paid", "canceled"]},
}


def _type(text: str) -> dict[str, Any]:
    """Return the JSON Schema of one type in ``official.toml``."""
    if text.endswith("?"):
        return {"anyOf": [_type(text[:-1]), {"type": "null"}]}
    if "|" in text:
        return {"anyOf": [_type(part) for part in text.split("|")]}
    if text.startswith("["):
        return {"type": "array", "items": _type(text[1:-1])}
    if text[0].isupper():
        return {"$ref": f"#/$defs/{text}"}
    return _SIMPLE.get(text, {"type": text})


def _object(keys: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key.removeprefix("+"): _type(text) for key, text in keys.items()},
        "required": [key for key in keys if not key.startswith("+")],
        "additionalProperties": False,
    }


@pytest.fixture(scope="session")
def official() -> Callable[[str, Any], None]:
    """Return a function that asserts that a value is a valid ``Order``, ``Buyer``, …"""
    tables = tomllib.loads((Path(__file__).parent / "official.toml").read_text())
    defs = {name: _object(keys) for name, keys in tables.items()}
    validators = {name: Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": defs}) for name in defs}

    def check(name: str, value: Any) -> None:
        problems = [
            f"{error.json_path}: {error.message[:200]}" for error in validators[name].iter_errors(value)
        ]
        assert not problems, problems[:5]

    return check
