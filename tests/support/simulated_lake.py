"""A lake whose days pass at once: syncs as a shop makes them, files as old as they would be."""

import hashlib
import os
import random
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa

from lake.clock import shop_day
from lake.delta.contract import Contract
from lake.delta.table import create_table, open_table
from lake.ledgers.runs import write_run
from lake.paths import Lake
from lake.releases.release import Release, current_release, list_releases, publish
from tests.support.receipts import receipt

LOOK = Contract.of(
    {"id": "BIGINT", "text": "VARCHAR", "fetched_at": "TIMESTAMPTZ", "observed_on": "DATE"}
).schema
ORDER = Contract.of({"id": "BIGINT", "text": "VARCHAR", "month": "DATE"}).schema
SUM = Contract.of({"month": "DATE", "orders": "BIGINT"}).schema
BRONZE, SILVER, GOLD = "bronze.orders", "silver.orders", "gold.months"
HISTORY = 12


class Simulated:
    """A lake at a moment of its own. Each sync appends looks, replaces a month and publishes."""

    def __init__(self, lake: Lake, *, now: datetime, seed: int = 7) -> None:
        self.lake = lake
        self.now = now
        self._dice = random.Random(seed)
        self._aged: set[str] = set()

    def copy(self, place: str) -> "Simulated":
        """Return the same lake at another place, its files as old as here."""
        shutil.copytree(self.lake.root, place)
        other = Simulated(Lake(root=place), now=self.now)
        other._aged = set(map(str, files(other.lake)))
        return other

    def start(self, *, orders: int = 150) -> None:
        """Bring a year of history, as a first full load does."""
        months = [month_of(self.now, back) for back in range(HISTORY)]
        create_table(self.lake, BRONZE, LOOK, partition_by=["observed_on"])
        create_table(self.lake, SILVER, ORDER, partition_by=["month"])
        create_table(self.lake, GOLD, SUM)
        self.look(range(orders * HISTORY))
        rows = [(number, self.text(), month) for month in months for number in range(orders)]
        table = open_table(self.lake, SILVER).replace(rows_of(rows, ORDER))
        self.publish({SILVER: table, GOLD: self.count()})

    def sync(self, *, orders: int = 3) -> None:
        """Bring a few orders of this month and a change to one of the month before."""
        self.look(self._dice.sample(range(9999), orders))
        written = self._replace(month_of(self.now, 0), orders)
        if self._dice.random() < 0.1:
            written = self._replace(month_of(self.now, 1), 1)
        self.publish({SILVER: written, GOLD: self.count()})

    def idle(self) -> None:
        """Look, and find nothing new: all that is written is the receipt."""
        write_run(self.lake, receipt(self.now))

    def look(self, ids: Iterable[int]) -> None:
        """Append observations, and the receipt of the run that made them."""
        at, day = self.now, shop_day(self.now)
        rows = rows_of([(found, self.text(), at, day) for found in ids], LOOK)
        open_table(self.lake, BRONZE).append(rows)
        self.idle()

    def publish(self, tables: dict[str, int]) -> Release:
        """Publish the versions on what bronze has now."""
        parent = current_release(self.lake)
        release = Release(
            release=parent.release + 1 if parent else 1,
            published_at=self.now,
            kind="sync",
            parent=parent.release if parent else None,
            tables=tables,
            consumed={BRONZE: open_table(self.lake, BRONZE).version},
        )
        publish(self.lake, release)
        return release

    def count(self) -> int:
        """Write gold anew and return its version."""
        months = open_table(self.lake, SILVER).read(["month"])["month"].value_counts().to_pylist()
        rows = sorted((one["values"], one["counts"]) for one in months)
        return open_table(self.lake, GOLD).replace(rows_of(rows, SUM))

    def text(self) -> str:
        """Return something that does not compress to nothing."""
        return self._dice.randbytes(60).hex()

    def passes(self, time: timedelta) -> None:
        """Make every file written since the last time as old as this lake's moment, then go on."""
        for file in files(self.lake):
            if str(file) not in self._aged:
                os.utime(file, (self.now.timestamp(), self.now.timestamp()))
                self._aged.add(str(file))
        self.now += time

    def _replace(self, month: date, orders: int) -> int:
        table = open_table(self.lake, SILVER)
        held = [row for row in table.read().to_pylist() if row["month"] == month]
        rows = [*((row["id"], row["text"], month) for row in held)]
        rows += [(len(rows) + place, self.text(), month) for place in range(orders)]
        return table.replace(rows_of(rows, ORDER), [month])


def files(lake: Lake, *layers: str) -> list[Path]:
    """Return every file of the lake, or of some of its layers."""
    places = [Path(lake.root, layer) for layer in layers or [""]]
    return [file for place in places for file in place.rglob("*") if file.is_file()]


def rows_of(rows: Iterable[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    """Return the rows as Arrow."""
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def month_of(now: datetime, back: int) -> date:
    """Return the first of the month so many months before."""
    months = now.year * 12 + now.month - 1 - back
    return date(months // 12, months % 12 + 1, 1)


def read(lake: Lake, name: str, version: int) -> pa.Table:
    """Return a version's rows in order."""
    rows = open_table(lake, name, version).read()
    return rows.sort_by([(column, "ascending") for column in rows.column_names]).combine_chunks()


def read_release(lake: Lake, release: Release) -> dict[str, pa.Table]:
    """Return all that a release shows and was built from."""
    return {name: read(lake, name, at) for name, at in {**release.tables, **release.consumed}.items()}


def released_files(lake: Lake, release: Release) -> dict[str, bytes]:
    """Return the bytes of every file that a release shows, hashed."""
    found = [file.uri for name, at in release.tables.items() for file in open_table(lake, name, at).files()]
    return {uri: hashlib.sha256(Path(uri).read_bytes()).digest() for uri in found}


def newest(lake: Lake) -> Release:
    """Return the current release, as it is stored."""
    return list_releases(lake, limit=1)[0]


def renamed(release: Release, /, **fields: object) -> Release:
    """Return the release with other values."""
    return msgspec.structs.replace(release, **fields)


def at(day: int, hour: float = 0) -> datetime:
    """Return a moment of the simulation."""
    return datetime(2026, 9, 1, tzinfo=UTC) + timedelta(days=day, hours=hour)
