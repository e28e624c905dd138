"""One run: a kind of asking, and the receipt of what came of it.

Only a complete run moves the watermark, because the watermark is read off the
receipts of complete runs.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from ingest import run_kinds as kinds
from ingest.client import Client
from ingest.completeness import Witness
from ingest.fetching import Reading
from ingest.progress import Watch
from ingest.reconciliation import resync
from ingest.settings import IngestSettings
from ingest.writer import Writer
from lake.errors import IngestIncomplete, KeyRefused, LakeError, SourceError
from lake.ledgers.origin import claim_origin
from lake.ledgers.runs import Run, WindowReceipt, new_run_id, watermark, write_run
from lake.paths import Lake
from lake.query.session import connect
from lake.releases.release import current_release
from lake.settings import LakeSettings


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants of a run: its kind, and what that kind needs to know.

    ``days`` None sweeps, or reads again, all history. ``run_id`` None: the run gets one.
    """

    kind: Literal["incremental", "full", "window", "sweep", "orders", "resync"]
    since: datetime | None = None
    until: datetime | None = None
    days: int | None = None
    ids: tuple[int, ...] = ()
    run_id: str | None = None

    @property
    def rank(self) -> int:
        """Who goes first where the budget is short: the shorter job."""
        return {"incremental": 0, "orders": 0, "window": 1, "sweep": 1, "full": 2, "resync": 2}[self.kind]


async def run_sync(
    request: RunRequest,
    lake: Lake,
    *,
    client: Client,
    settings: IngestSettings,
    engine: LakeSettings,
    watch: Watch,
) -> Run:
    """Run one ingest and return its receipt, already in the ledger.

    Whatever ends it, there is a receipt. Raises what is no outage (KeyRefused, a full
    disk, Ctrl-C) after the receipt was written.
    """
    started_at = datetime.now(UTC)
    run_id = request.run_id or new_run_id(started_at)
    left_out = excluded_runs(lake)
    held = watermark(lake, left_out=left_out)
    request = effective(request, lake)
    witness = Witness(lake, run_id=run_id) if request.kind == "resync" else None
    writer = Writer(lake, connect(engine), run_id=run_id, witness=witness, left_out=left_out)
    claim_origin(lake, client.settings.base_url)
    writer.make_tables()
    client.stamp_after(writer.newest)
    reading = Reading(client, writer, watch, by_id=settings.orders_by_id)
    reached: datetime | None = None
    failure: BaseException | None = None
    async with client:
        try:
            with watch:
                reached = await ask(request, reading, settings, lake, run_id, held)
            if witness:
                witness.close()
        except BaseException as error:
            failure = error
    is_complete = failure is None and all(receipt.complete for receipt in reading.receipts)
    run = Run(
        run_id=run_id,
        kind=request.kind,
        verdict="complete" if is_complete else "incomplete",
        started_at=started_at,
        finished_at=datetime.now(UTC),
        source=client.settings.base_url,
        watermark=max(reached, held or reached) if reached and is_complete else None,
        source_time=client.now,
        windows=tuple(reading.receipts),
        appended={name: rows for name, rows in writer.appended.items() if rows},
        rejected=writer.rejected,
        requests=client.requests,
        retries=client.retries,
        waited_seconds=round(client.limiter.waited, 3),
        reason=reason_of(failure, reading.receipts),
    )
    if failure is None:
        write_run(lake, run)
        return run
    with contextlib.suppress(Exception):  # the disk that is full for the rows is full for the receipt
        write_run(lake, run)
    if isinstance(failure, SourceError) and not isinstance(failure, KeyRefused):
        return run
    raise failure


def effective(request: RunRequest, lake: Lake) -> RunRequest:
    """Return what is done for a request: an incremental run with nothing to go on from reads everything.

    Raises IngestIncomplete where there is nothing yet to read again.
    """
    held = watermark(lake, left_out=excluded_runs(lake))
    if request.kind == "resync" and held is None:
        raise IngestIncomplete(f"{lake.place}: there is no history yet to read again; run `just ingest full`")
    return RunRequest(kind="full") if request.kind == "incremental" and held is None else request


def excluded_runs(lake: Lake) -> tuple[str, ...]:
    """Return the runs that builds leave out: what they brought is not held, and is asked for again."""
    newest = current_release(lake)
    return newest.excluded_runs if newest else ()


async def ask(
    request: RunRequest,
    reading: Reading,
    settings: IngestSettings,
    lake: Lake,
    run_id: str,
    held: datetime | None,
) -> datetime | None:
    """Do what the request says; return the watermark it reaches, None for a kind that reaches none."""
    if request.kind == "incremental" and held is not None:
        return await kinds.incremental(reading, settings, lake, held)
    if request.kind == "full":
        return await kinds.full(reading, settings, lake, run_id)
    if request.kind == "resync":
        return await resync(reading, settings, request.days)
    if request.kind == "window" and request.since and request.until:
        await kinds.window(reading, request.since, request.until)
    elif request.kind == "sweep":
        await kinds.sweep(reading, settings, request.days)
    elif request.kind == "orders":
        await reading.orders(request.ids)
    return None


def reason_of(failure: BaseException | None, receipts: Sequence[WindowReceipt]) -> str | None:
    """Return why a run is incomplete: what ended it, or its first window that is."""
    if isinstance(failure, LakeError):
        return str(failure)
    if isinstance(failure, asyncio.CancelledError | KeyboardInterrupt):
        return "it was interrupted"
    if failure is not None:
        return f"{type(failure).__name__} {failure}".strip()
    return next((f"{receipt.entity}: {receipt.reason}" for receipt in receipts if not receipt.complete), None)
