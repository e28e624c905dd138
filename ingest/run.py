"""Run: one ingest of a kind, from its plan to its receipt.

The watermark is read from the receipts of complete runs, so an incomplete run never moves it.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from ingest import run_kinds as kinds
from ingest.client import Client
from ingest.completeness import EvidenceWriter
from ingest.fetching import Fetcher
from ingest.odd_findings import report_odd_values
from ingest.progress import ProgressReporter
from ingest.reconciliation import resync
from ingest.settings import IngestSettings
from ingest.writer import Writer
from lake.errors import IngestIncomplete, KeyRefused, LakeError, SourceError, panics_as_errors
from lake.ledgers.origin import claim_origin
from lake.ledgers.runs import Run, WindowReceipt, new_run_id, watermark, write_run
from lake.paths import Lake
from lake.query.session import connect
from lake.releases.release import current_release
from lake.releases.released_table import refuse_lost
from lake.settings import LakeSettings


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The kind of a run, and the parameters of that kind.

    ``again`` stores the orders ``ids`` even if their content is unchanged.
    If ``days`` is None, a sweep or a resync reads all history. If ``run_id`` is None, the run
    gets a new one.
    """

    kind: Literal["incremental", "full", "window", "sweep", "orders", "resync"]
    since: datetime | None = None
    until: datetime | None = None
    days: int | None = None
    ids: tuple[int, ...] = ()
    again: bool = False
    run_id: str | None = None

    @property
    def rank(self) -> int:
        """Order in the queue for the budget: the shorter job has the lower rank and goes first."""
        return {"incremental": 0, "orders": 0, "window": 1, "sweep": 1, "full": 2, "resync": 2}[self.kind]


class Plan(msgspec.Struct, frozen=True):
    """A request as it is carried out, and the state of the lake that it starts from.

    ``watermark`` is the source time up to which the lake has every change, None in a new lake.
    """

    request: RunRequest
    run_id: str
    started_at: datetime
    watermark: datetime | None
    excluded_runs: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True):
    """The watermark that a run reached, None for a kind that reaches none, and the error that ended it."""

    watermark: datetime | None = None
    failure: BaseException | None = None


async def run_sync(
    request: RunRequest,
    lake: Lake,
    *,
    client: Client,
    settings: IngestSettings,
    engine: LakeSettings,
    progress: ProgressReporter,
) -> Run:
    """Run one ingest and return its receipt, which is in the log by then.

    The receipt is written however the run ends. If it ends with something else than an outage
    (KeyRefused, a full disk, Ctrl-C), the error is raised after that.
    """
    plan = plan_run(request, lake)
    fetcher = open_fetcher(plan, lake, client=client, settings=settings, engine=engine, progress=progress)
    async with client:
        outcome = await fetch(plan, fetcher, settings, lake, progress)
    run = receipt_of(plan, fetcher, outcome)
    record(lake, run, outcome.failure)
    return run


def plan_run(request: RunRequest, lake: Lake) -> Plan:
    """Return the plan of a run that starts now.

    Raises IngestIncomplete like ``resolve``, and TableDamaged if bronze has lost commits of a release.
    """
    started_at = datetime.now(UTC)
    if newest := current_release(lake):
        refuse_lost(lake, newest)
    excluded = excluded_runs(lake)
    return Plan(
        request=resolve(request, lake),
        run_id=request.run_id or new_run_id(started_at),
        started_at=started_at,
        watermark=watermark(lake, left_out=excluded),
        excluded_runs=excluded,
    )


def resolve(request: RunRequest, lake: Lake) -> RunRequest:
    """Return the request to carry out: an incremental run in a lake without a watermark reads everything.

    Raises IngestIncomplete if a resync is requested and no full load was complete yet.
    """
    reached = watermark(lake, left_out=excluded_runs(lake))
    if request.kind == "resync" and reached is None:
        raise IngestIncomplete(f"{lake.place}: there is no history yet to read again; run `just ingest full`")
    return RunRequest(kind="full") if request.kind == "incremental" and reached is None else request


def excluded_runs(lake: Lake) -> tuple[str, ...]:
    """Return the runs that builds leave out: their rows do not count as stored, and are requested again."""
    newest = current_release(lake)
    return newest.excluded_runs if newest else ()


def open_fetcher(
    plan: Plan,
    lake: Lake,
    *,
    client: Client,
    settings: IngestSettings,
    engine: LakeSettings,
    progress: ProgressReporter,
) -> Fetcher:
    """Return a fetcher that writes to the lake, with its bronze tables created.

    Raises LakeError if the lake belongs to another source.
    """
    evidence = EvidenceWriter(lake, run_id=plan.run_id) if plan.request.kind == "resync" else None
    writer = Writer(
        lake,
        connect(engine),
        run_id=plan.run_id,
        evidence=evidence,
        excluded_runs=plan.excluded_runs,
        again=plan.request.again,
    )
    claim_origin(lake, client.settings.base_url)
    writer.create_tables()
    client.stamp_after(writer.newest)
    return Fetcher(client, writer, progress, id_limit=settings.orders_by_id)


async def fetch(
    plan: Plan, fetcher: Fetcher, settings: IngestSettings, lake: Lake, progress: ProgressReporter
) -> Outcome:
    """Read from the CRM what the plan requests; return the outcome, with the error if one ended it."""
    try:
        with progress:
            reached = await fetch_kind(plan, fetcher, settings, lake)
        fetcher.writer.flush_evidence()
        report_odd_values(lake, fetcher.writer.entity_states(), now=datetime.now(UTC))
    except BaseException as error:
        return Outcome(failure=error)
    return Outcome(watermark=reached)


async def fetch_kind(plan: Plan, fetcher: Fetcher, settings: IngestSettings, lake: Lake) -> datetime | None:
    """Call the function of the kind; return the watermark it reaches, None if it reaches none."""
    request = plan.request
    if request.kind == "incremental" and plan.watermark is not None:
        return await kinds.run_incremental(fetcher, settings, lake, plan.watermark)
    if request.kind == "full":
        return await kinds.run_full(fetcher, settings, lake, plan.run_id)
    if request.kind == "resync":
        return await resync(fetcher, settings, request.days)
    if request.kind == "window" and request.since and request.until:
        await kinds.run_window(fetcher, request.since, request.until)
    elif request.kind == "sweep":
        await kinds.run_sweep(fetcher, settings, request.days)
    elif request.kind == "orders":
        await fetcher.fetch_orders(request.ids)
    return None


def receipt_of(plan: Plan, fetcher: Fetcher, outcome: Outcome) -> Run:
    """Return the receipt of a run that ends now; its watermark never moves back."""
    client, writer = fetcher.client, fetcher.writer
    reached = outcome.watermark
    is_complete = outcome.failure is None and all(receipt.complete for receipt in fetcher.receipts)
    return Run(
        run_id=plan.run_id,
        kind=plan.request.kind,
        verdict="complete" if is_complete else "incomplete",
        started_at=plan.started_at,
        finished_at=datetime.now(UTC),
        source=client.settings.base_url,
        watermark=max(reached, plan.watermark or reached) if reached and is_complete else None,
        source_time=client.now,
        windows=tuple(fetcher.receipts),
        appended={name: rows for name, rows in writer.appended.items() if rows},
        rejected=writer.rejected,
        requests=client.requests,
        retries=client.retries,
        waited_seconds=round(client.limiter.waited, 3),
        reason=reason_of(outcome.failure, fetcher.receipts) or "; ".join(fetcher.remarks) or None,
    )


def record(lake: Lake, run: Run, failure: BaseException | None) -> None:
    """Write the receipt, then raise the failure if it is no outage of the source."""
    if failure is None:
        write_run(lake, run)
        return
    with (
        contextlib.suppress(Exception),
        panics_as_errors(),
    ):  # a disk that is full for the rows is full for the receipt
        write_run(lake, run)
    if not isinstance(failure, SourceError) or isinstance(failure, KeyRefused):
        raise failure


def reason_of(failure: BaseException | None, receipts: Sequence[WindowReceipt]) -> str | None:
    """Return why a run is incomplete: the error that ended it, or its first incomplete window."""
    if isinstance(failure, LakeError):
        return str(failure)
    if isinstance(failure, asyncio.CancelledError | KeyboardInterrupt):
        return "it was interrupted"
    if failure is not None:
        return f"{type(failure).__name__} {failure}".strip()
    return next((f"{receipt.entity}: {receipt.reason}" for receipt in receipts if not receipt.complete), None)
