"""Inspection: the checks of a build, each looking no further than what the build could have broken."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from lake.findings import HEALED, Finding
from transform.candidates import Candidates
from transform.checks import Outcome, checks_of, run_checks
from transform.models import Check
from transform.scope import Keys, Whole, key_in, subject
from transform.workspace import KEYS, in_

Views = tuple[tuple[str, str], ...]


class Known(msgspec.Struct, frozen=True):
    """What a check found when the last release was made: rows, their amount, the first of them."""

    failures: int = 0
    amount: Decimal | None = None
    example: str = ""

    def outcome(self, check: Check) -> Outcome:
        """Return it as what the check finds now."""
        return Outcome(check, self.failures, self.example, self.amount)


class Place(msgspec.Struct, frozen=True):
    """Where a check looks: at what ``views`` show, or everywhere.

    ``known`` is what it found in all of the last release. Where that is something, it
    stands as long as neither ``views`` nor ``before``, what they replace, has a part in it.
    """

    views: Views = ()
    before: Views = ()
    known: Known | None = None


EVERYWHERE = Place()


def inspect(candidates: Candidates, findings: Mapping[str, Finding]) -> list[Outcome]:
    """Run every check on what was built anew, and on everything where that finds something.

    What touches none of a check's tables leaves it as the release found it; ``findings``
    say what that was.
    """
    found: list[Outcome] = []
    for model in candidates.models.values():
        places: dict[Place, list[Check]] = {}
        for check in checks_of(model):
            known = known_of(check, candidates, findings)
            places.setdefault(place_of(check, candidates, known), []).append(check)
        for place, checks in places.items():
            found += look(candidates, place, checks)
    return found


def look(candidates: Candidates, place: Place, checks: list[Check]) -> list[Outcome]:
    """Return what checks find at a place, and everywhere where they find something there."""
    known, standing = place.known, checks
    if known is None:
        return everywhere(candidates, checks)
    for views in filter(None, (place.views, place.before)):
        standing = holding(candidates, views, standing)
    others = [check for check in checks if check not in standing]
    return [*map(known.outcome, standing), *everywhere(candidates, others)]


def everywhere(candidates: Candidates, checks: list[Check]) -> list[Outcome]:
    """Return what checks find in all there is."""
    candidates.space.show_whole(frozenset().union(*(check.reads for check in checks)))
    return run_checks(candidates.space.duckdb, checks)


def holding(candidates: Candidates, views: Views, checks: list[Check]) -> list[Check]:
    """Return the checks that find nothing in what these views show."""
    space = candidates.space
    outcomes = space.in_part(views, lambda: run_checks(space.duckdb, checks))
    return [outcome.check for outcome in outcomes if not outcome.failures]


def known_of(check: Check, candidates: Candidates, findings: Mapping[str, Finding]) -> Known | None:
    """Return what a check found in the last release; None where that is not known in full."""
    if candidates.parent is None:
        return None
    name = f"{check.model}.{check.name}"
    failures = candidates.parent.checks.get(name, 0)
    finding = findings.get(name)
    if not failures:
        return Known()
    if finding is None or finding.state == HEALED or finding.rows != failures:
        return None  # a build that was refused has said otherwise meanwhile
    return Known(failures, finding.amount, finding.example)


def place_of(check: Check, candidates: Candidates, known: Known | None) -> Place:
    """Return where a check has to look: nowhere, at what was built anew, or everywhere."""
    space = candidates.space
    tables = sorted(check.reads & space.sources.keys())
    if known is None:
        return EVERYWHERE
    if not any(map(candidates.is_news, tables)):
        return Place(known=known)
    scope = candidates.built[check.model].scope
    months = candidates.space.sources[check.model].months
    if scope is None:  # what it is compared with has moved
        months = months_moved(tables, candidates)
    if check.everywhere or isinstance(scope, Whole) or (months is None and not isinstance(scope, Keys)):
        return EVERYWHERE
    views = tuple((one, part(one, check.model, months, candidates)) for one in tables)
    if not known.failures:
        return Place(views, known=known)
    before = tuple((one, part_before(one, check.model, months, candidates)) for one in tables)
    return Place(views, before, known) if all(rows for _, rows in before) else EVERYWHERE


def months_moved(tables: list[str], candidates: Candidates) -> frozenset[date] | None:
    """Return the months in which these tables differ from the release; None where it can't be told."""
    months: set[date] = set()
    for name in filter(candidates.is_news, tables):
        candidate = candidates.built.get(name)
        if candidate is None or candidate.months is None or not candidates.space.sources[name].is_dated:
            return None
        months |= set(candidate.months)
    return frozenset(months)


def part(table: str, model: str, months: frozenset[date] | None, candidates: Candidates) -> str:
    """Return the SELECT of what of a table has to do with these months, or with the keys built anew."""
    space = candidates.space
    if months is not None:
        return space.of_months(table, months)
    column = key_in(table, space.sources[table].columns, subject(candidates.models[model]))
    return space.of_keys(table, column, in_(KEYS, model))


def part_before(table: str, model: str, months: frozenset[date] | None, candidates: Candidates) -> str:
    """Return the same of a table as the release has it; nothing where bronze has other rows by now."""
    space = candidates.space
    if not candidates.is_news(table):
        return part(table, model, months, candidates)
    held = candidates.released.get(table)
    if held is None:
        return ""
    if months is not None:
        is_dated = space.sources[table].is_dated
        return space.before(held, files=[one for one in held.files() if one.month in months or not is_dated])
    column = key_in(table, held.schema.names, subject(candidates.models[model]))
    return space.of_keys_before(held, column, in_(KEYS, model)) if column else space.before(held)
