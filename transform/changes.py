"""Changes: which ids and months of a model what changed in its inputs touches.

Ids come from the observations that bronze has got since the release, or from rows that differ
in the tables built before; through them come the rows that look them up.
"""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from lake.delta.table import Table
from lake.query.quote import name as quoted
from lake.query.session import scan
from lake.releases.release import Release
from transform.candidate import EVERYTHING, TIMES, Candidate
from transform.models import Model
from transform.scope import Keys, Months, Scope, key_in, subject
from transform.workspace import DIFF, KEYS, Workspace, in_


class Changes:
    """What changed since a release, as far as the tables of the next one are ``built``.

    ``parent`` is the release of which parts are taken, None where all is built anew; ``serving`` the one
    that serves.
    """

    def __init__(
        self,
        space: Workspace,
        *,
        bronze: Mapping[str, Table],
        released: Mapping[str, Table],
        serving: Release | None,
        parent: Release | None,
        models: Mapping[str, Model],
        built: Mapping[str, Candidate],
    ) -> None:
        self._space = space
        self._bronze = bronze
        self._released = released
        self._serving = serving
        self._parent = parent
        self._models = models
        self._built = built
        self._observed: dict[tuple[str, str], set[int]] = {}

    def is_news(self, name: str) -> bool:
        """True where a table that a model reads is not what the release was built from."""
        if name not in self._bronze:
            return self._built[name].differs
        if self._parent is None or name not in self._parent.consumed:
            return True
        return self._bronze[name].version != self._parent.consumed[name]

    def observed(self, name: str, column: str) -> set[int]:
        """Return the ids of what bronze has got since the release that serves; compaction brings none."""
        if (name, column) not in self._observed:
            assert self._serving, "news are news since a release"
            found = self._bronze[name].appended(column, after=self._serving.consumed[name])
            self._observed[name, column] = found
        return self._observed[name, column]

    def scope(self, model: Model) -> Scope | None:
        """Return what has to be built anew of a model; None for nothing."""
        if self._parent is None or model.name not in self._released:
            return EVERYTHING
        reads = sorted(name for name in model.reads if self.is_news(name))
        if not reads:
            return None
        if model.header.rebuild == "by key":
            return self._keys(model, reads)
        return self._months(model, reads) if model.header.rebuild == "by month" else EVERYTHING

    def _keys(self, model: Model, reads: list[str]) -> Scope | None:
        about, own = subject(model), model.header.key[0]
        keys: set[int] = set()
        for name in reads:
            column = key_in(name, self._space.sources[name].columns, about)
            if column and name in self._bronze:
                keys |= self.observed(name, column)
            elif column:
                keys |= self._changed(name, column, None)
            elif name in self._bronze or name.startswith("rules."):
                return EVERYTHING
            else:
                found = self._referring(model, name, own)
                if found is None:
                    return EVERYTHING
                keys |= found
        return Keys(own, frozenset(keys)) if keys else None

    def _months(self, model: Model, reads: list[str]) -> Scope | None:
        months: set[date] = set()
        for name in reads:
            candidate = self._built.get(name)
            if candidate and self._space.sources[name].is_dated:
                if candidate.parts is None:
                    return EVERYTHING
                months |= set(candidate.parts)
                continue
            found = None if candidate is None else self._referring(model, name, "month")
            if found is None or name.startswith("rules."):
                return EVERYTHING
            months |= found
        return Months(frozenset(months)) if months else None

    def _referring(self, model: Model, dimension: str, wanted: str) -> set[Any] | None:
        """Return the keys, or the months, of the rows that look up changed rows of a dimension.

        None where it can't be told.
        """
        parent = self._models.get(dimension)
        lookup = model.lookup(parent) if parent else None
        if parent is None or lookup is None or not self._built[dimension].has_ids:
            return None
        changed = self._changed(dimension, parent.header.key[0], lookup.columns)
        if not changed:
            return set()
        table, column = model.name, lookup.shown_as
        if column is None:
            table, column = lookup.source or "", lookup.column
            if wanted != "month" or table not in self._built or not self._space.sources[table].is_dated:
                return None
        if not self._has_ids(table, column):
            return None
        if table == model.name:
            rows = f"from ({scan(self._space.duckdb, self._released[table])})"
        else:
            rows = f"from {self._space.whole(table)}"
        self._space.put_keys("referred", changed)
        among = f"{column} in (select key from {in_(KEYS, 'referred')})"
        return set(self._space.column(f"select distinct {wanted} {rows} where {among}"))

    def _has_ids(self, name: str, column: str) -> bool:
        """True where a column of a model is of whole numbers, as ids are."""
        header = self._models[name].header
        kinds = {field.name.lower(): field.type for field in header.contract.schema}
        return bool(pa.types.is_integer(kinds[column]))

    def _changed(self, name: str, column: str, columns: Collection[str] | None) -> set[int]:
        """Return the ids in the rows of a table that differ from the release's, in some columns or in any."""
        names = self._built[name].contract.schema.names
        wanted = [one for one in names if columns is None or one == column or one.lower() in columns]
        listed = ", ".join(map(quoted, wanted))
        differing = f"select {listed} from {in_(DIFF, name)} group by all having sum({TIMES}) <> 0"
        return set(
            self._space.column(f"select distinct {column} from ({differing}) where {column} is not null")
        )
