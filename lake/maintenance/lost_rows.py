"""Lost rows: the rows of commits that a damaged log has lost, from the data files that they had written.

A file that no commit names may also be one that was never committed, because its process was killed or
another one committed first. So only the rows of runs that have a receipt count, in files that were
written about when the lost commits were made, and only the releases whose numbers are missing.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import duckdb
import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog
from deltalake import DeltaTable

from lake.delta.damage import check as is_undamaged
from lake.delta.log_entry import named_paths
from lake.delta.log_files import LogFiles
from lake.delta.table import Table
from lake.ledgers.runs import run_ids
from lake.maintenance.folder import Folder
from lake.maintenance.plan import UNDER_WAY
from lake.paths import Lake
from lake.query.quote import literals
from lake.query.session import Connection, connect, duckdb_types, fetch, read_parquet, scan
from lake.releases.release import RELEASES
from lake.settings import LakeSettings

log = structlog.get_logger()
# Releases that may be appended again. If there are two files with a number, one of them lost a race.
LOST_RELEASE = """
select *
from ({lost}) as lost
where
    release not in (select release from ({present}))
    and ({is_end_lost} or release < (select max(release) from ({present})))
    and 1 = (select count(*) from ({lost}) as others where others.release = lost.release)
"""


class Span(msgspec.Struct, frozen=True):
    """When the lost commits of a log were made, at the widest; ``until`` is None if its end is lost."""

    since: datetime
    until: datetime | None


def span_of(whole: LogFiles, lost: Collection[int]) -> Span:
    """Return the span of lost commits from the times of the whole entries before and after them."""
    first, last = min(lost), max(lost)
    before = [written_at(file) for number, file in whole.entries.items() if number < first]
    after = [written_at(file) for number, file in whole.entries.items() if number > last]
    since = max(before, default=datetime.min.replace(tzinfo=UTC) + UNDER_WAY) - UNDER_WAY
    return Span(since, min(after) + UNDER_WAY if after else None)


def written_at(file: Path) -> datetime:
    """Return when a file was last written."""
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)


def append_lost_rows(
    lake: Lake, table: Table, whole: LogFiles, lost: Collection[int], settings: LakeSettings
) -> int:
    """Append the rows that lost commits had added, except those that the table has; return how many.

    ``whole`` has the files of the log that are not damaged, ``lost`` the numbers of the commits. A file
    that can't be read is left out, with a warning in the log.
    """
    span = span_of(whole, lost)
    files = [file for file in unnamed_files(table, whole, span) if is_undamaged(file)]
    with connect(settings) as connection:
        readable = [file for file in files if is_readable(connection, table.name, file)]
        if not readable:
            return 0
        types = duckdb_types(connection, table.schema)
        columns = ", ".join(f'"{column}"' for column in types)
        own = f"select {columns} from {read_parquet(readable, table, types)}"
        present = f"select {columns} from ({scan(connection, table)})"
        if table.name == RELEASES:
            own = LOST_RELEASE.format(lost=own, present=present, is_end_lost=span.until is None)
        elif table.name.startswith("bronze."):
            own = f"{own} where list_contains([{literals(sorted(run_ids(lake)))}]::varchar[], run_id)"
        rows = fetch(connection, f"{own} except {present}")
    table.append(rows.cast(table.schema))
    return int(rows.num_rows)


def is_readable(connection: Connection, name: str, file: str) -> bool:
    """Return True if DuckDB can read all of a data file; log a warning if it can't."""
    try:
        connection.execute(f"select count(columns(*)) from read_parquet({literals([file])})").fetchall()
    except duckdb.Error as error:
        log.warning("lake.lost_file_is_unreadable", table=name, file=file, reason=str(error))
        return False
    return True


def unnamed_files(table: Table, whole: LogFiles, span: Span) -> list[str]:
    """Return a table's Parquet files that were written in a span, and that no whole file of the log names."""
    named = {path for file in whole.entries.values() for path in named_paths(file.read_bytes())}
    for file in (file for own in whole.checkpoints.values() for file in own):
        with pq.ParquetFile(file) as checkpoint:
            actions = checkpoint.read(["add.path", "remove.path"], use_threads=False)
        for column in actions.column_names:
            paths = pc.struct_field(actions[column], "path").drop_null()
            named |= set(map(unquote, paths.to_pylist()))
    stored = [file for file in Folder(DeltaTable(table.place)).data if file.path.endswith(".parquet")]
    return sorted(
        f"{table.place}/{file.path}"
        for file in stored
        if file.path not in named
        and span.since <= file.modified
        and (span.until is None or file.modified <= span.until)
    )
