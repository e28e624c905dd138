"""Build: candidates, checks, commits, one release.

Every candidate is built in DuckDB before anything is committed; a failed check
leaves the lake as it was. Only tables and months whose rows differ from the last
release are written. Where nothing differs there is no commit and no release, and
neither while publishing is held. Observations of excluded runs are left out.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version

import duckdb
import msgspec
import pyarrow as pa
import structlog

from lake.catalogue import publish, refresh_catalogue
from lake.contract import Contract
from lake.errors import ModelError
from lake.paths import Lake
from lake.quote import literals
from lake.release import Move, Release, current_release
from lake.runs import newest_run
from lake.session import Connection, connect, create_view, fetch, heads, scan
from lake.settings import LakeSettings
from lake.table import Table, create_table, open_table, table_exists
from transform.checks import Outcome, check_types, refuse, run_checks
from transform.models import Model, hash_of
from transform.rules import Rule, rule_tables
from transform.settings import RulesSettings

log = structlog.get_logger()

NO_MONEY = "null::decimal(38,2)"


class Candidate(msgspec.Struct, frozen=True):
    """A table as it would be: built in DuckDB under its own name, with its contract."""

    name: str
    contract: Contract
    month: str | None = None
    money: str | None = None


class Change(msgspec.Struct, frozen=True):
    """How a candidate differs from the released table. ``months`` None: the table is written whole."""

    candidate: Candidate
    months: tuple[date, ...] | None
    moved: tuple[Move, ...]


class Proposal(msgspec.Struct, frozen=True):
    """What a build is about to commit, none of it committed yet.

    ``connection`` holds every candidate under its name, and bronze as it was consumed.
    """

    connection: Connection
    parent: Release | None
    excluded_runs: tuple[str, ...]
    moved: tuple[Move, ...]


class Build:
    """One build while it lasts: the DuckDB with candidates, and the release it starts from.

    It begins by bringing back heads that a crash, or a rollback, left ahead of that release;
    while publishing is held it leaves them alone, and a commit meets a conflict there.
    """

    def __init__(
        self, lake: Lake, engine: LakeSettings, rules: RulesSettings, models: Sequence[Model]
    ) -> None:
        self._lake = lake
        self._rules = rule_tables(rules)
        self._models = models
        self._duckdb = connect(engine)
        self.parent = current_release(lake)
        self._shown = shown(lake, self.parent) if self.parent else {}
        self.excluded_runs = self.parent.excluded_runs if self.parent else ()
        # Asked before bronze is looked at: what a run brings in between is in it, and not yet promised.
        self.complete_through = complete_through(lake, self.excluded_runs)
        self.consumed = heads(lake)
        self.models_hash = hash_of(models)

    @property
    def is_held(self) -> bool:
        """True where nothing may be published on the last release."""
        return self.parent is not None and self.parent.is_held

    @property
    def is_current(self) -> bool:
        """True where the last release was built from these very versions, rules and models."""
        parent = self.parent
        if parent is None or parent.consumed != self.consumed or parent.models_hash != self.models_hash:
            return False
        return all(self._stored(rule.name) == rule.table for rule in self._rules)

    def candidates(self) -> list[Candidate]:
        """Build every rule and model as a table in DuckDB. Raises ModelError."""
        for schema in ("bronze", "rules", "silver", "gold", "released"):
            self._duckdb.execute(f"create schema {schema}")
        for name, at in self.consumed.items():
            self._show_bronze(name, open_table(self._lake, name, at))
        built = [self._build_rule(rule) for rule in self._rules]
        return built + [self._build_model(model) for model in self._models]

    def check(self) -> list[Outcome]:
        """Run every check on the candidates."""
        return run_checks(self._duckdb, self._models)

    def changes(self, candidates: Sequence[Candidate]) -> list[Change]:
        """Return the candidates that differ from the last release, and where."""
        found = [self._change(candidate) for candidate in candidates]
        return [change for change in found if change is not None]

    def proposal(self, changes: Sequence[Change]) -> Proposal:
        """Return what the changes amount to, for somebody to look at before they are committed."""
        moved = tuple(move for change in changes for move in change.moved)
        return Proposal(self._duckdb, self.parent, self.excluded_runs, moved)

    def commit(self, changes: Sequence[Change]) -> dict[str, int]:
        """Write what differs, table by table; return the new versions."""
        return {change.candidate.name: self._write(change) for change in changes}

    def rows_and_money(self, candidates: Sequence[Candidate]) -> tuple[dict[str, int], dict[str, Decimal]]:
        """Return what each candidate holds in all: rows, and the sum of its money column."""
        rows: dict[str, int] = {}
        money: dict[str, Decimal] = {}
        for candidate in candidates:
            count, amount = self._one(f"select count(*), {total(candidate)} from {candidate.name}")
            rows[candidate.name] = count
            if amount is not None:
                money[candidate.name] = amount
        return rows, money

    def _show_bronze(self, name: str, table: Table) -> None:
        rows = scan(self._duckdb, table)
        if self.excluded_runs and "run_id" in table.schema.names:
            rows = f"from ({rows}) where run_id not in ({literals(self.excluded_runs)})"
        self._duckdb.execute(f"create view {name} as {rows}")

    def _build_rule(self, rule: Rule) -> Candidate:
        self._duckdb.register("rule", rule.table)
        self._duckdb.execute(f"create table {rule.name} as select * from rule")
        self._duckdb.unregister("rule")
        return Candidate(rule.name, rule.contract)

    def _build_model(self, model: Model) -> Candidate:
        build_model(self._duckdb, model)
        header = model.header
        return Candidate(model.name, header.contract, header.month, header.money)

    def _change(self, candidate: Candidate) -> Change | None:
        name = candidate.name
        held = self._shown.get(name)
        if held is None:
            return Change(candidate, None, (self._move(candidate, None, None),))
        old = f'released."{name}"'
        create_view(self._duckdb, old, held)
        if differs(held.schema, candidate.contract.schema):
            return Change(candidate, None, (self._move(candidate, None, held),))
        here = f"select {', '.join(candidate.contract.schema.names)} from"
        differing = (
            f"(({here} {name} except all {here} {old}) union all ({here} {old} except all {here} {name}))"
        )
        if not candidate.month:
            moved = self._one(f"select count(*), null from (from {differing} limit 1)")[0]
            return Change(candidate, None, (self._move(candidate, None, held),)) if moved else None
        rows = self._duckdb.execute(f"select distinct month from {differing} order by month").fetchall()
        months = tuple(row[0] for row in rows)
        moves = tuple(self._move(candidate, month, held) for month in months)
        return Change(candidate, months, moves) if months else None

    def _move(self, candidate: Candidate, month: date | None, held: Table | None) -> Move:
        where = f"where month = '{month}'" if month else ""
        after = self._one(f"select count(*), {total(candidate)} from {candidate.name} {where}")
        before: tuple[int, Decimal | None] = (0, None)
        if held:
            sums = total(candidate) if candidate.money in held.schema.names else NO_MONEY
            before = self._one(f'select count(*), {sums} from released."{candidate.name}" {where}')
        return Move(candidate.name, month, before[0], after[0], before[1], after[1])

    def _write(self, change: Change) -> int:
        candidate = change.candidate
        schema = candidate.contract.schema
        table = self._open(candidate)
        where = "true"
        if change.months is not None:
            where = f"month in ({literals(change.months)})"
        key = ", ".join(candidate.contract.key) or "all"
        rows = fetch(self._duckdb, f"from {candidate.name} where {where} order by {key}")
        if differs(table.schema, schema):
            at = table.redefine(rows.cast(schema), partition_by=partition(candidate))
        else:
            at = table.replace(rows.cast(schema).select(table.schema.names), change.months)
        log.debug("transform.committed", table=candidate.name, version=at, rows=rows.num_rows)
        return at

    def _open(self, candidate: Candidate) -> Table:
        """Return the table as it was when the build began: what others commit meanwhile is a conflict."""
        if held := self._shown.get(candidate.name):
            return held
        schema = candidate.contract.schema
        return create_table(self._lake, candidate.name, schema, partition_by=partition(candidate))

    def _stored(self, name: str) -> pa.Table | None:
        held = self._shown.get(name)
        return held.read() if held else None

    def _one(self, query: str) -> tuple[int, Decimal | None]:
        ((count, amount),) = self._duckdb.execute(query).fetchall()
        return count, amount


def run_build(
    lake: Lake,
    *,
    engine: LakeSettings,
    rules: RulesSettings,
    models: Sequence[Model],
    full: bool = False,
    kind: str | None = None,
    before_commit: Callable[[Proposal], datetime | None] | None = None,
    dry_run: bool = False,
) -> Release | None:
    """Build, check, commit and publish; return the release, None where nothing differs or all is held.

    ``before_commit`` sees what passed the checks, also where nothing differs; it may raise to
    stop there, and says through when all was reconciled with the source. A ``dry_run`` stops
    there in any case, also where all is held. Raises CheckFailed (nothing was committed),
    ModelError, CommitConflict.
    """
    build = Build(lake, engine, rules, models)
    if (build.is_held and not dry_run) or not build.consumed or (build.is_current and not full):
        refresh_catalogue(lake)
        return None
    candidates = build.candidates()
    outcomes = build.check()
    refuse(outcomes)
    changes = build.changes(candidates)
    reconciled = before_commit(build.proposal(changes)) if before_commit else None
    if not changes or dry_run:
        return None
    rows, money = build.rows_and_money(candidates)
    versions = {**(build.parent.tables if build.parent else {}), **build.commit(changes)}
    release = Release(
        release=build.parent.release + 1 if build.parent else 1,
        published_at=datetime.now(UTC),
        kind=kind or kind_of(build.parent, changes, full=full),
        parent=build.parent.release if build.parent else None,
        tables={candidate.name: versions[candidate.name] for candidate in candidates},
        consumed=build.consumed,
        excluded_runs=build.excluded_runs,
        rows=rows,
        money=money,
        moved=tuple(move for change in changes for move in change.moved),
        checks={outcome.name: outcome.failures for outcome in outcomes if outcome.failures},
        models_hash=build.models_hash,
        code_version=version("keylake"),
        complete_through=build.complete_through,
        reconciled_through=reconciled or still_reconciled(build.parent),
    )
    publish(lake, release)
    return release


def kind_of(parent: Release | None, changes: Sequence[Change], *, full: bool) -> str:
    """Return why a release came about."""
    if full or parent is None:
        return "full"
    return "rules" if any(change.candidate.name.startswith("rules.") for change in changes) else "sync"


def still_reconciled(parent: Release | None) -> datetime | None:
    """Return through when the parent was reconciled; None once other runs are left out than were then."""
    return parent.reconciled_through if parent and parent.models_hash else None


def total(candidate: Candidate) -> str:
    """Return the SQL of a candidate's money in all; null where it has no money column."""
    return f"coalesce(sum({candidate.money}), 0)::decimal(38,2)" if candidate.money else NO_MONEY


def partition(candidate: Candidate) -> list[str]:
    """Return the columns whose values are folders."""
    return ["month"] if candidate.month else []


def differs(held: pa.Schema, promised: pa.Schema) -> bool:
    """True where a contract changed: in names, types, or what may be missing; order is nothing to Delta."""
    return {field.name: field for field in held} != {field.name: field for field in promised}


def build_model(connection: Connection, model: Model) -> None:
    """Build the model as a table of its name. Raises ModelError."""
    month = f", date_trunc('month', {model.header.month})::date as month" if model.header.month else ""
    try:
        connection.execute(f"create table {model.name} as select *{month} from (\n{model.sql}\n)")
    except duckdb.Error as error:
        raise ModelError(f"{model.name}: it can't be built: {' '.join(str(error).split())}") from None
    check_types(connection, model)


def complete_through(lake: Lake, excluded_runs: Collection[str]) -> datetime | None:
    """Return the source's time when the last sync ended that held every change; None without one.

    A run that looked at a part, or that is left out, says nothing of the whole.
    """
    newest = newest_run(lake, lambda run: run.watermark is not None and run.run_id not in excluded_runs)
    return newest.source_time if newest else None


def shown(lake: Lake, release: Release) -> dict[str, Table]:
    """Return the tables as the release shows them: at their heads, mended, unless publishing is held."""
    if not release.is_held:
        return repair(lake, release.tables)
    return {name: open_table(lake, name, at) for name, at in release.tables.items()}


def repair(lake: Lake, released: Mapping[str, int]) -> dict[str, Table]:
    """Bring back every head that is ahead of the release: a crash left it so, or a rollback.

    Return the tables at their heads, which hold what the release shows.
    """
    at_head: dict[str, Table] = {}
    for name, at in released.items():
        if not table_exists(lake, name):
            continue
        head = at_head[name] = open_table(lake, name)
        held = head if head.version == at else open_table(lake, name, at)
        if content(head) != content(held):
            log.warning("transform.repaired", table=name, head=head.version, released=at)
            head.restore(at)
    return at_head


def content(table: Table) -> tuple[pa.Schema, set[str]]:
    """Return what a table version consists of."""
    return table.schema, {file.uri for file in table.files()}
