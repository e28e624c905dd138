"""Bronze repair: a damaged bronze file that nothing else proves is written again from payloads.

A row's typed columns follow from its payload, and the lines and expenses of an order from the order's
payload. If all rows of a file can be written again, it is replaced under its name, with its size and
number of rows, as an erasure does. If rows are lost, KeyCRM has them still: ingests do not count a file
that is known to be damaged, so that a reading of all history appends its objects again. Then the file
leaves the table.
"""

from collections.abc import Iterator
from datetime import datetime
from io import BytesIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.entities import BY_TABLE
from ingest.payload_check import PARTS
from ingest.rows_again import Columns, lines_again, rows_again
from lake.delta.checksum import checksum, stated
from lake.delta.commits import LiveFile
from lake.delta.damage import damaged_files
from lake.delta.files import Files
from lake.delta.parquet import encoded
from lake.delta.table import Table
from lake.delta.tables import open_table
from lake.delta.writer import ROOM
from lake.errors import LakeError
from lake.ledgers.findings import DAMAGE, read_damage, read_findings
from lake.ledgers.runs import newest_run
from lake.maintenance.redaction import parquet_of_size
from lake.maintenance.verification import verify
from lake.paths import Lake
from lake.settings import LakeSettings

# Kinds of runs that read all objects of the CRM, if they reach a watermark.
OF_ALL_HISTORY = ("full", "resync")
# Orders that a command line takes.
MANY = 200
READ_ALL = "run `just ingest full`, then `just repair` again"


class DamagedFile(msgspec.Struct, frozen=True):
    """A damaged file at the head of a bronze table, as its log describes it, and when it was found."""

    table: str
    path: str
    live: LiveFile
    since: datetime

    @property
    def day(self) -> str:
        """The folder of the file, which is the partition of a day."""
        return self.live.path.rpartition("/")[0]


def repair_bronze(lake: Lake, settings: LakeSettings, *, now: datetime) -> Iterator[str]:
    """Repair the files of bronze that are known to be damaged, and yield one line for each."""
    paths = [path for path in read_damage(lake) if path.startswith("bronze/") and "/_delta_log/" not in path]
    # Orders first: their payloads are the source of lines and expenses.
    for path in sorted(paths, key=lambda path: (not path.startswith("bronze/orders/"), path)):
        if file := damaged_file(lake, path):
            yield f"{path}: {repair_file(lake, file)}"
    if paths:
        verify(lake, settings, now=now)


def damaged_file(lake: Lake, path: str) -> DamagedFile | None:
    """Return a file as the head of its table has it; None if it is not at the head."""
    layer, table, own = path.split("/", 2)
    name = f"{layer}.{table}"
    since = read_findings(lake)[f"{DAMAGE}.{path}"].first_seen_at
    live = open_table(lake, name).live_file(own)
    return DamagedFile(name, path, live, since) if live else None


def repair_file(lake: Lake, file: DamagedFile) -> str:
    """Write a file again, or remove it from its table; return what was done, or the next step."""
    content = Files(lake.place).read_if_possible(file.path) or b""
    columns = readable_columns(content)
    if write_again(lake, file, content, columns):
        return "written again from payloads"
    if file.table in BY_TABLE or file.table in PARTS:
        ids = columns.get("id" if file.table in BY_TABLE else "order_id")
        if not is_read_again(lake, file, ids):
            return f"rows are lost; {next_step(file, ids)}"
    open_table(lake, file.table).drop_file(file.live)
    return "left its table, because its objects were read again; run `just transform --full`"


def next_step(file: DamagedFile, ids: pa.ChunkedArray | None) -> str:
    """Return the command that reads the objects of a file again. Pure."""
    is_of_orders = file.table in (*PARTS, "bronze.orders")
    if ids is None or not is_of_orders or len(unique := sorted(set(ids.to_pylist()))) > MANY:
        return READ_ALL
    return f"run `just ingest order {' '.join(map(str, unique))} --again`, then `just repair` again"


def readable_columns(content: bytes) -> Columns:
    """Return the columns whose pages are as they were written; none if the file's footer is damaged."""
    columns: dict[str, pa.ChunkedArray] = {}
    try:
        parquet = pq.ParquetFile(BytesIO(content), page_checksum_verification=True)
        names = parquet.schema_arrow.names
    except (pa.ArrowException, OSError):
        return {}
    for name in names:
        try:
            columns[name] = parquet.read([name], use_threads=False)[name]
        except (pa.ArrowException, OSError):
            continue
    return columns


def write_again(lake: Lake, file: DamagedFile, content: bytes, columns: Columns) -> bool:
    """Write a file with all its rows from payloads; False if they are not all known."""
    if file.table in PARTS:
        rows = lines_again(orders_of(lake, file), other_lines(lake, file), file.table)
    elif entity := BY_TABLE.get(file.table):
        rows = rows_again(entity, columns)
    else:
        return False
    if rows is None or rows.num_rows != file.live.rows:
        return False
    again = encoded(rows, metadata=ROOM)
    if checksum(again) != stated(file.path):
        try:
            again = parquet_of_size(rows, file.live.size, file.path)
        except LakeError:
            return False
    Files(lake.place).write(file.path, [again])
    return True


def orders_of(lake: Lake, file: DamagedFile) -> pa.Table:
    """Return the orders that were observed on the day of a file of lines or expenses."""
    return rows_of_day(open_table(lake, "bronze.orders"), file)


def other_lines(lake: Lake, file: DamagedFile) -> pa.Table:
    """Return the rows of the day that are in other files of the table."""
    return rows_of_day(open_table(lake, file.table), file)


def rows_of_day(table: Table, file: DamagedFile) -> pa.Table:
    """Return the rows of the other intact files of a day's partition."""
    names = [name for name in table.schema.names if name not in table.partition_by]
    return intact_rows(table, names, f"/{file.day}/", without=file.path)


def intact_rows(table: Table, names: list[str], folder: str = "/", *, without: str = "") -> pa.Table:
    """Return columns of the rows in a table's intact files, or in those of one folder but one file.

    A damaged file without a checksum in its name looks like an intact one: leave it out by its path.
    """
    uris = [uri for uri in sorted(table.uris()) if folder in uri and not (without and uri.endswith(without))]
    damaged = set(damaged_files(uris))
    schema = pa.schema([table.schema.field(name) for name in names])
    parts = [pq.read_table(uri, columns=names, partitioning=None) for uri in uris if uri not in damaged]
    return pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts)])


def is_read_again(lake: Lake, file: DamagedFile, ids: pa.ChunkedArray | None) -> bool:
    """True if all objects of a file were observed again since it was found, or all history was."""
    if ids is not None and file.table in (*PARTS, "bronze.orders"):
        rows = intact_rows(open_table(lake, "bronze.orders"), ["id", "fetched_at"])
        newer = rows.filter(pc.greater(rows["fetched_at"], pa.scalar(file.since, rows["fetched_at"].type)))
        if pc.all(pc.is_in(ids, newer["id"])).as_py():
            return True
    run = newest_run(lake, lambda run: run.kind in OF_ALL_HISTORY and run.watermark is not None)
    return run is not None and run.verdict == "complete" and run.started_at > file.since
