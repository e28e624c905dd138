"""A lake with simulated time: tests let days pass, with a shop's syncs and files of matching age."""

import hashlib
import os
import random
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.clock import shop_day
from lake.delta.contract import Contract
from lake.delta.tables import create_table, open_table
from lake.ledgers.runs import write_run
from lake.paths import Lake
from lake.releases.release import Release, current_release, list_releases, publish
from tests.support.receipts import receipt

LOOK = Contract.of(
    {
        "id": "BIGINT",
        "text": "VARCHAR",
        "fetched_at": "TIMESTAMPTZ",
        "run_id": "VARCHAR",
        "observed_on": "DATE",
    }
).schema
ORDER = Contract.of({"id": "BIGINT", "text": "VARCHAR", "month": "DATE"}).schema
SUM = Contract.of({"month": "DATE", "orders": "BIGINT"}).schema
BRONZE, SILVER, GOLD = "bronze.orders", "silver.orders", "gold.months"
HISTORY = 12


class Simulated:
    """A lake with a clock of its own. Each sync appends observations, replaces a month and publishes."""

    def __init__(self, lake: Lake, *, now: datetime, seed: int = 7) -> None:
        self.lake = lake
        self.now = now
        self._dice = random.Random(seed)
        self._aged: set[str] = set()

    def copy(self, place: str) -> "Simulated":
        """Return a copy of the lake at another path; its files have the same age."""
        shutil.copytree(self.lake.root, place)
        other = Simulated(Lake(root=place, durable=self.lake.durable), now=self.now)
        other._aged = set(map(str, files(other.lake)))
        other._dice.setstate(self._dice.getstate())
        return other

    def start(self, *, orders: int = 150, months: int = HISTORY) -> None:
        """Load a history of so many months and orders a month, as a first full load does."""
        days = [month_of(self.now, back) for back in range(months)]
        create_table(self.lake, BRONZE, LOOK, partition_by=["observed_on"])
        create_table(self.lake, SILVER, ORDER, partition_by=["month"])
        create_table(self.lake, GOLD, SUM)
        self.look(range(orders * months))
        rows = [(number, self.text(), day) for day in days for number in range(orders)]
        table = open_table(self.lake, SILVER).replace(rows_of(rows, ORDER))
        self.publish({SILVER: table, GOLD: self.count()})

    def sync(self, *, orders: int = 3) -> None:
        """Sync a few orders of this month and, in one sync of ten, a change to the month before."""
        self.look(self._dice.sample(range(9999), orders))
        written = self._replace(month_of(self.now, 0), orders)
        if self._dice.random() < 0.1:
            written = self._replace(month_of(self.now, 1), 1)
        self.publish({SILVER: written, GOLD: self.count()})

    def idle(self) -> None:
        """Run an ingest without changes: it writes only its receipt."""
        write_run(self.lake, receipt(self.now))

    def look(self, ids: Iterable[int]) -> None:
        """Append observations, and the receipt of their run."""
        at, day = self.now, shop_day(self.now)
        run = receipt(at).run_id
        rows = rows_of([(number, self.text(), at, run, day) for number in ids], LOOK)
        open_table(self.lake, BRONZE).append(rows)
        self.idle()

    def publish(self, tables: dict[str, int]) -> Release:
        """Publish the table versions, built from the head of bronze."""
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
        """Rebuild gold and return its version."""
        rows = sorted(open_table(self.lake, SILVER).counts("month").items())
        return open_table(self.lake, GOLD).replace(rows_of(rows, SUM))

    def text(self) -> str:
        """Return random text, which compresses badly."""
        return self._dice.randbytes(60).hex()

    def passes(self, time: timedelta) -> None:
        """Set the time of every new file to the lake's clock, then move the clock forward."""
        for file in files(self.lake):
            if str(file) not in self._aged:
                os.utime(file, (self.now.timestamp(), self.now.timestamp()))
                self._aged.add(str(file))
        self.now += time

    def _replace(self, month: date, orders: int) -> int:
        table = open_table(self.lake, SILVER)
        present = table.read(where=pc.field("month") == month).to_pylist()
        rows = [(row["id"], row["text"], month) for row in present]
        rows += [(len(present) + number, self.text(), month) for number in range(orders)]
        return table.replace(rows_of(rows, ORDER), [month])


def files(lake: Lake, *layers: str) -> list[Path]:
    """Return every file of the lake, or of some of its layers."""
    folders = [Path(lake.root, layer) for layer in layers or [""]]
    return [file for folder in folders for file in folder.rglob("*") if file.is_file()]


def rows_of(rows: Iterable[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    """Return the rows as Arrow."""
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def month_of(now: datetime, back: int) -> date:
    """Return the first day of the month that lies ``back`` months before ``now``."""
    months = now.year * 12 + now.month - 1 - back
    return date(months // 12, months % 12 + 1, 1)


def read(lake: Lake, name: str, version: int) -> pa.Table:
    """Return the rows of a table version, sorted."""
    rows = open_table(lake, name, version).read()
    return rows.sort_by([(column, "ascending") for column in rows.column_names]).combine_chunks()


def read_release(lake: Lake, release: Release) -> dict[str, pa.Table]:
    """Return the rows of all tables that a release serves and was built from."""
    versions = {**release.tables, **release.consumed}
    return {name: read(lake, name, version) for name, version in versions.items()}


def released_files(lake: Lake, release: Release) -> dict[str, bytes]:
    """Return the hash of every file that a release serves, by its path in the lake."""
    tables = [open_table(lake, name, version) for name, version in release.tables.items()]
    uris = [file.uri for table in tables for file in table.files()]
    return {uri.removeprefix(lake.place): hashlib.sha256(Path(uri).read_bytes()).digest() for uri in uris}


def newest(lake: Lake) -> Release:
    """Return the current release, as it is stored."""
    return list_releases(lake, limit=1)[0]


def renamed(release: Release, /, **fields: object) -> Release:
    """Return the release with other values of the given fields."""
    return msgspec.structs.replace(release, **fields)


def at(day: int, hour: float = 0) -> datetime:
    """Return an instant of the simulation, counted from its first day."""
    return datetime(2026, 9, 1, tzinfo=UTC) + timedelta(days=day, hours=hour)
