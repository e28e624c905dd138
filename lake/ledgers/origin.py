"""Origin: the source that a lake was filled from. Two shops use the same ids for different orders.

It is recorded before the first row is written, so that it is known even if that load is
killed. A sandbox takes any free port, so all sources on this machine count as one.
"""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from lake.delta.ledger import Ledger
from lake.errors import UsageError
from lake.messages import public_url
from lake.paths import Lake


class Origin(msgspec.Struct, frozen=True):
    """One row of ``ops.origins``: the address of the source, and when the lake was first filled from it."""

    source: str
    since: datetime


LEDGER = Ledger("ops.origins", Origin, order_by="since")
ORIGINS = LEDGER.name


def read_origin(lake: Lake) -> str | None:
    """Return the source that the lake was filled from, without secrets; None for an empty lake."""
    origins = LEDGER.read(lake)
    return public_url(origins[0].source) if origins else None


def claim_origin(lake: Lake, source: str) -> None:
    """Record the source as the lake's own, without secrets. Raises UsageError if the lake has another one."""
    origin, source = read_origin(lake), public_url(source)
    if origin is None:
        LEDGER.append(lake, [Origin(source, datetime.now(UTC))])
    elif shop_of(origin) != shop_of(source):
        raise UsageError(
            f"{lake.place} was filled from {origin}, and source.base_url is {source}: a lake takes one shop,"
            " or its numbers would be wrong; set KEYLAKE_LAKE_ROOT to another folder"
        )


def is_sandbox(source: str) -> bool:
    """Return True for the address of a server on this machine, as a sandbox has. Pure."""
    return urlsplit(source).hostname in ("127.0.0.1", "localhost", "::1")


def shop_of(source: str) -> str:
    """Return the name under which two addresses of one shop are equal. Pure."""
    return "a sandbox on this machine" if is_sandbox(source) else source.rstrip("/").lower()
