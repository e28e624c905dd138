"""Dictionary: what every table and column of a release means, as the files that built it say.

The words are tables of the release themselves (``rules.tables``, ``rules.columns``), made
from the headers of the models; a release that has none has no dictionary.
"""

from typing import Any

from lake.delta.table import open_table
from lake.paths import Lake
from lake.releases.release import Release
from serve.schemas import ColumnWords, TableWords

TABLES, COLUMNS = "rules.tables", "rules.columns"


def read_words(lake: Lake, release: Release) -> tuple[TableWords, ...]:
    """Return what a release says of its tables: gold first, each with its columns in order."""
    if TABLES not in release.tables or COLUMNS not in release.tables:
        return ()
    columns: dict[str, list[dict[str, Any]]] = {}
    for row in open_table(lake, COLUMNS, release.tables[COLUMNS]).read().to_pylist():
        columns.setdefault(row["table_name"], []).append(row)
    tables = open_table(lake, TABLES, release.tables[TABLES]).read().to_pylist()
    found = [table_words(row, columns.get(row["table_name"], [])) for row in tables]
    return tuple(sorted(found, key=lambda words: (not words.name.startswith("gold."), words.name)))


def table_words(table: dict[str, Any], columns: list[dict[str, Any]]) -> TableWords:
    """Return what is said of one table. Pure."""
    return TableWords(
        name=table["table_name"],
        grain=table["grain"],
        key=[name for name in table["key"].split(", ") if name],
        rebuild=table["rebuild"],
        reads=[name for name in table["reads"].split(", ") if name],
        columns=[
            ColumnWords(
                name=row["column_name"],
                type=row["type_name"],
                is_key=row["is_key"],
                may_be_null=row["may_be_null"],
                note=row["note"],
            )
            for row in sorted(columns, key=lambda row: int(row["position"]))
        ],
    )
