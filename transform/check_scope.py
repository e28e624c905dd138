"""Check scope: each check of a build reads only the rows that the build could have broken."""

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
from transform.workspace import KEYS, scratch

Views = tuple[tuple[str, str], ...]
# Months to which rows are limited; None limits them by key.
Span = frozenset[date] | None


class KnownResult(msgspec.Struct, frozen=True):
    """The result of a check in the last release: failing rows, their amount, the first of them."""

    failures: int = 0
    amount: Decimal | None = None
    example: str = ""

    def outcome(self, check: Check) -> Outcome:
        """Return the result as the outcome of a check in this build."""
        return Outcome(check, self.failures, self.example, self.amount)


class CheckScope(msgspec.Struct, frozen=True):
    """The rows that a check reads: those of ``views``, or none if there are no views.

    ``known`` is the check's result in the last release; without it a check reads all rows. Carry
    a result with failures over if neither the new rows (``views``) nor the rows they replace
    (``before``) contribute to it.
    """

    views: Views = ()
    before: Views = ()
    known: KnownResult | None = None


ALL_ROWS = CheckScope()


def unproven(_: str) -> bool:
    """Return False: no table's key is proven to be unique."""
    return False


class ScopedRows:
    """SELECTs of the rows of a table that belong to some months, or to the rebuilt keys of a model."""

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self._new: dict[tuple[str, str, Span], str] = {}

    def new(self, table: str, model: str, months: Span) -> str:
        """Return the SELECT of a table's rows in the next release."""
        scope = (table, "" if months is not None else model, months)
        if scope not in self._new:
            self._new[scope] = self._select(table, model, months)
        return self._new[scope]

    def before(self, table: str, model: str, months: Span) -> str:
        """Return the SELECT of a table's rows in the release; "" if bronze has changed since."""
        workspace = self.candidates.workspace
        if not self.candidates.changes.has_changed(table):
            return self.new(table, model, months)
        released = self.candidates.released.get(table)
        if released is None:
            return ""
        if months is not None:
            is_dated = workspace.sources[table].is_dated
            files = [file for file in released.files() if file.part in months or not is_dated]
            return workspace.version_rows(released, files=files)
        column = key_in(table, released.schema.names, subject(self.candidates.models[model]))
        if column is None:
            return workspace.version_rows(released)
        return workspace.version_rows_of_keys(released, column, scratch(KEYS, model))

    def _select(self, table: str, model: str, months: Span) -> str:
        workspace = self.candidates.workspace
        if months is not None:
            return workspace.rows_of_months(table, months)
        column = key_in(table, workspace.sources[table].columns, subject(self.candidates.models[model]))
        return workspace.rows_of_keys(table, column, scratch(KEYS, model))


def check_candidates(
    candidates: Candidates,
    findings: Mapping[str, Finding],
    *,
    is_unique: Callable[[str], bool] = unproven,
) -> list[Outcome]:
    """Run every check on the rebuilt rows, and on all rows if it fails there.

    If no table of a check changed, its result in the release is carried over from ``findings``.
    ``is_unique`` returns True for a table whose key is proven to be unique. It is called after
    all other checks, because it may wait.
    """
    outcomes: list[Outcome] = []
    scoped, key_checks = ScopedRows(candidates), []
    for model in candidates.models.values():
        by_scope: dict[CheckScope, list[Check]] = {}
        for check in checks_of(model):
            known = known_result(check, candidates, findings)
            scope = scope_of_check(check, scoped, known)
            if check.name == UNIQUE and scope == ALL_ROWS:
                key_checks.append(check)
            else:
                by_scope.setdefault(scope, []).append(check)
        for scope, checks in by_scope.items():
            outcomes += run_in_scope(candidates, scope, checks)
    for check in key_checks:
        outcomes += [Outcome(check, 0)] if is_unique(check.model) else run_on_all(candidates, [check])
    return outcomes


def run_in_scope(candidates: Candidates, scope: CheckScope, checks: list[Check]) -> list[Outcome]:
    """Return the outcomes of checks; a check that fails in the scope is run again on all rows."""
    known, passing = scope.known, checks
    if known is None:
        return run_on_all(candidates, checks)
    for views in filter(None, (scope.views, scope.before)):
        passing = passing_checks(candidates, views, passing)
    others = [check for check in checks if check not in passing]
    return [*map(known.outcome, passing), *run_on_all(candidates, others)]


def run_on_all(candidates: Candidates, checks: list[Check]) -> list[Outcome]:
    """Return the outcomes of checks on all rows."""
    candidates.workspace.create_views(frozenset().union(*(check.reads for check in checks)))
    return run_checks(candidates.workspace.duckdb, checks)


def passing_checks(candidates: Candidates, views: Views, checks: list[Check]) -> list[Check]:
    """Return the checks that pass on the rows of these views."""
    workspace = candidates.workspace
    outcomes = workspace.run_on(views, lambda: run_checks(workspace.duckdb, checks))
    return [outcome.check for outcome in outcomes if not outcome.failures]


def known_result(check: Check, candidates: Candidates, findings: Mapping[str, Finding]) -> KnownResult | None:
    """Return the result of a check in the last release, or None if it is not known in full."""
    if candidates.parent is None:
        return None
    name = f"{check.model}.{check.name}"
    failures = candidates.parent.checks.get(name, 0)
    finding = findings.get(name)
    if not failures:
        return KnownResult()
    if finding is None or finding.state == HEALED or finding.rows != failures:
        return None  # a refused build has changed the finding since
    return KnownResult(failures, finding.amount, finding.example)


def scope_of_check(check: Check, scoped: ScopedRows, known: KnownResult | None) -> CheckScope:
    """Return the rows that a check has to read: none, the rebuilt rows, or all."""
    candidates = scoped.candidates
    tables = sorted(check.reads & candidates.workspace.sources.keys())
    if known is None:
        return ALL_ROWS
    changed = list(filter(candidates.changes.has_changed, tables))
    if not changed:
        return CheckScope(known=known)
    scope = candidates.tables[check.model].scope
    if check.needs_all_rows or isinstance(scope, Whole):
        return ALL_ROWS
    months = None if isinstance(scope, Keys) else model_months(check.model, candidates)
    upstream = candidates.upstream(check.model)
    for table in changed:
        differing = differing_months(table, candidates)
        if months is not None and differing is not None:
            months |= differing
        elif scope is None or table not in upstream or not is_followed(check, table, candidates):
            return ALL_ROWS  # the changed rows do not tell which rows the check joins to them
    views = tuple((table, scoped.new(table, check.model, months)) for table in tables)
    if not known.failures:
        return CheckScope(views, known=known)
    before = tuple((table, scoped.before(table, check.model, months)) for table in tables)
    return CheckScope(views, before, known) if all(rows for _, rows in before) else ALL_ROWS


def model_months(model: str, candidates: Candidates) -> frozenset[date]:
    """Return the rebuilt months of a model."""
    return candidates.workspace.sources[model].months or frozenset()


def is_followed(check: Check, table: str, candidates: Candidates) -> bool:
    """Return True if every row that the check joins to a changed row of ``table`` was rebuilt.

    This is true for bronze, since every new observation is followed. It is true for a table with
    the model's own ids. It is true if the check looks rows up as its model does, and uses no
    column of the table that the model does not use.
    """
    model, other = candidates.models[check.model], candidates.models.get(table)
    if other is None or other is model:
        return True
    if table not in model.reads:
        return False
    columns, scope = candidates.workspace.sources[table].columns, candidates.tables[model.name].scope
    if isinstance(scope, Keys) and key_in(table, columns, subject(model)):
        return True
    in_check, in_model = find_lookup(check.sql, table, other.header.key[0]), model.lookup(other)
    if in_check is None or in_model is None:
        return False
    if (in_check.source, in_check.column) != (model.name, in_model.output_column):
        return False
    if in_model.columns is None:
        return True
    return in_check.columns is not None and in_check.columns <= in_model.columns


def differing_months(table: str, candidates: Candidates) -> Span:
    """Return the months in which a table differs from the release, or None if they are unknown."""
    candidate = candidates.tables.get(table)
    if candidate is None or candidate.partitions is None:
        return None
    return frozenset(candidate.partitions) if candidates.workspace.sources[table].is_dated else None
