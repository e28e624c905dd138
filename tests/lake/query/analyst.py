"""An analyst's program that reads the lake repeatedly in one way; this project is not installed there.

``python analyst.py WAY LAKE`` runs until its input ends and prints one line of JSON per reading:
the sum of ``gold.revenue_daily`` as read and, if the reader knows its release, the sum that the
release states. Any error ends the program.
"""

import json
import os
import random
import select
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

Reading = tuple[int | None, Any, Any]
GOLD = "gold/revenue_daily"
# Seconds between two readings: four readers and the commands share two cores.
PAUSE = 0.6
MONEY = "money['gold.revenue_daily']"


def catalogue(lake: str) -> Callable[[], Reading]:
    """Open ``lake.duckdb`` for each reading; its release, sum and rows must belong to one release."""
    import duckdb

    def read() -> Reading:
        with duckdb.connect(f"{lake}/lake.duckdb", read_only=True) as connection:
            number, expected, rows = connection.execute(f"""
                select release, {MONEY}, rows['gold.revenue_daily'] from ops.releases
                where release = (select release from ops.current_release)
            """).fetchall()[0]
            # Two slow queries, so that a publish falls between the first query and the last.
            connection.execute("select count(*), sum(grand_total) from silver.orders").fetchall()
            connection.execute("select count(*), sum(hash(payload)) from bronze.orders").fetchall()
            # The ledgers' compacted files are deleted, and the catalogue is written again.
            connection.execute("select count(*), max(name) from ops.tags").fetchall()
            actual, count = connection.execute(
                "select sum(revenue), count(*) from gold.revenue_daily"
            ).fetchall()[0]
            assert count == rows, f"release {number}: {count} rows, not {rows}"
        return number, plain(actual), plain(expected)

    return read


def delta_scan(lake: str) -> Callable[[], Reading]:
    """Read with DuckDB's Delta extension, at random the head or the version of some release."""
    import duckdb

    folder = Path(str(import_module("duckdb_extension_delta").__file__)).parent
    extension = next(folder.rglob("delta.duckdb_extension"))
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    connection.execute(f"load '{extension}'")

    def read() -> Reading:
        if random.random() < 0.5:
            query = f"select sum(revenue) from delta_scan('{lake}/{GOLD}')"
            return None, plain(connection.execute(query).fetchall()[0][0]), None
        releases = connection.execute(f"""
            select release, tables['gold.revenue_daily'], {MONEY} from delta_scan('{lake}/ops/releases')
        """).fetchall()
        number, version, expected = random.choice(releases)
        query = f"select sum(revenue) from delta_scan('{lake}/{GOLD}', version => {version})"
        return number, plain(connection.execute(query).fetchall()[0][0]), plain(expected)

    return read


def polars(lake: str) -> Callable[[], Reading]:
    """Read with polars, at random the head or the version of some release."""
    pl: Any = import_module("polars")

    def total(version: int | None) -> str:
        rows = pl.scan_delta(f"{lake}/{GOLD}", version=version)
        return plain(rows.select(pl.col("revenue").sum()).collect().item())

    def read() -> Reading:
        if random.random() < 0.5:
            return None, total(None), None
        releases = pl.read_delta(f"{lake}/ops/releases").select("release", "tables", "money").to_dicts()
        release = random.choice(releases)
        version, expected = release["tables"]["gold.revenue_daily"], release["money"]["gold.revenue_daily"]
        return release["release"], total(version), plain(expected)

    return read


def plain(money: Any) -> str:
    """Return an amount with two decimals."""
    return str(Decimal(money).quantize(Decimal("0.01")))


def readings(read: Callable[[], Reading]) -> Iterator[Reading]:
    """Yield one or two readings a second until the input ends, and one more after that."""
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        yield read()
    yield read()


if __name__ == "__main__":
    way, lake = sys.argv[1:]
    ways = {"catalogue": catalogue, "delta_scan": delta_scan, "polars": polars}
    for number, actual, expected in readings(ways[way](lake)):
        print(json.dumps({"release": number, "actual": actual, "expected": expected}), flush=True)
    os._exit(0)  # the test does not depend on how native threads end
