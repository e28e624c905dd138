"""Finding: a condition that a check found, until it is healed; ``ops.findings`` has a row a change.

A condition is identified by its fingerprint. It gets a row when it is new, when it changes and
when it is healed, and none in between. Which findings are open is derived from the ledger alone.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from lake.delta.ledger import Ledger
from lake.paths import Lake

# First part of the fingerprints of conditions that are examined at night, and of those that ingests examine;
# builds examine the others. DAMAGE is followed by the path of a file.
NIGHTLY, INGEST, DAMAGE = "nightly", "ingest", "damage"
NEW, OPEN, HEALED = "new", "open", "healed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One condition at one moment: how many rows break the fact, and their amount of money, if any.

    ``first_seen_at`` is when the condition was last new; ``seen_at`` is when this state was found.
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


LEDGER = Ledger("ops.findings", Finding, order_by="seen_at")
FINDINGS = LEDGER.name


def read_findings(lake: Lake) -> dict[str, Finding]:
    """Return the newest state of every condition ever found, by its fingerprint."""
    return {finding.fingerprint: finding for finding in LEDGER.read(lake)}


def write_findings(
    lake: Lake, found: Iterable[Finding], *, groups: Collection[str] = (), now: datetime | None = None
) -> list[Finding]:
    """Append and return what changed, given all conditions examined now; ``rows`` 0 means that one is healed.

    A known condition that is no longer examined is healed too, if it is in the group of one that is, or
    in one of ``groups``, which were examined ``now``: see ``group_of``.
    """
    known, examined = read_findings(lake), list(found)
    fingerprints = {finding.fingerprint for finding in examined}
    groups = {group_of(finding) for finding in examined} | set(groups)
    now = now or max((finding.seen_at for finding in examined), default=None)
    examined += [
        msgspec.structs.replace(finding, rows=0, seen_at=now)
        for finding in known.values()
        if finding.fingerprint not in fingerprints and group_of(finding) in groups and now
    ]
    changes = [
        changed for finding in examined if (changed := change(finding, known.get(finding.fingerprint)))
    ]
    if changes:
        LEDGER.append(lake, changes)
    return changes


def read_damage(lake: Lake) -> set[str]:
    """Return the paths in the lake of the files that are known to be damaged."""
    start = f"{DAMAGE}."
    return {
        fingerprint.removeprefix(start)
        for fingerprint, finding in read_findings(lake).items()
        if fingerprint.startswith(start) and finding.state != HEALED
    }


def settle(lake: Lake, checks: Mapping[str, int], *, now: datetime) -> list[Finding]:
    """Reset build findings to the current release's counts when there is nothing to build.

    ``checks`` is ``{fingerprint: rows}`` of that release. A finding that only a refused build had is
    healed, and one that it no longer had is open again. Return what changed.
    """
    findings = [finding for finding in read_findings(lake).values() if not group_of(finding)]
    counts = {finding.fingerprint: checks.get(finding.fingerprint, 0) for finding in findings}
    if all(finding.rows == counts[finding.fingerprint] for finding in findings):
        return []
    return write_findings(
        lake,
        [
            finding
            if finding.rows == (rows := counts[finding.fingerprint])
            else msgspec.structs.replace(finding, rows=rows, amount=None, seen_at=now)
            for finding in findings
        ],
    )


def new_finding(
    fingerprint: str,
    fact: str,
    rows: int,
    *,
    severity: str,
    example: str,
    now: datetime,
    amount: Decimal | None = None,
) -> Finding:
    """Return a condition as it is found now; ``rows`` is 0 if the fact holds. Pure."""
    return Finding(
        fingerprint=fingerprint,
        state="new",
        severity=severity,
        fact=fact,
        rows=rows,
        amount=amount,
        example=example,
        first_seen_at=now,
        seen_at=now,
    )


def group_of(finding: Finding) -> str:
    """Return the group of a condition: ``nightly``, an entity (``ingest.orders``), or "" for builds. Pure.

    Each damaged file is a group of its own, because a night examines only some files.
    """
    first, *others = finding.fingerprint.split(".")
    if first == DAMAGE:
        return finding.fingerprint
    if first == INGEST:
        return f"{INGEST}.{others[0]}"
    return NIGHTLY if first == NIGHTLY else ""


def change(finding: Finding, known: Finding | None) -> Finding | None:
    """Return the row to write for a condition, given its last row; None if nothing changed. Pure."""
    was_open = known is not None and known.state != HEALED
    if not finding.rows:
        if not was_open or known is None:
            return None
        return msgspec.structs.replace(known, state=HEALED, rows=0, amount=None, seen_at=finding.seen_at)
    if known is None or not was_open:
        return msgspec.structs.replace(finding, state=NEW, first_seen_at=finding.seen_at)
    if (known.rows, known.amount, known.severity) == (finding.rows, finding.amount, finding.severity):
        return None
    return msgspec.structs.replace(finding, state=OPEN, first_seen_at=known.first_seen_at)
