"""Properties: the Delta settings that every table gets when it is created, for all later writers."""

from collections.abc import Sequence

import pyarrow as pa

from lake.delta.parquet import is_logged

# Commits from one checkpoint to the next. Opening a table reads all since the last one, 1-2 ms each.
CHECKPOINTED = 10
# Delta's own log clean-up considers only a file's age, and would drop versions that a release still
# references. Incremental builds read the change feed.
PROPERTIES = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.enableChangeDataFeed": "true",
    "delta.checkpointInterval": str(CHECKPOINTED),
    # By default a checkpoint lists the files that were removed in the last week. The vacuum of this
    # project does not need the list: it uses the commits, and the versions that releases reference.
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
}


def statistics(schema: pa.Schema, partition_by: Sequence[str]) -> dict[str, str]:
    """Return the property that limits the log's statistics to ids, dates and instants. Pure.

    A read skips files by these. Two payloads for each file would be most of a log, and a log must
    not contain the names of persons.
    """
    columns = [field.name for field in schema if is_logged(field) and field.name not in partition_by]
    if not columns:
        return {"delta.dataSkippingNumIndexedCols": "0"}
    return {"delta.dataSkippingStatsColumns": ",".join(columns)}
