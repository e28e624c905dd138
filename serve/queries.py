"""The questions' SQL: ``serve/sql/*.sql``, plain DuckDB with ``$name`` for values."""

import functools
from importlib.resources import files
from typing import Any

from serve.session import Session


def query(session: Session, name: str, **values: Any) -> list[dict[str, Any]]:
    """Run ``sql/<name>.sql`` on the release and return its rows. Raises TooSlow."""
    return session.rows(read_sql(name), values)


@functools.cache
def read_sql(name: str) -> str:
    """Return the text of ``sql/<name>.sql``."""
    return files("serve").joinpath("sql", f"{name}.sql").read_text("utf-8")
