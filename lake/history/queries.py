"""Queries: the SQL files of this folder, by name."""

import functools
from importlib.resources import files


@functools.cache
def read_sql(name: str) -> str:
    """Return the text of ``<name>.sql`` in this folder."""
    return files("lake.history").joinpath(f"{name}.sql").read_text("utf-8")
