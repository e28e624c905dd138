"""Client: plain HTTP requests to a server, with exact numbers in the answers."""

import json
import urllib.error
import urllib.request
from decimal import Decimal
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """One answer; in ``json``, numbers with a decimal point are Decimals."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body, parse_float=Decimal)


def ask(base: str, path: str, *, method: str = "GET", **headers: str) -> Reply:
    """Return the answer, also if its status is an error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(base + path, method=method, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            return Reply(response.status, lower(response.headers.items()), response.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, lower(error.headers.items()), error.read())


def lower(headers: Any) -> dict[str, str]:
    """Return headers with their names in lower case."""
    return {name.lower(): value for name, value in headers}
