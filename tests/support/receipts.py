"""Receipts of runs that did not take place."""

from datetime import datetime

import msgspec

from lake.ledgers.runs import Run


def receipt(at: datetime, **more: object) -> Run:
    """Return the receipt of a complete run of all entities that ended at an instant, with the
    fields ``more``.
    """
    complete = Run(
        run_id=f"{at:%Y%m%dT%H%M%S%f}",
        kind="incremental",
        verdict="complete",
        started_at=at,
        finished_at=at,
        source="http://127.0.0.1/v1",
        watermark=at,
        source_time=at,
        windows=(),
        appended={},
        rejected=0,
        requests=1,
        retries=0,
        waited_seconds=0.0,
    )
    return msgspec.structs.replace(complete, **more)
