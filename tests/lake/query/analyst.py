"""An analyst's program, run in environments without this project: reads the lake one way, again and again.

``python analyst.py WAY LAKE`` until its input ends. Prints one line of JSON per
look: the money of ``gold.revenue_daily`` as it was read, and as the release says, where the
reader knows which release it reads. Any error ends it.
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

Look = tuple[int | None, Any, Any]
GOLD = "gold/revenue_daily"
MONEY = "money['gold.revenue_daily']"


def catalogue(lake: str) -> Callable[[], Look]:
    """Open ``lake.duckdb`` anew for each look; releases, sums and rows must all be of one moment."""
    import duckdb

    def look() -> Look:
        with duckdb.connect(f"{lake}/lake.duckdb", read_only=True) as connection:
            number, said, rows = connection.execute(f"""
                select release, {MONEY}, rows['gold.revenue_daily'] from ops.releases
                where release = (select release from ops.current_release)
            """).fetchall()[0]
            # Slow enough that a publish falls between what is asked first and last.
            connection.execute("select count(*), sum(grand_total) from silver.orders").fetchall()
            connection.execute("select count(*), sum(hash(payload)) from bronze.orders").fetchall()
            # Of the ledgers the files that were merged are deleted, and the catalogue is written anew.
            connection.execute("select count(*), max(name) from ops.tags").fetchall()
            found, count = connection.execute(
                "select sum(revenue), count(*) from gold.revenue_daily"
            ).fetchall()[0]
            assert count == rows, f"release {number}: {count} rows, not {rows}"
        return number, plain(found), plain(said)

    return look


def delta_scan(lake: str) -> Callable[[], Look]:
    """Read by DuckDB's own extension: the head, and by turns a version that some release names."""
    import duckdb

    folder = Path(str(import_module("duckdb_extension_delta").__file__)).parent
    extension = next(folder.rglob("delta.duckdb_extension"))
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    connection.execute(f"load '{extension}'")

    def look() -> Look:
        if random.random() < 0.5:
            query = f"select sum(revenue) from delta_scan('{lake}/{GOLD}')"
            return None, plain(connection.execute(query).fetchall()[0][0]), None
        releases = connection.execute(f"""
            select release, tables['gold.revenue_daily'], {MONEY} from delta_scan('{lake}/ops/releases')
        """).fetchall()
        number, version, said = random.choice(releases)
        query = f"select sum(revenue) from delta_scan('{lake}/{GOLD}', version => {version})"
        return number, plain(connection.execute(query).fetchall()[0][0]), plain(said)

    return look


def polars(lake: str) -> Callable[[], Look]:
    """Read by polars: the head, and by turns a version that some release names."""
    pl: Any = import_module("polars")

    def total(version: int | None) -> str:
        rows = pl.scan_delta(f"{lake}/{GOLD}", version=version)
        return plain(rows.select(pl.col("revenue").sum()).collect().item())

    def look() -> Look:
        if random.random() < 0.5:
            return None, total(None), None
        releases = pl.read_delta(f"{lake}/ops/releases").select("release", "tables", "money").to_dicts()
        release = random.choice(releases)
        version, said = release["tables"]["gold.revenue_daily"], release["money"]["gold.revenue_daily"]
        return release["release"], total(version), plain(said)

    return look


def plain(money: Any) -> str:
    """Return an amount with two decimals."""
    return str(Decimal(money).quantize(Decimal("0.01")))


def looks(look: Callable[[], Look]) -> Iterator[Look]:
    """Look a few times a second until the input ends, and once more after that."""
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        yield look()
    yield look()


if __name__ == "__main__":
    way, place = sys.argv[1:]
    ways = {"catalogue": catalogue, "delta_scan": delta_scan, "polars": polars}
    for number, found, said in looks(ways[way](place)):
        print(json.dumps({"release": number, "found": found, "said": said}), flush=True)
    os._exit(0)  # what native threads do at exit is not what is tested
