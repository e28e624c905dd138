"""Feed: the ids in the rows that were appended to a table since an older version."""

import pyarrow as pa
from deltalake import DeltaTable

from lake.delta.commits import folder_of, live_files
from lake.delta.damage import refuse_damage
from lake.delta.log_check import log_ends, refuse_torn
from lake.delta.log_files import files_of_entries
from lake.errors import panics_as_errors

# Columns that, together with an id, distinguish one observation from all others.
OBSERVATION = ("fetched_at", "run_id")


def appended_ids(name: str, delta: DeltaTable, column: str, *, after: int) -> set[int]:
    """Return the ids in a column of all rows appended after version ``after``, up to the open version.

    Raises TableDamaged if the log ends before ``after``, or an entry or a file of such rows is damaged.
    """
    version = delta.version()
    if version < after:
        raise log_ends(name, after)
    if version == after:
        return set()
    if folder := folder_of(delta):
        entries = range(after + 1, version + 1)
        refuse_torn(name, folder, entries)
        refuse_damage(name, files_of_entries(folder, entries))
    try:
        with panics_as_errors():
            feed = delta.load_cdf(starting_version=after + 1, ending_version=version, columns=[column])
            return {key for batch in feed for key in pa.record_batch(batch).column(column).to_pylist()}
    except Exception:
        # Maintenance retains the feed since the release that is served. After a rollback this is an
        # older one. deltalake raises a DeltaError if a commit is missing, an Exception if a file is.
        if folder:
            refuse_damage(name, [f"{folder}/{path}" for path in live_files(delta)])
        return ids_by_rows(column, delta, DeltaTable(delta.table_uri, version=after))


def ids_by_rows(column: str, delta: DeltaTable, before: DeltaTable) -> set[int]:
    """Return the ids in the rows that an older version lacks. Rows are never deleted from such a table.

    It reads all rows of both versions, but only the columns that distinguish rows.
    """
    own = pa.schema(delta.schema().to_arrow()).names
    names = [column, *(name for name in OBSERVATION if name in own and name != column)]
    old, new = (
        each.to_pyarrow_dataset().to_table(columns=names, use_threads=False) for each in (before, delta)
    )
    return set(new.join(old, names, join_type="left anti", use_threads=False)[column].to_pylist())
