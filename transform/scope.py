"""Which part of a model has to be built anew, by what changed in the tables it reads. Pure.

Nothing is declared but how a model is rebuilt. What a table is about follows from names:
``buyer_id`` is the id of ``silver.buyers``, and a table with an ``order_id`` is about orders.
"""

from collections.abc import Collection
from datetime import date

import msgspec

from transform.models import Model


class Keys(msgspec.Struct, frozen=True):
    """The rows whose ``column``, the first of the key, is one of some ids."""

    column: str
    ids: frozenset[int]


class Months(msgspec.Struct, frozen=True):
    """All rows of some months, each by its first day."""

    months: frozenset[date]


class Whole(msgspec.Struct, frozen=True):
    """The table, from nothing."""


Scope = Keys | Months | Whole


def singular(base: str) -> str:
    """Return what one of a table's rows is called: ``categories`` -> ``category``."""
    if base.endswith("ies"):
        return base[:-3] + "y"
    return base[:-2] if base.endswith("ses") else base.removesuffix("s")


def foreign_key(table: str) -> str:
    """Return the column by which others refer to a table's rows: ``silver.buyers`` -> ``buyer_id``."""
    return singular(table.partition(".")[2]) + "_id"


def subject(model: Model) -> str:
    """Return, as others write it, what a model's first key is the id of: ``order_id``."""
    own = model.header.key[0]
    return model.header.about or (foreign_key(model.name) if own == "id" else own)


def key_in(table: str, columns: Collection[str], about: str) -> str | None:
    """Return the column of a table that holds the ids of ``about``; None where it is about something else."""
    if about in columns:
        return about
    return "id" if foreign_key(table) == about and "id" in columns else None
