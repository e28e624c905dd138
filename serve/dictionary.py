"""Dictionary: the meaning of each table and column of a release.

Its texts come from the headers of the models. The release has them as two tables of its own,
``rules.tables`` and ``rules.columns``. If a release lacks one of them, its dictionary is empty.
"""

from typing import Any

from lake.delta.tables import open_table
from lake.paths import Lake
from lake.releases.release import Release
from serve.schemas import ColumnWords, TableWords

TABLES, COLUMNS = "rules.tables", "rules.columns"


def read_dictionary(lake: Lake, release: Release) -> tuple[TableWords, ...]:
    """Return the release's tables, gold first, each with its columns in order."""
    if TABLES not in release.tables or COLUMNS not in release.tables:
        return ()
    columns: dict[str, list[dict[str, Any]]] = {}
    for row in open_table(lake, COLUMNS, release.tables[COLUMNS]).read().to_pylist():
        columns.setdefault(row["table_name"], []).append(row)
    rows = open_table(lake, TABLES, release.tables[TABLES]).read().to_pylist()
    tables = [table_words(row, columns.get(row["table_name"], [])) for row in rows]
    return tuple(sorted(tables, key=lambda table: (not table.name.startswith("gold."), table.name)))


def table_words(table: dict[str, Any], columns: list[dict[str, Any]]) -> TableWords:
    """Return one table's entry from its row of ``rules.tables`` and its rows of ``rules.columns``. Pure."""
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
