"""Answers to API requests, without HTTP: a status and a body for a path and its query parameters."""

from collections.abc import Mapping

import msgspec

from ingest.sandbox import query
from ingest.sandbox.envelope import envelope
from ingest.sandbox.lists import Lists
from ingest.sandbox.payload.forms import Json
from ingest.sandbox.routes import FIELD, LISTINGS, Listing
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.stamps import http_date
from ingest.sandbox.world import World

NGINX_404 = (
    "<html>\r\n<head><title>404 Not Found</title></head>\r\n"
    "<body>\r\n<center><h1>404 Not Found</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_PATHS = {listing.path: listing for listing in LISTINGS}


class Answer(msgspec.Struct):
    """A status and a JSON body; the body is a list if the path is /custom-fields, and an object otherwise."""

    status: int
    body: Json | list[Json]


class Desk:
    """Answers the requests to one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._settings: Sandbox = world.settings
        self._lists = Lists(world.store)

    def answer(self, path: str, parameters: list[tuple[str, str]], *, base: str) -> Answer:
        """Answer a request for ``path`` (without ``/v1``); ``base`` is the address of the API."""
        values = dict(parameters)
        try:
            listing = _PATHS.get(path)
            if listing is not None:
                return Answer(200, self._list(listing, values, parameters, base + path))
            if path == "/custom-fields":
                return Answer(200, self._custom_fields(values))
            return Answer(200, self._one(path, values))
        except query.Refused as error:
            return Answer(400, {"message": str(error)})
        except query.Invalid as error:
            return Answer(422, {"message": str(error), "errors": {error.field: [str(error)]}})
        except KeyError:
            return Answer(404, {"message": "Not Found"})

    def date(self, skew: float = 0.0) -> str:
        """Return the shop's time in the format of the Date header, ``skew`` seconds off."""
        return http_date(self.world.at + int(skew))

    def _list(
        self, listing: Listing, values: Mapping[str, str], parameters: list[tuple[str, str]], path: str
    ) -> Json:
        asked = query.read(listing.route, values, self._settings)
        rows, total = listing.rows(self._lists, asked)
        others = [(name, value) for name, value in parameters if name != "page"]
        return envelope(
            rows, total, asked, path=path, parameters=others, last_page=self._settings.last_page_key
        )

    def _custom_fields(self, values: Mapping[str, str]) -> list[Json]:
        asked = query.read(FIELD, values, self._settings)
        models = query.words(asked.filters, "model")
        return self._lists.custom_fields(models, options="options" in asked.include)

    def _one(self, path: str, values: Mapping[str, str]) -> Json:
        parent, _, id = path.rpartition("/")
        listing = _PATHS.get(parent)
        if listing is None or listing.one is None or not id.isascii() or not id.isdigit():
            raise KeyError(path)
        return listing.one(self._lists, int(id), query.include(listing.route, values))
