"""Candidates: every table as it would be in the next release, built no further than what changed reaches.

A model that is rebuilt by key is run over the rows of the keys that changed, one by month
over the months that did, and the others whole where an input changed; the rest of each
table is the release's. That this equals a full build is the one law here.
"""

from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec
import pyarrow as pa

from lake.contract import Contract, differs
from lake.errors import ModelError
from lake.quote import literals
from lake.quote import name as quoted
from lake.release import Move, Release
from lake.session import Connection, scan
from lake.table import Table
from transform.models import Model
from transform.rules import Rule
from transform.scope import Keys, Months, Scope, Whole, key_in, refers_by, subject
from transform.workspace import BUILT, COME, DIFF, FULL, GONE, KEYS, Workspace, build_model, holding, in_

NO_MONEY = "null::decimal(38,2)"
# How many times more a row is in the candidate than in the release.
TIMES = quoted("times more")
EVERYTHING = Whole()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A table as it would be, and how it differs from the release's.

    ``part`` is the column it is partitioned by: the month, or week, of the date ``parted_by``. ``parts``
    are its values where it differs; None where the table is written whole. ``scope`` is what was built
    anew of it, None for nothing.
    """

    name: str
    contract: Contract
    part: str | None = None
    parted_by: str | None = None
    money: str | None = None
    scope: Scope | None = EVERYTHING
    differs: bool = False
    parts: tuple[date, ...] | None = None
    moved: tuple[Move, ...] = ()

    @property
    def has_ids(self) -> bool:
        """True where the first column of the key is a number, as ids are."""
        key = self.contract.key
        return bool(key) and pa.types.is_integer(self.contract.schema.field(key[0]).type)

    @property
    def apart(self) -> str | None:
        """The partition's column where the key does not say in which one a row is."""
        return None if self.parted_by in self.contract.key else self.part


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
        self._bronze = bronze
        self.released = released
        self.serving = serving
        self.parent = serving if in_part else None
        self.models: dict[str, Model] = {}
        self._news: dict[tuple[str, str], set[int]] = {}
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
        # A release of other rules is built anew as a whole.
        is_held = self.parent is not None
        self.built[rule.name] = (
            msgspec.structs.replace(candidate, scope=None) if is_held else self._whole(candidate)
        )

    def add_model(self, model: Model) -> None:
        """Build a model after those it reads. Raises ModelError."""
        self.models[model.name] = model
        header = model.header
        scope, keys, months = self._scope(model)
        candidate = Candidate(
            name=model.name,
            contract=header.contract,
            part=header.part,
            parted_by=header.parted_by,
            money=header.money,
            scope=scope,
        )
        if isinstance(scope, Whole):
            self.space.show_whole(model.reads)
            build_model(self.space.duckdb, model, f"{FULL}.{model.name}")
            self.space.put(model.name, header.contract.schema.names, is_dated=bool(header.month))
            self.built[model.name] = self._whole(candidate)
            return
        self.space.show(model.name, self.released[model.name], is_dated=bool(header.month))
        if isinstance(scope, Keys):
            self._build_keys(model, scope, keys)
        elif isinstance(scope, Months):
            self._build_months(model, months)
        self.built[model.name] = self._in_part(candidate) if scope else candidate

    def is_news(self, name: str) -> bool:
        """True where a table that a model reads is not what the release was built from."""
        if name not in self._bronze:
            return self.built[name].differs
        if self.parent is None or name not in self.parent.consumed:
            return True
        return self._bronze[name].version != self.parent.consumed[name]

    def upstream(self, name: str) -> frozenset[str]:
        """Return a model and all tables that it is made of, directly or by way of others."""
        found, ahead = {name}, {name}
        while ahead:
            ahead = {read for one in ahead & self.models.keys() for read in self.models[one].reads} - found
            found |= ahead
        return frozenset(found)

    def observed(self, name: str, column: str) -> set[int]:
        """Return the ids of what bronze has got since the release that serves; compaction brings none."""
        if (name, column) not in self._news:
            assert self.serving, "news are news since a release"
            found = self._bronze[name].appended(column, after=self.serving.consumed[name])
            self._news[name, column] = found
        return self._news[name, column]

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
            return self._sums(f"from {FULL}.{candidate.name}", candidate.money)
        rows = self.parent.rows[candidate.name]
        money = self.parent.money.get(candidate.name)
        for move in candidate.moved:
            rows += move.rows_after - move.rows_before
            if money is not None and move.money_after is not None and move.money_before is not None:
                money += move.money_after - move.money_before
        return rows, money

    def _scope(self, model: Model) -> tuple[Scope | None, set[int], set[date]]:
        """Return what has to be built anew of a model, and the keys or months of it."""
        reads = sorted(name for name in model.reads if self.is_news(name))
        if self.parent is None or model.name not in self.released:
            return EVERYTHING, set(), set()
        if not reads:
            return None, set(), set()
        if model.header.rebuild == "whole":
            return EVERYTHING, set(), set()
        if model.header.rebuild == "by key":
            keys = self._keys(model, reads)
            if keys is None:
                return EVERYTHING, set(), set()
            return (Keys(model.header.key[0]) if keys else None), keys, set()
        months = self._months(model, reads)
        if months is None:
            return EVERYTHING, set(), set()
        return (Months() if months else None), set(), months

    def _keys(self, model: Model, reads: list[str]) -> set[int] | None:
        """Return the keys of a model that what changed in its inputs touches; None: it can't be told."""
        about, own = subject(model), model.header.key[0]
        keys: set[int] = set()
        for name in reads:
            column = key_in(name, self.space.sources[name].columns, about)
            if column and name in self._bronze:
                keys |= self.observed(name, column)
            elif column:
                keys |= self._changed(name, column, None)
            elif name in self._bronze or name.startswith("rules."):
                return None
            else:
                found = self._referring(model, name, own)
                if found is None:
                    return None
                keys |= found
        return keys

    def _months(self, model: Model, reads: list[str]) -> set[date] | None:
        """Return the months of a model that what changed in its inputs touches; None: it can't be told."""
        months: set[date] = set()
        for name in reads:
            candidate = self.built.get(name)
            if candidate and self.space.sources[name].is_dated:
                if candidate.parts is None:
                    return None
                months |= set(candidate.parts)
                continue
            found = None if candidate is None else self._referring(model, name, "month")
            if found is None or name.startswith("rules."):
                return None
            months |= found
        return months

    def _referring(self, model: Model, dimension: str, wanted: str) -> set[Any] | None:
        """Return the keys, or the months, of the rows that refer to changed rows of a dimension."""
        parent = self.models.get(dimension)
        columns = {name: self.space.sources[name].columns for name in model.reads}
        columns[model.name] = tuple(self.released[model.name].schema.names)
        dated = [name for name in model.reads if wanted == "month" and self.space.sources[name].is_dated]
        place = refers_by(model, parent, columns, dated) if parent else None
        if parent is None or place is None or not self.built[dimension].has_ids:
            return None
        changed = self._changed(dimension, parent.header.key[0], model.columns_read(dimension))
        if not changed:
            return set()
        table, column = place
        if table == model.name:
            rows = f"from ({scan(self.space.duckdb, self.released[model.name])})"
        else:
            rows = f"from {self.space.whole(table)}"
        self.space.put_keys("referred", changed)
        among = f"{column} in (select key from {in_(KEYS, 'referred')})"
        return set(self.space.column(f"select distinct {wanted} {rows} where {among}"))

    def _changed(self, name: str, column: str, columns: Collection[str] | None) -> set[int]:
        """Return the ids in the rows of a table that differ from the release's, in some columns or in any."""
        candidate = self.built[name]
        wanted = candidate.contract.schema.names if columns is None else sorted({column, *columns})
        wanted = [one for one in wanted if one in candidate.contract.schema.names]
        listed = ", ".join(map(quoted, wanted))
        differing = f"select {listed} from {in_(DIFF, name)} group by all having sum({TIMES}) <> 0"
        return set(
            self.space.column(f"select distinct {column} from ({differing}) where {column} is not null")
        )

    def _build_keys(self, model: Model, scope: Keys, keys: set[int]) -> None:
        space, name = self.space, model.name
        about, relation = subject(model), in_(KEYS, name)
        self.space.put_keys(name, keys)
        views = [
            (one, space.of_keys(one, key_in(one, space.sources[one].columns, about), relation))
            for one in sorted(model.reads)
        ]
        target = self._build_part(model, views)
        stray = f"from {target} where {scope.column} not in (select key from {relation})"
        self._refuse_stray(model, stray, "the keys it was asked for")
        source = space.sources[name]
        assert source.table, "it stands on the release's version"
        files = holding(source.table, source.files, scope.column, sorted(keys))
        among = f"{scope.column} in (select key from {relation})"
        self._compare(
            name, model.header.contract, built=f"from {target}", held=space.held(source.table, among, files)
        )
        source.key, source.is_seen = scope.column, False

    def _build_months(self, model: Model, months: set[date]) -> None:
        space, name = self.space, model.name
        views = [(one, space.of_months(one, months)) for one in sorted(model.reads)]
        target = self._build_part(model, views)
        listed = literals(sorted(months))
        self._refuse_stray(
            model, f"from {target} where month not in ({listed})", "the months it was asked for"
        )
        source = space.sources[name]
        assert source.table, "it stands on the release's version"
        files = [file for file in source.files if file.part in months]
        self._compare(
            name, model.header.contract, built=f"from {target}", held=space.held(source.table, files=files)
        )
        source.months, source.is_seen = frozenset(months), False

    def _build_part(self, model: Model, views: list[tuple[str, str]]) -> str:
        target = in_(BUILT, model.name)
        self.space.in_part(views, lambda: build_model(self.space.duckdb, model, target))
        return target

    def _refuse_stray(self, model: Model, rows: str, asked: str) -> None:
        """Raise ModelError where a model yields rows that its way of rebuilding does not allow."""
        if stray := self.space.one(f"select count(*) {rows}")[0]:
            raise ModelError(
                f"{model.name}: {stray} rows are outside {asked}: it is not to be rebuilt"
                f" {model.header.rebuild}; say whole in its header"
            )

    def _compare(self, name: str, contract: Contract, *, built: str, held: str) -> None:
        """Keep the rows that only the release has, and those that only the candidate has.

        One pass over both, where ``except all`` would sort each of them twice.
        """
        names, place = ", ".join(map(quoted, contract.schema.names)), in_(DIFF, name)
        both = f"select {names}, 1 as {TIMES} from ({built}) union all select {names}, -1 from ({held})"
        self.space.duckdb.execute(
            f"create or replace table {place} as select {names}, sum({TIMES})::bigint as {TIMES}"
            f" from ({both}) group by all having sum({TIMES}) <> 0;"
            f" create or replace view {in_(GONE, name)} as select {names} from {place} where {TIMES} < 0;"
            f" create or replace view {in_(COME, name)} as select {names} from {place} where {TIMES} > 0"
        )

    def _in_part(self, candidate: Candidate) -> Candidate:
        """Return the candidate with what differs, where a part of it was built anew."""
        differing = self._sums_by_month(f"from {in_(DIFF, candidate.name)}", candidate, TIMES)
        held = self.released[candidate.name]
        files = [file for file in held.files() if not file.part or file.part.replace(day=1) in differing]
        before = self._sums_by_month(self.space.held(held, files=files), candidate) if differing else {}
        none = 0, Decimal("0.00") if candidate.money else None
        moved: list[Move] = []
        for month in sorted(differing, key=str):
            (rows, money), (more, dearer) = before.get(month, none), differing[month]
            after = money + dearer if money is not None and dearer is not None else None
            moved.append(Move(candidate.name, month, rows, rows + more, money, after))
        parts = self._parts(candidate, moved) if candidate.part else None
        return msgspec.structs.replace(candidate, differs=bool(moved), parts=parts, moved=tuple(moved))

    def _sums_by_month(
        self, rows: str, candidate: Candidate, times: str = "1"
    ) -> dict[date | None, tuple[int, Decimal | None]]:
        """Return rows and money by month (None: the table has none), each row counted so many times."""
        month = f"date_trunc('month', {candidate.part})::date" if candidate.part else "null::date"
        money = f"coalesce(sum({candidate.money} * {times}), 0)::decimal(38,2)"
        money = money if candidate.money else NO_MONEY
        query = f"select {month}, sum({times})::bigint, {money} from ({rows}) group by 1"
        return {found: (count, total) for found, count, total in self.space.duckdb.execute(query).fetchall()}

    def _parts(self, candidate: Candidate, moved: Collection[Move]) -> tuple[date, ...]:
        """Return the partitions in which a table differs from the release."""
        if candidate.part == "month":
            return tuple(move.month for move in moved if move.month)
        differing = in_(DIFF, candidate.name)
        return tuple(self.space.column(f"select distinct {candidate.part} from {differing} order by 1"))

    def _whole(self, candidate: Candidate) -> Candidate:
        """Return the candidate with what differs, where all of it was built anew."""
        held = self.released.get(candidate.name)
        if held is None or differs(held.schema, candidate.contract.schema):
            return msgspec.structs.replace(candidate, differs=True, moved=(self._move(candidate),))
        self._compare(
            candidate.name,
            candidate.contract,
            built=f"from {FULL}.{candidate.name}",
            held=scan(self.space.duckdb, held),
        )
        return self._in_part(candidate)

    def _move(self, candidate: Candidate) -> Move:
        """Return how a table moved that is there for the first time, or in other columns."""
        held = self.released.get(candidate.name)
        before: tuple[int, Decimal | None] = (0, None)
        if held:
            money = candidate.money if candidate.money in held.schema.names else None
            before = self._sums(f"from ({scan(self.space.duckdb, held)})", money)
        after = self._sums(f"from {self.space.whole(candidate.name)}", candidate.money)
        return Move(candidate.name, None, before[0], after[0], before[1], after[1])

    def _sums(self, rows: str, money: str | None) -> tuple[int, Decimal | None]:
        amount = f"coalesce(sum({money}), 0)::decimal(38,2)" if money else NO_MONEY
        count, total = self.space.one(f"select count(*), {amount} from ({rows})")
        return count, total
