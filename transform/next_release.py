"""Next release: a candidate for every table, rebuilt only as far as the changes reach.

A model that is rebuilt by key runs on the rows of the changed keys. A model that is rebuilt
by month runs on the changed months. Any other model is rebuilt as a whole if an input
changed. All other rows are those of the release. The invariant: the result equals a full
build.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import cached_property

import msgspec

from lake.delta.table import Table
from lake.errors import ModelError
from lake.query.quote import literals
from lake.query.quote import name as quoted
from lake.query.session import Connection
from lake.releases.release import Move, Release
from transform.candidate import EVERYTHING, Candidate, compare_part, compare_whole, sums
from transform.changes import Changes
from transform.models import Model
from transform.rules import Rule
from transform.scope import Keys, Months, key_in, subject
from transform.workspace import BUILT, FULL, KEYS, Workspace, build_model, files_with, scratch


class Candidates:
    """The tables of the next release, by name, in the order in which they are built.

    ``serving`` is the release that serves. ``parent`` is the same release if the build is
    ``incremental``, or None if every table is built in full.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        bronze: Mapping[str, Table],
        released: Mapping[str, Table],
        serving: Release | None,
        incremental: bool,
        excluded_runs: Collection[str],
    ) -> None:
        self.workspace = Workspace(connection)
        self.tables: dict[str, Candidate] = {}
        self.models: dict[str, Model] = {}
        self.released = released
        self.serving = serving
        self.parent = serving if incremental else None
        self.changes = Changes(
            self.workspace,
            bronze=bronze,
            released=released,
            serving=serving,
            parent=self.parent,
            models=self.models,
            candidates=self.tables,
        )
        included = f"run_id not in ({literals(excluded_runs)})" if excluded_runs else "true"
        for name, table in bronze.items():
            where = included if "run_id" in table.schema.names else "true"
            self.workspace.add_version(name, table, where=where)

    @property
    def differ(self) -> bool:
        """True if any table differs from the release."""
        return any(candidate.differs for candidate in self.tables.values())

    def add_rule(self, rule: Rule) -> None:
        """Add the rows of a rule as a table."""
        self.workspace.duckdb.register("rule", rule.table)
        self.workspace.duckdb.execute(f"create table {FULL}.{rule.name} as select * from rule")
        self.workspace.duckdb.unregister("rule")
        self.workspace.add_built(rule.name, rule.table.schema.names)
        candidate = Candidate(name=rule.name, contract=rule.contract)
        if self.parent is None:  # a changed rule makes the build a full one
            candidate = compare_whole(self.workspace, candidate, self.released.get(rule.name))
        else:
            candidate = msgspec.structs.replace(candidate, scope=None)
        self.tables[rule.name] = candidate

    def add_model(self, model: Model) -> None:
        """Build a model; the models that it reads must be built before. Raises ModelError."""
        self.models[model.name] = model
        header, scope = model.header, self.changes.scope(model)
        candidate = Candidate(
            name=model.name,
            contract=header.contract,
            partition_column=header.partition_column,
            partition_date=header.partition_date,
            money=header.money,
            scope=scope,
        )
        if scope == EVERYTHING:
            self.tables[model.name] = self._build_whole(model, candidate)
            return
        self.workspace.add_version(model.name, self.released[model.name], is_dated=bool(header.month))
        if isinstance(scope, Keys):
            candidate = self._build_keys(model, candidate, scope)
        elif isinstance(scope, Months):
            candidate = self._build_months(model, candidate, scope)
        self.tables[model.name] = candidate

    def upstream(self, name: str) -> frozenset[str]:
        """Return a model and all tables that it depends on, directly or through other models."""
        result, ahead = {name}, {name}
        while ahead:
            reads = {read for model in ahead & self.models.keys() for read in self.models[model].reads}
            ahead = reads - result
            result |= ahead
        return frozenset(result)

    def rows_to_write(self, candidate: Candidate) -> str:
        """Return the SELECT of a candidate's rows in the partitions that differ, sorted for writing.

        Rows are sorted by partition, then by key.
        """
        key = candidate.contract.key
        column = candidate.partition_column
        # Rows sorted by their date are sorted by month already.
        by = [column] if column and key[0] != candidate.partition_date else []
        order = ", ".join(map(quoted, [*by, *key])) or "all"
        if candidate.partitions is None:
            rows = f"from {self.workspace.full_name(candidate.name)}"
        else:
            assert column, "a table with partitions has a partition column"
            rows = self.workspace.rows_of_partitions(candidate.name, column, candidate.partitions)
        names = ", ".join(map(quoted, candidate.contract.schema.names))
        return f"select {names} from ({rows}) order by {order}"

    def rows(self) -> dict[str, int]:
        """Return the row count of each table."""
        return {name: rows for name, (rows, _) in self._totals.items()}

    def money(self) -> dict[str, Decimal]:
        """Return the sum of each table's money column."""
        return {name: amount for name, (_, amount) in self._totals.items() if amount is not None}

    def moved(self) -> tuple[Move, ...]:
        """Return the moves of all tables, table by table."""
        return tuple(move for candidate in self.tables.values() for move in candidate.moved)

    @cached_property
    def _totals(self) -> dict[str, tuple[int, Decimal | None]]:
        """Row count and money of each table; all tables must be built."""
        return {name: self._total(candidate) for name, candidate in self.tables.items()}

    def _total(self, candidate: Candidate) -> tuple[int, Decimal | None]:
        """Return a table's row count and money: those of the release plus its moves."""
        if [move.month for move in candidate.moved] == [None]:  # the move is of the whole table
            return candidate.moved[0].rows_after, candidate.moved[0].money_after
        if candidate.scope == EVERYTHING or self.parent is None:
            return sums(self.workspace, f"from {FULL}.{candidate.name}", candidate.money)
        rows = self.parent.rows[candidate.name]
        money = self.parent.money.get(candidate.name)
        for move in candidate.moved:
            rows += move.rows_after - move.rows_before
            if money is not None and move.money_after is not None and move.money_before is not None:
                money += move.money_after - move.money_before
        return rows, money

    def _build_whole(self, model: Model, candidate: Candidate) -> Candidate:
        workspace, header = self.workspace, model.header
        workspace.create_views(model.reads)
        build_model(workspace.duckdb, model, f"{FULL}.{model.name}")
        workspace.add_built(model.name, header.contract.schema.names, is_dated=bool(header.month))
        return compare_whole(workspace, candidate, self.released.get(model.name))

    def _build_keys(self, model: Model, candidate: Candidate, scope: Keys) -> Candidate:
        workspace, name, released = self.workspace, model.name, self.released[model.name]
        about, relation = subject(model), scratch(KEYS, name)
        workspace.create_keys(name, scope.ids)
        views = []
        for table in sorted(model.reads):
            column = key_in(table, workspace.sources[table].columns, about)
            views.append((table, workspace.rows_of_keys(table, column, relation)))
        where = f"{scope.column} in (select key from {relation})"
        self._build_part(model, views, where, "keys")
        source = workspace.sources[name]
        files = files_with(released, source.files, scope.column, sorted(scope.ids))
        before = workspace.version_rows(released, where, files)
        result = compare_part(workspace, candidate, released, before)
        source.key, source.has_view = scope.column, False
        return result

    def _build_months(self, model: Model, candidate: Candidate, scope: Months) -> Candidate:
        workspace, name, released = self.workspace, model.name, self.released[model.name]
        views = [(table, workspace.rows_of_months(table, scope.months)) for table in sorted(model.reads)]
        where = f"month in ({literals(sorted(scope.months))})"
        self._build_part(model, views, where, "months")
        source = workspace.sources[name]
        files = [file for file in source.files if file.part in scope.months]
        before = workspace.version_rows(released, files=files)
        result = compare_part(workspace, candidate, released, before)
        source.months, source.has_view = scope.months, False
        return result

    def _build_part(self, model: Model, views: list[tuple[str, str]], where: str, requested: str) -> None:
        """Run a model on these views and check that every row of the result satisfies ``where``.

        ``requested`` is the word for the requested part: keys or months. Raises ModelError for a
        row outside this part, because the model then can't be rebuilt in this way.
        """
        target = scratch(BUILT, model.name)
        self.workspace.run_on(views, lambda: build_model(self.workspace.duckdb, model, target))
        if stray := self.workspace.first_row(f"select count(*) from {target} where not ({where})")[0]:
            raise ModelError(
                f"{model.name}: {stray} rows are outside the requested {requested}, so it can't be rebuilt"
                f' {model.header.rebuild}; set rebuild = "whole" in its header'
            )
