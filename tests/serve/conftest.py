"""A lake with two releases made by hand, and a real server over it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lake.paths import Lake
from tests.serve.shop import Tables, make_tables, publish_gold, record_run
from tests.support.running import environ_of, server


class Served(NamedTuple):
    """A running server: its address, its lake, the rows of the release it shows (2) and of the one before."""

    base: str
    lake: Lake
    tables: Tables
    older: Tables


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a lake that no test changes."""
    lake = Lake(root=str(tmp_path_factory.mktemp("served") / "lake"))
    older, tables = make_tables(seed=2), make_tables()
    publish_gold(lake, older)
    publish_gold(lake, tables)
    record_run(lake)
    with server(environ_of(lake)) as base:
        yield Served(base, lake, tables, older)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file below a folder with its size and time."""
    return {
        str(file): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }
