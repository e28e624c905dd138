"""Finding: what a check found, until it is healed: a row of ``ops.findings`` for each change of it.

One condition is one finding, told by its fingerprint: it speaks when it is new, when it
changed and when it is healed, and is silent between. Which findings are open is derived
from the ledger alone.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec
import pyarrow as pa

from lake.delta.table import create_table, open_table, table_exists
from lake.ledgers.runs import INSTANT
from lake.paths import Lake
from lake.releases.release import MONEY

FINDINGS = "ops.findings"
# Conditions that every build looks at need no name of their own; these are looked at once a night.
NIGHTLY = "nightly"
NEW, OPEN, HEALED = "new", "open", "healed"
SCHEMA = pa.schema(
    [
        pa.field("fingerprint", pa.string(), False),
        pa.field("state", pa.string(), False),
        pa.field("severity", pa.string(), False),
        pa.field("fact", pa.string(), False),
        pa.field("rows", pa.int64(), False),
        pa.field("amount", MONEY),
        pa.field("example", pa.string(), False),
        pa.field("first_seen_at", INSTANT, False),
        pa.field("seen_at", INSTANT, False),
    ]
)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One condition at one moment: how many rows break the fact, and their amount in ₴ where it has one.

    ``first_seen_at`` is when it was last new; ``seen_at`` is when this was found.
    """

    fingerprint: str
    state: Literal["new", "open", "healed"]
    severity: str
    fact: str
    rows: int
    amount: Decimal | None
    example: str
    first_seen_at: datetime
    seen_at: datetime


def read_findings(lake: Lake) -> dict[str, Finding]:
    """Return the newest word on every condition that was ever found, by its fingerprint."""
    if not table_exists(lake, FINDINGS):
        return {}
    rows = open_table(lake, FINDINGS).read().to_pylist()
    return {row["fingerprint"]: Finding(**row) for row in sorted(rows, key=lambda row: row["seen_at"])}


def write_findings(lake: Lake, found: Iterable[Finding]) -> list[Finding]:
    """Append what is news among all conditions there are, and return it; ``rows`` 0 says that one is gone.

    One that is not among them any more is healed: nobody looks for it. Builds say nothing of
    what is looked at in the night, nor the night of what builds look at.
    """
    known, looked = read_findings(lake), list(found)
    names = {one.fingerprint for one in looked}
    kinds = {is_nightly(one) for one in looked}
    now = max((one.seen_at for one in looked), default=None)
    looked += [
        msgspec.structs.replace(one, rows=0, seen_at=now)
        for one in known.values()
        if one.fingerprint not in names and is_nightly(one) in kinds and now
    ]
    said = [news for one in looked if (news := heard(one, known.get(one.fingerprint)))]
    if said:
        rows = [msgspec.structs.asdict(one) for one in said]
        create_table(lake, FINDINGS, SCHEMA).append(pa.Table.from_pylist(rows, schema=SCHEMA))
    return said


def settle(lake: Lake, checks: Mapping[str, int], *, now: datetime) -> list[Finding]:
    """Say what is open of what builds look at, where the release that serves is all there is to build.

    ``checks`` is how many rows each found there: what a build that was refused has found beyond is gone,
    and what it did not find is there.
    """
    said = [one for one in read_findings(lake).values() if not is_nightly(one)]
    if all(one.rows == checks.get(one.fingerprint, 0) for one in said):
        return []
    return write_findings(
        lake,
        [
            one
            if one.rows == checks.get(one.fingerprint, 0)
            else msgspec.structs.replace(one, rows=checks.get(one.fingerprint, 0), amount=None, seen_at=now)
            for one in said
        ],
    )


def is_nightly(finding: Finding) -> bool:
    """True where the condition is looked at in the night. Pure."""
    return finding.fingerprint.startswith(f"{NIGHTLY}.")


def heard(found: Finding, known: Finding | None) -> Finding | None:
    """Return what there is to say of a condition, by what was said last; None where nothing changed. Pure."""
    was_open = known is not None and known.state != HEALED
    if not found.rows:
        if not was_open or known is None:
            return None
        return msgspec.structs.replace(known, state=HEALED, rows=0, amount=None, seen_at=found.seen_at)
    if known is None or not was_open:
        return msgspec.structs.replace(found, state=NEW, first_seen_at=found.seen_at)
    if (known.rows, known.amount, known.severity) == (found.rows, found.amount, found.severity):
        return None
    return msgspec.structs.replace(found, state=OPEN, first_seen_at=known.first_seen_at)
