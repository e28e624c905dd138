"""Column facts: what model headers declare about columns, read from the table ``rules.columns`` of a release.

The lake knows no model. Which column is a row's day, its money, or a buyer's personal data is
declared in the header of each model, and every release publishes it.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from lake.delta.tables import open_table
from lake.errors import LakeError
from lake.paths import Lake
from lake.releases.release import Release, current_release

COLUMNS = "rules.columns"
FACTS = ("table_name", "column_name", "is_day", "is_money", "is_personal")


class ColumnFacts(msgspec.Struct, frozen=True):
    """``day`` and ``money`` are ``{table: column}``, ``personal`` is ``{(table, column)}``.

    ``tables`` are all tables that the facts cover.
    """

    tables: frozenset[str] = frozenset()
    day: Mapping[str, str] = {}
    money: Mapping[str, str] = {}
    personal: frozenset[tuple[str, str]] = frozenset()


def read_column_facts(lake: Lake, *releases: Release) -> ColumnFacts:
    """Return the facts of the first release that has them, else of the current one, else none.

    Releases that were published before headers declared facts have none.
    """
    return next(published_facts(lake, releases), ColumnFacts())


def read_personal_columns(lake: Lake, release: Release) -> frozenset[tuple[str, str]]:
    """Return ``{(table, column)}`` of all columns that the release or the current one declares personal.

    Raises LakeError if neither covers a table of the release, because its columns might be personal.
    """
    published = list(published_facts(lake, [release]))
    covered = {table for facts in published for table in facts.tables}
    if unknown := sorted(release.tables.keys() - covered - rule_tables(release)):
        raise LakeError(
            f"{unknown[0]}: no release says which of its columns are personal; `just transform --full`"
            " publishes that for the models there are"
        )
    return frozenset(column for facts in published for column in facts.personal)


def rule_tables(release: Release) -> set[str]:
    """Return the tables of rules in a release; they describe the shop, and no model builds them. Pure."""
    return {name for name in release.tables if name.startswith("rules.")}


def published_facts(lake: Lake, releases: Iterable[Release]) -> Iterator[ColumnFacts]:
    """Yield the facts of each release, and then of the current one, that has any."""
    current = current_release(lake)
    for release in [*releases, *([current] if current else [])]:
        if COLUMNS in release.tables:
            table = open_table(lake, COLUMNS, release.tables[COLUMNS])
            if set(FACTS) <= set(table.schema.names):
                yield facts_of(table.read(FACTS).to_pylist())


def facts_of(rows: Iterable[Mapping[str, object]]) -> ColumnFacts:
    """Return the facts that rows of the table declare. Pure."""
    columns = [(str(row["table_name"]), str(row["column_name"]), row) for row in rows]
    return ColumnFacts(
        tables=frozenset(table for table, _, _ in columns),
        day={table: column for table, column, row in columns if row["is_day"]},
        money={table: column for table, column, row in columns if row["is_money"]},
        personal=frozenset((table, column) for table, column, row in columns if row["is_personal"]),
    )
