"""Build: candidates, checks, commits, one release. Its work follows the change.

What the CRM showed since the last release says which keys and months have to be built
anew; the rest is what the release has. Every candidate is built in DuckDB before anything
is committed; a failed check leaves the lake as it was. Only tables and months whose rows
differ from the last release are written, while others are built and checked; they are committed
in the end, and published as one. Where nothing differs there is no commit and no release, and neither
while publishing is held. Observations of excluded runs are left out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version

import duckdb
import msgspec
import pyarrow as pa
import structlog

from lake.delta.table import Table, open_table, table_exists
from lake.errors import LakeError
from lake.ledgers.findings import read_findings, settle, write_findings
from lake.ledgers.runs import newest_run
from lake.lock import one_builder
from lake.paths import Lake
from lake.query.catalogue import publish, refresh_catalogue
from lake.query.session import Connection, connect, open_heads
from lake.releases.release import Move, Release, current_release, refuse_rival
from lake.settings import LakeSettings
from transform.check_scope import inspect
from transform.checks import Outcome, checks_of, findings_of, refuse
from transform.commit_queue import Staging
from transform.dictionary import WORDS, dictionary
from transform.guards import run_guards
from transform.models import Model, hash_of
from transform.next_release import Candidates
from transform.rules import rule_tables
from transform.settings import RulesSettings, TransformSettings

log = structlog.get_logger()
GUARDS = TransformSettings()


class Proposal(msgspec.Struct, frozen=True):
    """What a build is about to commit, none of it committed yet.

    ``connection`` holds every candidate under its name, and bronze as it was consumed.
    """

    connection: Connection
    parent: Release | None
    excluded_runs: tuple[str, ...]
    moved: tuple[Move, ...]


class Build:
    """One build while it lasts: what it starts from, and the workspace with its candidates.

    It begins by bringing back heads that a crash, or a rollback, left ahead of that release;
    while publishing is held it leaves them alone, and a commit meets a conflict there.
    """

    def __init__(
        self,
        lake: Lake,
        engine: LakeSettings,
        rules: RulesSettings,
        models: Sequence[Model],
        *,
        full: bool = False,
    ) -> None:
        self._lake = lake
        self._engine = engine
        self._rules = [*rule_tables(rules), *dictionary(models)]
        self._models = models
        for model in models:
            checks_of(model)  # two of one name are told before anything is built
        self._full = full
        self.parent = current_release(lake)
        self._shown = shown(lake, self.parent) if self.parent else {}
        self.staging = Staging(lake, self._shown)
        self.excluded_runs = self.parent.excluded_runs if self.parent else ()
        # Asked before bronze is looked at: what a run brings in between is in it, and not yet promised.
        self.complete_through = complete_through(lake, self.excluded_runs)
        self._bronze = open_heads(lake)
        self.consumed = {name: table.version for name, table in self._bronze.items()}
        self.models_hash = hash_of(models)

    @property
    def is_held(self) -> bool:
        """True where nothing may be published on the last release."""
        return self.parent is not None and self.parent.is_held

    @property
    def is_current(self) -> bool:
        """True where the last release was built from these very versions, rules and models."""
        return self.parent is not None and self.parent.consumed == self.consumed and self.is_in_part

    @cached_property
    def is_in_part(self) -> bool:
        """True where only what is new has to be built: the release is of these very models and rules."""
        parent = self.parent
        return (
            parent is not None
            and parent.models_hash == self.models_hash
            and parent.consumed.keys() == self.consumed.keys()
            and all(self._stored(rule.name) == rule.table for rule in self._rules)
        )

    @property
    def is_of_runs(self) -> bool:
        """True where the last release is of these very runs, whatever its rules and models were."""
        return self.parent is not None and bool(self.parent.models_hash)

    @property
    def tables(self) -> dict[str, Table]:
        """The tables it has open, each at the version that it read or wrote."""
        return {**self._bronze, **self.staging.tables}

    def candidates(self, staging: Staging | None = None) -> Candidates:
        """Build what has to be built; what is to be committed is handed to ``staging``. Raises ModelError."""
        candidates = Candidates(
            connect(self._engine),
            bronze=self._bronze,
            released=self._shown,
            serving=self.parent,
            in_part=self.is_in_part and not self._full,
            excluded_runs=self.excluded_runs,
        )
        for rule in self._rules:
            candidates.add_rule(rule)
            if staging:
                staging.add(candidates, rule.name)
        for model in self._models:
            candidates.add_model(model)
            if staging:
                staging.add(candidates, model.name)
        return candidates

    def proposal(self, candidates: Candidates) -> Proposal:
        """Return what the candidates amount to, for somebody to look at before they are committed."""
        candidates.space.show_whole(candidates.space.sources)
        return Proposal(candidates.space.duckdb, self.parent, self.excluded_runs, candidates.moved())

    def publish(
        self,
        candidates: Candidates,
        outcomes: Iterable[Outcome],
        *,
        kind: str | None,
        reconciled: datetime | None,
    ) -> Release:
        """Commit what is staged and make it the release that readers see. Raises CommitConflict."""
        rows, money = candidates.rows(), candidates.money()  # they may not fit into the engine's limits
        with one_builder(self._lake):
            refuse_rival(self._lake, self.parent.release if self.parent else None)
            held = self.parent.tables if self.parent else {}
            versions = {**held, **self.staging.commit(candidates)}
            release = Release(
                release=self.parent.release + 1 if self.parent else 1,
                published_at=datetime.now(UTC),
                kind=kind or kind_of(self.parent, candidates, full=self._full),
                parent=self.parent.release if self.parent else None,
                tables={name: versions[name] for name in candidates.built},
                consumed=self.consumed,
                excluded_runs=self.excluded_runs,
                rows=rows,
                money=money,
                moved=candidates.moved(),
                checks={outcome.name: outcome.failures for outcome in outcomes if outcome.failures},
                models_hash=self.models_hash,
                code_version=version("keylake"),
                complete_through=self.complete_through,
                reconciled_through=reconciled or still_reconciled(self.parent),
            )
            return publish(self._lake, release, opened=self.tables)

    def _stored(self, name: str) -> pa.Table | None:
        held = self._shown.get(name)
        return held.read() if held else None


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
    guards: TransformSettings = GUARDS,
    because: str | None = None,
) -> Release | None:
    """Build, check, commit and publish; return the release, None where nothing differs or all is held.

    ``before_commit`` sees what passed the checks, also where nothing differs; it may raise to
    stop there, and says through when all was reconciled with the source. A ``dry_run`` stops
    there in any case, also where all is held. ``because`` is a reason for a total that falls
    further than ``guards`` allow. Raises CheckFailed (nothing was committed), ModelError,
    CommitConflict, and LakeError where it does not fit into the engine's limits.
    """
    with one_builder(lake):
        build = Build(lake, engine, rules, models, full=full)
    if (build.is_held and not dry_run) or not build.consumed or (build.is_current and not full):
        if build.parent and build.is_current and not build.is_held and not dry_run:
            settle(lake, build.parent.checks, now=datetime.now(UTC))
        refresh_catalogue(lake)
        return None
    with within(engine), build.staging as staging:
        candidates = build.candidates(None if dry_run else staging)
        outcomes = inspect(candidates, read_findings(lake), is_unique=staging.is_unique)
        if build.is_of_runs:  # else other runs are the reason for whatever moves
            outcomes += run_guards(candidates, guards, because=because)
        write_findings(lake, findings_of(outcomes, now=datetime.now(UTC)))
        refuse(outcomes)
        reconciled = before_commit(build.proposal(candidates)) if before_commit else None
        if not candidates.differ or dry_run:
            return None
        return build.publish(candidates, outcomes, kind=kind, reconciled=reconciled)


@contextmanager
def within(engine: LakeSettings) -> Iterator[None]:
    """Say in one line that DuckDB's limits were too narrow; what was built so far is a candidate and goes."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise LakeError(
            f"a build does not fit into [lake] memory_limit {engine.memory_limit} and the spill folder;"
            " raise it, or set [lake] spill to a larger disk: nothing was published, the last release serves"
        ) from None


def kind_of(parent: Release | None, candidates: Candidates, *, full: bool) -> str:
    """Return why a release came about."""
    if full or parent is None:
        return "full"
    changed = [name for name, found in candidates.built.items() if found.differs and name not in WORDS]
    return "rules" if any(name.startswith("rules.") for name in changed) else "sync"


def still_reconciled(parent: Release | None) -> datetime | None:
    """Return through when the parent was reconciled; None once other runs are left out than were then."""
    return parent.reconciled_through if parent and parent.models_hash else None


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
