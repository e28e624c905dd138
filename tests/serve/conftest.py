"""Fixtures: a lake with two small releases, and a real server over it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lake.paths import Lake
from tests.serve.shop import Tables, make_tables, publish_gold, record_run
from tests.support.running import environ_of, server


class Served(NamedTuple):
    """A running server: its URL, its lake, the rows of the current release (2) and of the older one (1)."""

    base: str
    lake: Lake
    tables: Tables
    older: Tables


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a lake; no test may change it."""
    lake = Lake(root=str(tmp_path_factory.mktemp("served") / "lake"), durable=False)
    older, tables = make_tables(seed=2), make_tables()
    publish_gold(lake, older)
    publish_gold(lake, tables)
    record_run(lake)
    with server(environ_of(lake)) as base:
        yield Served(base, lake, tables, older)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return ``{path: (size, time)}`` of every file below a folder."""
    return {
        str(file): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }
