"""Findings of an ingest: fields and objects of the newest states that are not as documented."""

from collections.abc import Iterable
from datetime import datetime

import structlog

from ingest.entities import ORDERS
from ingest.writer import EntityStates
from lake.ledgers.findings import HEALED, INGEST, Finding, new_finding, write_findings
from lake.paths import Lake

log = structlog.get_logger()
SINGULAR = {"categories": "category", "statuses": "status", "expense_types": "expense type"}


def report_odd_values(lake: Lake, states: Iterable[EntityStates], *, now: datetime) -> None:
    """Write a finding for each odd field and for the refusals of each entity, or that it is healed."""
    found, groups = list[Finding](), list[str]()
    for each in states:
        groups.append(f"{INGEST}.{each.entity}")
        found += findings_of(each, now=now)
    if not groups:
        return
    for finding in write_findings(lake, found, groups=groups, now=now):
        if finding.state != HEALED:
            log.warning("ingest.not_as_documented", finding=finding.fact)


def findings_of(states: EntityStates, *, now: datetime) -> list[Finding]:
    """Return the findings of one entity; refused orders are a finding of the build. Pure."""
    findings = []
    for field, is_read, ids, example in states.odd:
        what = "is not as documented, but is read," if is_read else "is unreadable"
        name = f"{states.entity}.{field}"
        fact = f"{name} {what} in {objects(states.entity, ids)}, such as {example}"
        findings.append(finding_of(f"{name}.is_read" if is_read else name, fact, ids, now))
    if states.refused and states.entity != ORDERS.name:
        ids, example = len(states.refused), states.refused[0]
        fact = f"{objects(states.entity, ids)} refused, such as {example}: the last accepted state serves"
        findings.append(finding_of(f"{states.entity}.refused", fact, ids, now))
    return findings


def finding_of(name: str, fact: str, ids: int, now: datetime) -> Finding:
    """Return the finding of one condition. Pure."""
    return new_finding(f"{INGEST}.{name}", fact, ids, severity="warn", example=fact, now=now)


def objects(entity: str, number: int) -> str:
    """Return a number of objects in words: ``3 orders``, ``1 category``. Pure."""
    if number == 1:
        return f"1 {SINGULAR.get(entity, entity.removesuffix('s'))}"
    return f"{number:,} {entity.replace('_', ' ')}"
