"""Dictionary: the meaning of every table and column, as tables of the release. Pure.

It is made only of the models' headers. So a page, an endpoint or an analyst's query shows
the same description as the file that defines the number.
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
    "is_day": "BOOLEAN",
    "is_money": "BOOLEAN",
    "is_personal": "BOOLEAN",
}
DICTIONARY_TABLES = ("rules.tables", "rules.columns")


def dictionary(models: Sequence[Model]) -> list[Rule]:
    """Return ``rules.tables``, a row per model, and ``rules.columns``, a row per column."""
    tables = [
        (model.name, model.header.grain, ", ".join(model.header.key), model.header.rebuild, inputs(model))
        for model in models
    ]
    columns = [
        (
            model.name,
            position,
            column.name,
            column.type,
            column.name in model.header.key,
            column.nullable,
            model.header.notes.get(column.name, ""),
            column.name == model.header.month,
            column.name == model.header.money,
            column.name in model.header.personal_columns,
        )
        for model in models
        for position, column in enumerate(model.header.contract.columns, 1)
        if column.name in model.header.columns
    ]
    return [relation("tables", TABLES, tables), relation("columns", COLUMNS, columns)]


def inputs(model: Model) -> str:
    """Return the tables that a model reads, sorted and separated by commas."""
    return ", ".join(sorted(model.reads))
