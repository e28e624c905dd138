"""Build: candidates, checks, commits, one release. Its work is proportional to the change.

The observations since the last release determine which keys and months to rebuild; all other
rows are those of the release. Every candidate is built in DuckDB before the first commit, so a
failed check leaves the lake unchanged. Only tables and months that differ from the last release
are written. This happens while others are built and checked; then all are committed, and
published as one release. If nothing differs, or publishing is on hold, there is no commit and no
release. Observations of excluded runs are left out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version

import duckdb
import msgspec
import pyarrow as pa
import structlog

from lake.delta.damage import damaged_files, refuse_damage
from lake.delta.table import Table
from lake.delta.tables import is_openable, open_table, table_exists
from lake.errors import LakeError, TableDamaged, TableMissing
from lake.ledgers.findings import read_damage, read_findings, settle, write_findings
from lake.ledgers.runs import newest_run
from lake.lock import one_builder
from lake.paths import Lake
from lake.query.catalogue import publish, refresh_catalogue
from lake.query.session import Connection, connect, open_heads
from lake.releases.release import Move, Release, current_release, refuse_rival
from lake.releases.released_table import digests_of, open_released, refuse_difference
from lake.settings import LakeSettings
from transform.check_scope import check_candidates
from transform.checks import Outcome, checks_of, findings_of, refuse_failures
from transform.commit_queue import CommitQueue
from transform.dictionary import DICTIONARY_TABLES, dictionary
from transform.guards import run_guards
from transform.models import Model, hash_of
from transform.next_release import Candidates
from transform.rules import rule_tables
from transform.settings import RulesSettings, TransformSettings

log = structlog.get_logger()


class Proposal(msgspec.Struct, frozen=True):
    """The result of a build before its first commit.

    ``connection`` shows every candidate under its name, and bronze as the build read it.
    """

    connection: Connection
    parent: Release | None
    excluded_runs: tuple[str, ...]
    moved: tuple[Move, ...]


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs and options of one build.

    ``full`` rebuilds every table. ``kind`` is the release's kind, if it does not follow from the
    change. ``before_commit`` receives the proposal after its checks, even if nothing differs; it
    may raise to stop the build, and returns the instant up to which the release is reconciled with
    the source. A ``dry_run`` stops there in any case, even if publishing is on hold. A ``reason``
    allows a total to decrease by more than ``guards`` permit.
    """

    engine: LakeSettings
    rules: RulesSettings
    models: Sequence[Model]
    full: bool = False
    kind: str | None = None
    before_commit: Callable[[Proposal], datetime | None] | None = None
    dry_run: bool = False
    guards: TransformSettings = TransformSettings()
    reason: str | None = None


class Build:
    """One build: the versions that it starts from, and its candidates.

    It first restores heads that a crash, or a rollback, left ahead of the last release. If
    publishing is on hold it leaves them, and a commit then meets a conflict.
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
            checks_of(model)  # raises for two checks of one name before anything is built
        self._full = full
        self.parent = current_release(lake)
        self._released = released_tables(lake, self.parent, full=full) if self.parent else {}
        self.queue = CommitQueue(lake, self._released)
        self.excluded_runs = self.parent.excluded_runs if self.parent else ()
        # Read before bronze: a run that ends in between is then included, and not yet promised.
        self.complete_through = complete_through(lake, self.excluded_runs)
        self._bronze = open_heads(lake)
        self.consumed = {name: table.version for name, table in self._bronze.items()}
        self.models_hash = hash_of(models)
        self.has_lost_inputs = self._find_lost_inputs()

    @property
    def is_held(self) -> bool:
        """True if the last release holds publishing."""
        return self.parent is not None and self.parent.is_held

    @property
    def is_current(self) -> bool:
        """True if the last release was built from the same versions, rules and models."""
        return self.parent is not None and self.parent.consumed == self.consumed and self.is_incremental

    @cached_property
    def is_incremental(self) -> bool:
        """True if only changes have to be built: the release has the same models, rules and tables."""
        parent = self.parent
        return (
            parent is not None
            and parent.models_hash == self.models_hash
            and parent.consumed.keys() == self.consumed.keys()
            and parent.tables.keys() == self._released.keys()
            and all(self._stored(rule.name) == rule.table for rule in self._rules)
            and not self.has_lost_inputs
        )

    @property
    def has_same_runs(self) -> bool:
        """True if the last release was built with the same excluded runs, whatever its rules and models."""
        return self.parent is not None and bool(self.parent.models_hash)

    @property
    def tables(self) -> dict[str, Table]:
        """The open tables, each at the version that the build read or wrote."""
        return {**self._bronze, **self.queue.tables}

    def build_candidates(self, queue: CommitQueue | None = None) -> Candidates:
        """Build every table that needs it, and add it to ``queue`` if there is one. Raises ModelError."""
        candidates = Candidates(
            connect(self._engine),
            bronze=self._bronze,
            released=self._released,
            serving=self.parent,
            incremental=self.is_incremental and not self._full,
            excluded_runs=self.excluded_runs,
        )
        for rule in self._rules:
            candidates.add_rule(rule)
            if queue:
                queue.add(candidates, rule.name)
        for model in self._models:
            candidates.add_model(model)
            if queue:
                queue.add(candidates, model.name)
        return candidates

    def proposal(self, candidates: Candidates) -> Proposal:
        """Return the candidates as a proposal, with every table visible in its connection."""
        candidates.workspace.create_views(candidates.workspace.sources)
        return Proposal(candidates.workspace.duckdb, self.parent, self.excluded_runs, candidates.moved())

    def publish(
        self,
        candidates: Candidates,
        outcomes: Iterable[Outcome],
        *,
        kind: str | None,
        reconciled: datetime | None,
    ) -> Release:
        """Commit the queued tables and publish them as a release. Raises CommitConflict."""
        # Counted before the lock, because they may exceed DuckDB's limits.
        rows, money = candidates.rows(), candidates.money()
        with one_builder(self._lake):
            refuse_rival(self._lake, self.parent.release if self.parent else None)
            released = self.parent.tables if self.parent else {}
            versions = {**released, **self.queue.commit(candidates)}
            tables = {name: versions[name] for name in candidates.tables}
            release = Release(
                release=self.parent.release + 1 if self.parent else 1,
                published_at=datetime.now(UTC),
                kind=kind or release_kind(self.parent, candidates, full=self._full),
                parent=self.parent.release if self.parent else None,
                tables=tables,
                consumed=self.consumed,
                excluded_runs=self.excluded_runs,
                rows=rows,
                money=money,
                digests=digests_of(self._lake, tables | self.consumed, self.parent, self.tables),
                moved=candidates.moved(),
                checks={outcome.name: outcome.failures for outcome in outcomes if outcome.failures},
                models_hash=self.models_hash,
                code_version=version("keylake"),
                complete_through=self.complete_through,
                reconciled_through=reconciled or parent_reconciled_through(self.parent),
            )
            for name in tables:
                refuse_difference(release, self.tables[name])
            return publish(self._lake, release, opened=self.tables)

    def _find_lost_inputs(self) -> bool:
        """Return True if a version of bronze that the release was built from was lost with a part of its log.

        Raises TableDamaged if the log of such a version has changed, unless the build is a full one.
        """
        parent = self.parent
        if parent is None:
            return False
        if not all(is_openable(self._lake, name, at) for name, at in parent.consumed.items()):
            return True
        try:
            for name, at in parent.consumed.items():
                head = self._bronze.get(name)
                refuse_difference(
                    parent, head if head and head.version == at else open_table(self._lake, name, at)
                )
        except TableMissing:  # its log was cleaned
            return False
        except TableDamaged as error:
            if not self._full:
                raise
            log.warning("transform.rebuilds_from_changed_log", reason=str(error))
            return True
        return False

    def _stored(self, name: str) -> pa.Table | None:
        table = self._released.get(name)
        return table.read() if table and not damaged_files(table.uris()) else None


def run_build(lake: Lake, request: BuildRequest) -> Release | None:
    """Build, check, commit and publish.

    Return the release, or None if nothing differs, publishing is on hold, or it is a dry run.
    Raises CheckFailed (nothing was committed), ModelError, CommitConflict, and LakeError if the
    build exceeds DuckDB's limits.
    """
    with one_builder(lake):
        build = Build(lake, request.engine, request.rules, request.models, full=request.full)
    is_held = build.is_held and not request.dry_run
    if is_held or not build.consumed or (build.is_current and not request.full):
        skip_build(lake, build, request)
        return None
    with explain_memory_limit(request.engine), build.queue as queue:
        candidates = build.build_candidates(None if request.dry_run else queue)
        outcomes = check_candidates(candidates, read_findings(lake), is_unique=queue.is_unique)
        if build.has_same_runs:  # otherwise the changed runs are the reason for any move
            outcomes += run_guards(candidates, request.guards, reason=request.reason)
        write_findings(lake, findings_of(outcomes, now=datetime.now(UTC)))
        refuse_failures(outcomes, request.rules.currency)
        reconciled = request.before_commit(build.proposal(candidates)) if request.before_commit else None
        if request.dry_run or not (candidates.differ or build.has_lost_inputs):
            return None
        return build.publish(candidates, outcomes, kind=request.kind, reconciled=reconciled)


def skip_build(lake: Lake, build: Build, request: BuildRequest) -> None:
    """Refresh the catalogue, and reset findings to the release's counts if the release is current."""
    if build.parent and build.is_current and not build.is_held and not request.dry_run:
        settle(lake, build.parent.checks, now=datetime.now(UTC))
    refresh_catalogue(lake)


@contextmanager
def explain_memory_limit(engine: LakeSettings) -> Iterator[None]:
    """Raise LakeError with the next step if DuckDB runs out of memory; nothing is committed then."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise LakeError(
            f"a build does not fit into [lake] memory_limit {engine.memory_limit} and the spill folder;"
            " raise it, or set [lake] spill to a larger disk: nothing was published, the last release serves"
        ) from None


def release_kind(parent: Release | None, candidates: Candidates, *, full: bool) -> str:
    """Return the kind of a release: full, rules or sync."""
    if full or parent is None:
        return "full"
    changed = [name for name, candidate in candidates.tables.items() if candidate.differs]
    has_rules = any(name.startswith("rules.") and name not in DICTIONARY_TABLES for name in changed)
    return "rules" if has_rules else "sync"


def parent_reconciled_through(parent: Release | None) -> datetime | None:
    """Return the instant up to which the parent was reconciled; None if the excluded runs changed since."""
    return parent.reconciled_through if parent and parent.models_hash else None


def complete_through(lake: Lake, excluded_runs: Collection[str]) -> datetime | None:
    """Return the source's time at the end of the last complete sync, or None if there is none.

    A run over a part of history, or an excluded run, is ignored.
    """
    newest = newest_run(lake, lambda run: run.watermark is not None and run.run_id not in excluded_runs)
    return newest.source_time if newest else None


def released_tables(lake: Lake, release: Release, *, full: bool = False) -> dict[str, Table]:
    """Return the tables of a release. Unless publishing is on hold, their heads are restored to it."""
    if not release.is_held:
        return restore_heads(lake, release, full=full)
    return {name: open_released(lake, release, name) for name in release.tables}


def restore_heads(lake: Lake, release: Release, *, full: bool = False) -> dict[str, Table]:
    """Restore every head that a crash, or a rollback, left ahead of the release.

    Return the tables at their heads, which then have the content of the release. A table whose
    released version is lost, or has a damaged file, is left out, and is built in full. Files are
    checked here if the build is ``full``, or if they are known to be damaged.
    """
    heads: dict[str, Table] = {}
    known = {f"{lake.place}/{path}" for path in read_damage(lake)}
    for name, at in release.tables.items():
        if not table_exists(lake, name):
            continue
        head = open_table(lake, name)
        if head.version < at:  # its next commits would take numbers that releases reference
            raise TableDamaged(f"{name}: its log ends before version {at}; run `just repair`")
        try:
            if head.version == at:
                refuse_difference(release, head)
            elif content(head) != content(open_released(lake, release, name)):
                log.warning("transform.repaired", table=name, head=head.version, released=at)
                head.restore(at)
            refuse_damage(name, head.uris() if full else head.uris() & known, known=known)
        except (TableMissing, TableDamaged) as error:
            log.warning("transform.rebuilds_lost_table", table=name, reason=str(error))
            continue
        heads[name] = head
    return heads


def content(table: Table) -> tuple[pa.Schema, set[str]]:
    """Return the schema and the files of a table version."""
    return table.schema, {file.uri for file in table.files()}
