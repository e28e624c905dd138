"""Candidates: every table as it would be in the next release, built no further than what changed reaches.

A model that is rebuilt by key is run over the rows of the keys that changed, one by month
over the months that did, and the others whole where an input changed; the rest of each
table is the release's. That this equals a full build is the one law here.
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
from transform.workspace import BUILT, FULL, KEYS, Workspace, build_model, holding, in_


class Candidates:
    """The tables of the next release, by name, in the order they are built.

    ``serving`` is the release that serves; parts of it are taken (``parent``) unless all is built anew.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        bronze: Mapping[str, Table],
        released: Mapping[str, Table],
        serving: Release | None,
        in_part: bool,
        excluded_runs: Collection[str],
    ) -> None:
        self.space = Workspace(connection)
        self.built: dict[str, Candidate] = {}
        self.models: dict[str, Model] = {}
        self.released = released
        self.serving = serving
        self.parent = serving if in_part else None
        self.changes = Changes(
            self.space,
            bronze=bronze,
            released=released,
            serving=serving,
            parent=self.parent,
            models=self.models,
            built=self.built,
        )
        left_out = f"run_id not in ({literals(excluded_runs)})" if excluded_runs else "true"
        for name, table in bronze.items():
            where = left_out if "run_id" in table.schema.names else "true"
            self.space.show(name, table, where=where)

    @property
    def differ(self) -> bool:
        """True where anything does."""
        return any(candidate.differs for candidate in self.built.values())

    def add_rule(self, rule: Rule) -> None:
        """Put in a rule's rows as a table."""
        self.space.duckdb.register("rule", rule.table)
        self.space.duckdb.execute(f"create table {FULL}.{rule.name} as select * from rule")
        self.space.duckdb.unregister("rule")
        self.space.put(rule.name, rule.table.schema.names)
        candidate = Candidate(name=rule.name, contract=rule.contract)
        if self.parent is None:  # a release of other rules is built anew as a whole
            self.built[rule.name] = compare_whole(self.space, candidate, self.released.get(rule.name))
        else:
            self.built[rule.name] = msgspec.structs.replace(candidate, scope=None)

    def add_model(self, model: Model) -> None:
        """Build a model after those it reads. Raises ModelError."""
        self.models[model.name] = model
        header, scope = model.header, self.changes.scope(model)
        candidate = Candidate(
            name=model.name,
            contract=header.contract,
            part=header.part,
            parted_by=header.parted_by,
            money=header.money,
            scope=scope,
        )
        if scope == EVERYTHING:
            self.space.show_whole(model.reads)
            build_model(self.space.duckdb, model, f"{FULL}.{model.name}")
            self.space.put(model.name, header.contract.schema.names, is_dated=bool(header.month))
            self.built[model.name] = compare_whole(self.space, candidate, self.released.get(model.name))
            return
        self.space.show(model.name, self.released[model.name], is_dated=bool(header.month))
        if isinstance(scope, Keys):
            candidate = self._build_keys(model, candidate, scope)
        elif isinstance(scope, Months):
            candidate = self._build_months(model, candidate, scope)
        self.built[model.name] = candidate

    def upstream(self, name: str) -> frozenset[str]:
        """Return a model and all tables that it is made of, directly or by way of others."""
        found, ahead = {name}, {name}
        while ahead:
            ahead = {read for one in ahead & self.models.keys() for read in self.models[one].reads} - found
            found |= ahead
        return frozenset(found)

    def to_write(self, candidate: Candidate) -> str:
        """Return the SELECT of a candidate's rows, of the parts that differ: by part, in order of its key."""
        key = candidate.contract.key
        # What is in order of its date is so by month.
        by = [candidate.part] if candidate.part and key[0] != candidate.parted_by else []
        order = ", ".join(map(quoted, [*by, *key])) or "all"
        if candidate.parts is None:
            rows = f"from {self.space.whole(candidate.name)}"
        else:
            assert candidate.part, "what has parts has a column of them"
            rows = self.space.in_parts(candidate.name, candidate.part, candidate.parts)
        names = ", ".join(map(quoted, candidate.contract.schema.names))
        return f"select {names} from ({rows}) order by {order}"

    def rows(self) -> dict[str, int]:
        """Return how many rows each table has."""
        return {name: rows for name, (rows, _) in self._totals.items()}

    def money(self) -> dict[str, Decimal]:
        """Return the sum of each table's money column."""
        return {name: amount for name, (_, amount) in self._totals.items() if amount is not None}

    def moved(self) -> tuple[Move, ...]:
        """Return what moved, table by table."""
        return tuple(move for candidate in self.built.values() for move in candidate.moved)

    @cached_property
    def _totals(self) -> dict[str, tuple[int, Decimal | None]]:
        """Rows and money of each table, once all are built."""
        return {name: self._total(candidate) for name, candidate in self.built.items()}

    def _total(self, candidate: Candidate) -> tuple[int, Decimal | None]:
        """Return rows and money of a table: the release's, and what moved since."""
        if [move.month for move in candidate.moved] == [None]:  # the whole table did
            return candidate.moved[0].rows_after, candidate.moved[0].money_after
        if candidate.scope == EVERYTHING or self.parent is None:
            return sums(self.space, f"from {FULL}.{candidate.name}", candidate.money)
        rows = self.parent.rows[candidate.name]
        money = self.parent.money.get(candidate.name)
        for move in candidate.moved:
            rows += move.rows_after - move.rows_before
            if money is not None and move.money_after is not None and move.money_before is not None:
                money += move.money_after - move.money_before
        return rows, money

    def _build_keys(self, model: Model, candidate: Candidate, scope: Keys) -> Candidate:
        space, name, held = self.space, model.name, self.released[model.name]
        about, relation = subject(model), in_(KEYS, name)
        space.put_keys(name, scope.ids)
        views = [
            (one, space.of_keys(one, key_in(one, space.sources[one].columns, about), relation))
            for one in sorted(model.reads)
        ]
        among = f"{scope.column} in (select key from {relation})"
        self._build_part(model, views, among, "the keys it was asked for")
        source = space.sources[name]
        files = holding(held, source.files, scope.column, sorted(scope.ids))
        compared = compare_part(space, candidate, held, space.held(held, among, files))
        source.key, source.is_seen = scope.column, False
        return compared

    def _build_months(self, model: Model, candidate: Candidate, scope: Months) -> Candidate:
        space, name, held = self.space, model.name, self.released[model.name]
        views = [(one, space.of_months(one, scope.months)) for one in sorted(model.reads)]
        among = f"month in ({literals(sorted(scope.months))})"
        self._build_part(model, views, among, "the months it was asked for")
        source = space.sources[name]
        files = [file for file in source.files if file.part in scope.months]
        compared = compare_part(space, candidate, held, space.held(held, files=files))
        source.months, source.is_seen = scope.months, False
        return compared

    def _build_part(self, model: Model, views: list[tuple[str, str]], among: str, asked: str) -> None:
        """Run a model over what these views show; what it yields has to be as ``among`` says.

        Raises ModelError where its way of rebuilding does not allow a row.
        """
        target = in_(BUILT, model.name)
        self.space.in_part(views, lambda: build_model(self.space.duckdb, model, target))
        if stray := self.space.one(f"select count(*) from {target} where not ({among})")[0]:
            raise ModelError(
                f"{model.name}: {stray} rows are outside {asked}: it is not to be rebuilt"
                f" {model.header.rebuild}; say whole in its header"
            )
