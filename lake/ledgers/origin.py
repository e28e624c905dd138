"""Origin: which source a lake was filled from. Another shop's orders have the same ids.

Taken down before the first row is written, so that a load that was killed is known
too. A sandbox takes any free port, so all sources on this machine count as one.
"""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import pyarrow as pa

from lake.delta.contract import Contract
from lake.delta.table import create_table, open_table, table_exists
from lake.errors import UsageError
from lake.paths import Lake

ORIGINS = "ops.origins"
SCHEMA = Contract.of({"source": "VARCHAR", "since": "TIMESTAMPTZ"}).schema


def read_origin(lake: Lake) -> str | None:
    """Return the source that the lake was filled from; None for an empty one."""
    if not table_exists(lake, ORIGINS):
        return None
    rows = open_table(lake, ORIGINS).read(["source"])["source"].to_pylist()
    return str(rows[0]) if rows else None


def claim_origin(lake: Lake, source: str) -> None:
    """Take the source down as the lake's own. Raises UsageError where it has another one."""
    found = read_origin(lake)
    if found is None:
        row = {"source": source, "since": datetime.now(UTC)}
        create_table(lake, ORIGINS, SCHEMA).append(pa.Table.from_pylist([row], schema=SCHEMA))
    elif shop_of(found) != shop_of(source):
        raise UsageError(
            f"{lake.place} was filled from {found}, and source.base_url is {source}: two shops in one lake"
            " would be one wrong number; set KEYLAKE_LAKE_ROOT to another folder"
        )


def is_sandbox(source: str) -> bool:
    """True for the address of a server on this machine, as a sandbox is. Pure."""
    return urlsplit(source).hostname in ("127.0.0.1", "localhost", "::1")


def shop_of(source: str) -> str:
    """Return what two addresses of one shop have in common. Pure."""
    return "a sandbox on this machine" if is_sandbox(source) else source.rstrip("/").lower()
