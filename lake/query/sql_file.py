"""SQL file: a query that a package keeps in its folder ``sql``, in plain DuckDB that runs as pasted."""

import functools
from importlib.resources import files


@functools.cache
def read_sql(package: str, name: str) -> str:
    """Return the text of ``sql/<name>.sql`` in the folder of a package, such as ``lake.history``."""
    return files(package).joinpath("sql", f"{name}.sql").read_text("utf-8")
