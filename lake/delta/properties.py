"""Properties: what every table is told of its log when it is made, for all who write to it later."""

from collections.abc import Sequence

import pyarrow as pa

from lake.delta.parquet import is_logged

# Whoever opens a table reads every commit since the last checkpoint, at a millisecond or two each.
CHECKPOINTED = 10
# Delta's own clean-up looks at the clock alone and would drop versions that a
# release still names; the change feed is what an incremental build reads.
PROPERTIES = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.enableChangeDataFeed": "true",
    "delta.checkpointInterval": str(CHECKPOINTED),
    # A checkpoint would list what a week removed; vacuum here goes by commits, and by what releases name.
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
}


def statistics(schema: pa.Schema, partition_by: Sequence[str]) -> dict[str, str]:
    """Return the property that keeps the log small: it says what ids, dates and instants a file has. Pure.

    By those files are passed over. Two payloads a file would be most of a log, and names have no place in it.
    """
    told = [field.name for field in schema if is_logged(field) and field.name not in partition_by]
    if not told:
        return {"delta.dataSkippingNumIndexedCols": "0"}
    return {"delta.dataSkippingStatsColumns": ",".join(told)}
