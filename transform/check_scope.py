"""Inspection: the checks of a build, each looking no further than what the build could have broken."""

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal

import msgspec

from lake.ledgers.findings import HEALED, Finding
from transform.checks import UNIQUE, Outcome, checks_of, run_checks
from transform.lookup import find_lookup
from transform.models import Check
from transform.next_release import Candidates
from transform.scope import Keys, Whole, key_in, subject
from transform.workspace import KEYS, in_

Views = tuple[tuple[str, str], ...]
Span = frozenset[date] | None


class Known(msgspec.Struct, frozen=True):
    """What a check found when the last release was made: rows, their amount, the first of them."""

    failures: int = 0
    amount: Decimal | None = None
    example: str = ""

    def outcome(self, check: Check) -> Outcome:
        """Return it as what the check finds now."""
        return Outcome(check, self.failures, self.example, self.amount)


class Place(msgspec.Struct, frozen=True):
    """Where a check looks: at what ``views`` show, or nowhere without them, or everywhere.

    ``known`` is what it found in all of the last release; without it a check looks everywhere.
    Where it is something, it stands as long as neither ``views`` nor ``before``, what they
    replace, has a part in it.
    """

    views: Views = ()
    before: Views = ()
    known: Known | None = None


EVERYWHERE = Place()


def unknown(_: str) -> bool:
    """Nobody has seen whether a table's key names each row."""
    return False


class Parts:
    """The SELECTs of what of a table has to do with some months, or with the keys built anew of a model."""

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self._now: dict[tuple[str, str, Span], str] = {}

    def now(self, table: str, model: str, months: Span) -> str:
        """Return it as the next release would have it; asked once."""
        asked = (table, "" if months is not None else model, months)
        if asked not in self._now:
            self._now[asked] = self._part(table, model, months)
        return self._now[asked]

    def before(self, table: str, model: str, months: Span) -> str:
        """Return the same as the release has it; nothing where bronze has other rows by now."""
        space = self.candidates.space
        if not self.candidates.changes.is_news(table):
            return self.now(table, model, months)
        held = self.candidates.released.get(table)
        if held is None:
            return ""
        if months is not None:
            is_dated = space.sources[table].is_dated
            files = [file for file in held.files() if file.part in months or not is_dated]
            return space.held(held, files=files)
        column = key_in(table, held.schema.names, subject(self.candidates.models[model]))
        return space.held_of_keys(held, column, in_(KEYS, model)) if column else space.held(held)

    def _part(self, table: str, model: str, months: Span) -> str:
        space = self.candidates.space
        if months is not None:
            return space.of_months(table, months)
        column = key_in(table, space.sources[table].columns, subject(self.candidates.models[model]))
        return space.of_keys(table, column, in_(KEYS, model))


def inspect(
    candidates: Candidates, findings: Mapping[str, Finding], *, is_unique: Callable[[str], bool] = unknown
) -> list[Outcome]:
    """Run every check on what was built anew, and on everything where that finds something.

    What touches none of a check's tables leaves it as the release found it; ``findings``
    say what that was. ``is_unique`` knows of tables whose key is seen to name each row: of the
    others it is asked in the end.
    """
    found: list[Outcome] = []
    parts, of_keys = Parts(candidates), []
    for model in candidates.models.values():
        places: dict[Place, list[Check]] = {}
        for check in checks_of(model):
            known = known_of(check, candidates, findings)
            place = place_of(check, parts, known)
            if check.name == UNIQUE and place == EVERYWHERE:
                of_keys.append(check)
            else:
                places.setdefault(place, []).append(check)
        for place, checks in places.items():
            found += look(candidates, place, checks)
    for check in of_keys:
        found += [Outcome(check, 0)] if is_unique(check.model) else everywhere(candidates, [check])
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


def place_of(check: Check, parts: Parts, known: Known | None) -> Place:
    """Return where a check has to look: nowhere, at what was built anew, or everywhere."""
    candidates = parts.candidates
    tables = sorted(check.reads & candidates.space.sources.keys())
    if known is None:
        return EVERYWHERE
    if not any(map(candidates.changes.is_news, tables)):
        return Place(known=known)
    scope = candidates.built[check.model].scope
    if check.everywhere or isinstance(scope, Whole):
        return EVERYWHERE
    months = None if isinstance(scope, Keys) else candidates.space.sources[check.model].months or frozenset()
    upstream = candidates.upstream(check.model)
    for table in filter(candidates.changes.is_news, tables):
        moved = months_of(table, candidates)
        if months is not None and moved is not None:
            months |= moved
        elif scope is None or table not in upstream or not is_followed(check, table, candidates):
            return EVERYWHERE  # what moved there does not tell where to look
    views = tuple((one, parts.now(one, check.model, months)) for one in tables)
    if not known.failures:
        return Place(views, known=known)
    before = tuple((one, parts.before(one, check.model, months)) for one in tables)
    return Place(views, before, known) if all(rows for _, rows in before) else EVERYWHERE


def is_followed(check: Check, table: str, candidates: Candidates) -> bool:
    """True where each row to which a check holds a changed row of a table is among those built anew.

    Of bronze each new look is followed. A table of the same ids is; one that the check looks
    rows up in where its model does so too, and uses nothing of it that the model does not.
    """
    model, other = candidates.models[check.model], candidates.models.get(table)
    if other is None or other is model:
        return True
    if table not in model.reads:
        return False
    columns, scope = candidates.space.sources[table].columns, candidates.built[model.name].scope
    if isinstance(scope, Keys) and key_in(table, columns, subject(model)):
        return True
    asked, built = find_lookup(check.sql, table, other.header.key[0]), model.lookup(other)
    if asked is None or built is None or (asked.source, asked.column) != (model.name, built.shown_as):
        return False
    return built.columns is None or (asked.columns is not None and asked.columns <= built.columns)


def months_of(table: str, candidates: Candidates) -> Span:
    """Return the months in which a table differs from the release; None where it can't be told."""
    candidate = candidates.built.get(table)
    if candidate is None or candidate.parts is None or not candidates.space.sources[table].is_dated:
        return None
    return frozenset(candidate.parts)
