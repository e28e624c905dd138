"""Dictionary: what every table and column means, as tables of the release. Pure.

It is made of the models' headers and nothing else, so that a page, an endpoint or an
analyst's query says what the file says that built the number.
"""

from collections.abc import Sequence

from transform.models import Model
from transform.rules import Rule, relation

TABLES = {
    "table_name": "VARCHAR",
    "grain": "VARCHAR",
    "key": "VARCHAR",
    "rebuild": "VARCHAR",
    "reads": "VARCHAR",
}
COLUMNS = {
    "table_name": "VARCHAR",
    "position": "BIGINT",
    "column_name": "VARCHAR",
    "type_name": "VARCHAR",
    "is_key": "BOOLEAN",
    "may_be_null": "BOOLEAN",
    "note": "VARCHAR",
}
WORDS = ("rules.tables", "rules.columns")


def dictionary(models: Sequence[Model]) -> list[Rule]:
    """Return ``rules.tables``, a row per model, and ``rules.columns``, a row per column."""
    tables = [
        (model.name, model.header.grain, ", ".join(model.header.key), model.header.rebuild, reads(model))
        for model in models
    ]
    columns = [
        (
            model.name,
            place,
            column.name,
            column.type,
            column.name in model.header.key,
            column.nullable,
            model.header.notes.get(column.name, ""),
        )
        for model in models
        for place, column in enumerate(model.header.contract.columns, 1)
        if column.name in model.header.columns
    ]
    return [relation("tables", TABLES, tables), relation("columns", COLUMNS, columns)]


def reads(model: Model) -> str:
    """Return the tables that a model reads, in order."""
    return ", ".join(sorted(model.reads))
