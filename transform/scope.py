"""Scope: the part of a model that has to be rebuilt. Pure.

A header declares only how its model is rebuilt. The subject of a table follows from names:
``buyer_id`` is the id of ``silver.buyers``, and a table with an ``order_id`` is about orders.
"""

from collections.abc import Collection
from datetime import date

import msgspec

from transform.models import Model


class Keys(msgspec.Struct, frozen=True):
    """The rows whose first key column, ``column``, has one of the ``ids``."""

    column: str
    ids: frozenset[int]


class Months(msgspec.Struct, frozen=True):
    """All rows of some months; a month is its first day."""

    months: frozenset[date]


class Whole(msgspec.Struct, frozen=True):
    """All rows of the table."""


Scope = Keys | Months | Whole


def singular(base: str) -> str:
    """Return the singular of a table's name: ``categories`` -> ``category``."""
    if base.endswith("ies"):
        return base[:-3] + "y"
    return base[:-2] if base.endswith("ses") else base.removesuffix("s")


def foreign_key(table: str) -> str:
    """Return the column by which other tables refer to a table: ``silver.buyers`` -> ``buyer_id``."""
    return singular(table.partition(".")[2]) + "_id"


def subject(model: Model) -> str:
    """Return the name of a model's first key column as other tables write it: ``order_id``."""
    own = model.header.key[0]
    return model.header.about or (foreign_key(model.name) if own == "id" else own)


def key_in(table: str, columns: Collection[str], about: str) -> str | None:
    """Return the column of a table that contains the ids of ``about``; None if there is none."""
    if about in columns:
        return about
    return "id" if foreign_key(table) == about and "id" in columns else None
