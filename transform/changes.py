"""Changes: the ids and months of a model that the changes in its inputs affect.

Ids come from the observations that bronze has received since the release, or from the rows
that differ in the tables built before. Rows that look up such a row are affected too.
"""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from lake.delta.table import Table
from lake.query.quote import name as quoted
from lake.releases.release import Release
from transform.candidate import EVERYTHING, TIMES, Candidate
from transform.models import Model
from transform.scope import Keys, Months, Scope, key_in, subject
from transform.workspace import DIFF, KEYS, Workspace, scratch


class Changes:
    """The changes since a release, as far as the ``candidates`` of the next one are built.

    ``serving`` is the release that serves. ``parent`` is the same release if its rows are
    reused, or None if every table is built in full.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        bronze: Mapping[str, Table],
        released: Mapping[str, Table],
        serving: Release | None,
        parent: Release | None,
        models: Mapping[str, Model],
        candidates: Mapping[str, Candidate],
    ) -> None:
        self._workspace = workspace
        self._bronze = bronze
        self._released = released
        self._serving = serving
        self._parent = parent
        self._models = models
        self._candidates = candidates
        self._observed: dict[tuple[str, str], set[int]] = {}

    def has_changed(self, name: str) -> bool:
        """Return True if an input table is not the one that the release was built from."""
        if name not in self._bronze:
            return self._candidates[name].differs
        if self._parent is None or name not in self._parent.consumed:
            return True
        return self._bronze[name].version != self._parent.consumed[name]

    def observed_ids(self, name: str, column: str) -> set[int]:
        """Return the ids that bronze has received since the serving release; compaction adds none."""
        if (name, column) not in self._observed:
            assert self._serving, "observations are new only relative to a release"
            ids = self._bronze[name].appended(column, after=self._serving.consumed[name])
            self._observed[name, column] = ids - {None}  # a refused object may have no readable id
        return self._observed[name, column]

    def scope(self, model: Model) -> Scope | None:
        """Return the part of a model to rebuild, or None if nothing has to be rebuilt."""
        if self._parent is None or model.name not in self._released:
            return EVERYTHING
        inputs = sorted(name for name in model.reads if self.has_changed(name))
        if not inputs:
            return None
        if model.header.rebuild == "by key":
            return self._key_scope(model, inputs)
        return self._month_scope(model, inputs) if model.header.rebuild == "by month" else EVERYTHING

    def _key_scope(self, model: Model, inputs: list[str]) -> Scope | None:
        about, own = subject(model), model.header.key[0]
        keys: set[int] = set()
        for name in inputs:
            column = key_in(name, self._workspace.sources[name].columns, about)
            if column and name in self._bronze:
                keys |= self.observed_ids(name, column)
            elif column:
                keys |= self._changed_ids(name, column, None)
            elif name in self._bronze or name.startswith("rules."):
                return EVERYTHING
            else:
                referring = self._referring(model, name, own)
                if referring is None:
                    return EVERYTHING
                keys |= referring
        return Keys(own, frozenset(keys)) if keys else None

    def _month_scope(self, model: Model, inputs: list[str]) -> Scope | None:
        months: set[date] = set()
        for name in inputs:
            candidate = self._candidates.get(name)
            if candidate and self._workspace.sources[name].is_dated:
                if candidate.partitions is None:
                    return EVERYTHING
                months |= set(candidate.partitions)
                continue
            referring = None if candidate is None else self._referring(model, name, "month")
            if referring is None or name.startswith("rules."):
                return EVERYTHING
            months |= referring
        return Months(frozenset(months)) if months else None

    def _referring(self, model: Model, dimension: str, wanted: str) -> set[Any] | None:
        """Return the ``wanted`` column (a key, or "month") of rows that look up changed rows of a dimension.

        The result is None if it can't be determined.
        """
        parent = self._models.get(dimension)
        lookup = model.lookup(parent) if parent else None
        if parent is None or lookup is None or not self._candidates[dimension].has_ids:
            return None
        changed = self._changed_ids(dimension, parent.header.key[0], lookup.columns)
        if not changed:
            return set()
        table, column = model.name, lookup.output_column
        if column is None:
            table, column = lookup.source or "", lookup.column
            is_dated = table in self._candidates and self._workspace.sources[table].is_dated
            if wanted != "month" or not is_dated:
                return None
        if not self._has_ids(table, column):
            return None
        if table == model.name:
            rows = f"from ({self._workspace.scan(self._released[table])})"
        else:
            rows = f"from {self._workspace.full_name(table)}"
        self._workspace.create_keys("referred", changed)
        where = f"{column} in (select key from {scratch(KEYS, 'referred')})"
        return set(self._workspace.first_column(f"select distinct {wanted} {rows} where {where}"))

    def _has_ids(self, name: str, column: str) -> bool:
        """Return True if a column of a model is an integer, as ids are."""
        header = self._models[name].header
        types = {field.name.lower(): field.type for field in header.contract.schema}
        return bool(pa.types.is_integer(types[column]))

    def _changed_ids(self, name: str, column: str, columns: Collection[str] | None) -> set[int]:
        """Return the ids of rows that differ from the release in any of ``columns``; None means all."""
        names = self._candidates[name].contract.schema.names
        compared = [each for each in names if columns is None or each == column or each.lower() in columns]
        listed = ", ".join(map(quoted, compared))
        differing = f"select {listed} from {scratch(DIFF, name)} group by all having sum({TIMES}) <> 0"
        query = f"select distinct {column} from ({differing}) where {column} is not null"
        return set(self._workspace.first_column(query))
