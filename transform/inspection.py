"""Inspection: the checks of a build, each looking no further than what the build could have broken."""

import msgspec

from transform.candidates import Candidates
from transform.checks import Outcome, checks_of, run_checks
from transform.models import Check
from transform.scope import Keys, Whole, key_in, subject
from transform.workspace import KEYS, in_


class Place(msgspec.Struct, frozen=True):
    """Where a check looks: at what ``views`` show, or everywhere; ``known`` is what it found before."""

    views: tuple[tuple[str, str], ...] = ()
    known: int | None = None


EVERYWHERE = Place()


def inspect(candidates: Candidates) -> list[Outcome]:
    """Run every check on what was built anew, and on everything where that finds something.

    What touches none of a check's tables leaves it as the release found it.
    """
    found: list[Outcome] = []
    for model in candidates.models.values():
        places: dict[Place, list[Check]] = {}
        for check in checks_of(model):
            places.setdefault(place_of(check, candidates), []).append(check)
        for place, checks in places.items():
            found += look(candidates, place, checks)
    return found


def look(candidates: Candidates, place: Place, checks: list[Check]) -> list[Outcome]:
    """Return what checks find at a place, and everywhere where they find something there."""
    if place.known is not None:
        return [Outcome(check, place.known) for check in checks]
    space = candidates.space
    if not place.views:
        return run_checks(space.duckdb, checks)
    outcomes = space.in_part(place.views, lambda: run_checks(space.duckdb, checks))
    failed = [outcome.check for outcome in outcomes if outcome.failures]
    return [outcome for outcome in outcomes if not outcome.failures] + run_checks(space.duckdb, failed)


def place_of(check: Check, candidates: Candidates) -> Place:
    """Return where a check has to look: nowhere, at what was built anew, or everywhere."""
    parent, space = candidates.parent, candidates.space
    if parent is None:
        return EVERYWHERE
    # What was found is looked for again: a build that was refused may have said otherwise meanwhile.
    was_broken = parent.checks.get(f"{check.model}.{check.name}", 0) > 0
    tables = sorted(check.reads & space.sources.keys())
    if not any(map(candidates.is_news, tables)):
        return EVERYWHERE if was_broken else Place(known=0)
    scope = candidates.built[check.model].scope
    if check.everywhere or was_broken or scope is None or isinstance(scope, Whole):
        return EVERYWHERE
    if isinstance(scope, Keys):
        about, keys = subject(candidates.models[check.model]), in_(KEYS, check.model)
        columns = {one: key_in(one, space.sources[one].columns, about) for one in tables}
        return Place(tuple((one, space.of_keys(one, column, keys)) for one, column in columns.items()))
    months = space.sources[check.model].months or frozenset()
    return Place(tuple((one, space.of_months(one, months)) for one in tables))
