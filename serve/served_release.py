"""Served release: one release's gold tables in a read-only DuckDB that can reach nothing else.

The rows are copied to a temporary database file. It is opened read-only, with file access,
extensions and settings locked, and its name is deleted after opening. The space is freed
when the database is closed or the process dies.
"""

import tempfile
import threading
from collections.abc import Mapping
from datetime import date
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from lake.clock import shop_day
from lake.delta.damage import refuse_damage
from lake.paths import Lake
from lake.query.quote import literal
from lake.query.quote import name as quoted
from lake.query.session import connect, create_view
from lake.releases.currency import DEFAULT, read_currency
from lake.releases.release import Release
from lake.releases.released_table import open_released
from lake.releases.restores import refuse_left_out
from lake.releases.uncounted import Uncounted, read_uncounted
from lake.settings import LakeSettings
from serve.dictionary import read_dictionary
from serve.errors import TooSlow
from serve.schemas import TableWords
from serve.settings import ServeSettings

# DuckDB settings without access to files, extensions or the network.
LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",
    "threads": "2",
}
# Partition columns that are not served.
HIDDEN = ("month", "week")


class GoldTable(msgspec.Struct, frozen=True):
    """A table that is served. ``columns`` is ``{name: DuckDB type}``; the dates span its rows."""

    name: str
    columns: dict[str, str]
    rows: int
    first_date: date | None
    last_date: date | None


class ServedRelease:
    """An open release with a count of its users. It closes once it is retired and has no user."""

    def __init__(
        self,
        release: Release,
        database: duckdb.DuckDBPyConnection,
        *,
        seconds: float,
        words: tuple[TableWords, ...] = (),
        currency: str = DEFAULT,
        uncounted: Uncounted | None = None,
    ) -> None:
        self.release = release
        self.words = words
        self.currency = currency
        self.uncounted = uncounted
        self.number = release.release
        self.key = f"{release.release}-{int(release.published_at.timestamp() * 1000):x}"
        self._database = database
        self._seconds = seconds
        self._users = 0
        self._retired = False
        self._lock = threading.Lock()
        self.tables = {name: self._describe(name) for name in gold_names(release)}
        self.sales_types = self._sales_types()

    @property
    def first_date(self) -> date | None:
        """The oldest date in tables of orders; None if they are empty."""
        return min((table.first_date for table in self._order_tables if table.first_date), default=None)

    @property
    def last_date(self) -> date | None:
        """The newest date in tables of orders; None if they are empty."""
        return max((table.last_date for table in self._order_tables if table.last_date), default=None)

    @property
    def _order_tables(self) -> list[GoldTable]:
        """The tables whose dates are order dates. Tables of stock have the dates of observations instead."""
        return [table for name, table in self.tables.items() if not name.startswith("stock_")]

    @property
    def today(self) -> date:
        """The shop day up to which the CRM was read.

        If the release does not record it, the result is the newest date in tables of orders. That
        date alone is unreliable, because orders can be dated weeks ahead.
        """
        through = self.release.complete_through
        if through is None:
            return self.last_date or shop_day(self.release.published_at)
        return shop_day(through)

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query with bound values and return all rows. Raises TooSlow if it exceeds the time limit."""
        with self._database.cursor() as cursor:
            timer = threading.Timer(self._seconds, cursor.interrupt)
            timer.start()
            try:
                table: pa.Table = cursor.sql(sql, params=dict(values or {})).to_arrow_table()
            except duckdb.InterruptException:
                raise TooSlow(f"the query took longer than {self._seconds:g} s; ask for less") from None
            finally:
                timer.cancel()
            return list(table.to_pylist())

    def acquire(self) -> bool:
        """Add a user and return True; False if the release is already closed."""
        with self._lock:
            if self._retired and not self._users:
                return False
            self._users += 1
            return True

    def drop(self) -> None:
        """Remove a user."""
        with self._lock:
            self._users -= 1
            self._close_if_unused()

    def retire(self) -> None:
        """Close the release now, or when its last user ends."""
        with self._lock:
            self._retired = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and not self._users:
            self._database.close()

    def _describe(self, name: str) -> GoldTable:
        rows = self.rows(f"describe gold.{quoted(name)}")
        columns = {row["column_name"]: row["column_type"] for row in rows}
        dates = (
            "min(date) as first, max(date) as last" if "date" in columns else "null as first, null as last"
        )
        [facts] = self.rows(f"select count(*)::bigint as rows, {dates} from gold.{quoted(name)}")
        return GoldTable(name, columns, facts["rows"], facts["first"], facts["last"])

    def _sales_types(self) -> tuple[str, ...]:
        if "revenue_daily" not in self.tables:
            return ()
        largest_first = "group by sales_type order by sum(revenue) desc, sales_type"
        rows = self.rows(f"select sales_type from gold.revenue_daily {largest_first}")
        return tuple(row["sales_type"] for row in rows)


def open_served_release(
    lake: Lake, limits: LakeSettings, settings: ServeSettings, release: Release
) -> ServedRelease:
    """Copy the release's gold tables and open them. Raises LakeError if a table version is missing."""
    refuse_left_out(lake, release)
    with tempfile.TemporaryDirectory(prefix="keylake-serve-") as folder:
        file = f"{folder}/release.duckdb"
        copy_gold(lake, limits, release, file)
        database = duckdb.connect(file, read_only=True, config=LOCKED)
        database.execute(f"set global memory_limit = {literal(settings.memory_limit)}")
        database.execute("set global timezone = 'UTC'")
        database.execute("set global lock_configuration = true")
    return ServedRelease(
        release,
        database,
        seconds=settings.query_seconds,
        words=read_dictionary(lake, release),
        currency=read_currency(lake, release),
        uncounted=read_uncounted(lake, release),
    )


def copy_gold(lake: Lake, limits: LakeSettings, release: Release, file: str) -> None:
    """Write every gold table of the release to a new database file, without its partition columns."""
    with connect(limits) as connection:
        connection.execute(f"attach {literal(file)} as served")
        connection.execute("create schema gold")
        connection.execute("create schema served.gold")
        for name in gold_names(release):
            table = open_released(lake, release, f"gold.{name}")
            refuse_damage(table.name, table.uris())
            create_view(connection, f"gold.{name}", table)
            columns = [
                column
                for column in table.schema.names
                if column not in HIDDEN or column not in table.partition_by
            ]
            order = "order by date" if "date" in columns else ""
            column_list = ", ".join(quoted(column) for column in columns)
            target = f"served.gold.{quoted(name)}"
            connection.execute(
                f"create table {target} as select {column_list} from gold.{quoted(name)} {order}"
            )
        connection.execute("detach served")


def gold_names(release: Release) -> list[str]:
    """Return the names of the release's gold tables, sorted, without the layer."""
    return sorted(name.removeprefix("gold.") for name in release.tables if name.startswith("gold."))
