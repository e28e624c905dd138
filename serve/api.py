"""API: the JSON endpoints. Each handler declares the parameters that it accepts."""

from datetime import UTC, datetime
from typing import Any

from litestar import Response, get

from lake.ledgers.jobs import Entry
from lake.ledgers.runs import Run
from lake.releases.release import Release, total
from serve import reports
from serve.figures import round_half_up
from serve.openapi import ANSWERS, COLUMNS, operation_class_of
from serve.params import PERIOD, WHICH, choice, integer, read_pairs, read_params, words
from serve.query_service import QueryService
from serve.reader import Reader
from serve.responses import AnyRequest, encoder, json_response, respond, tag
from serve.schemas import (
    Dictionary,
    FailedJob,
    Health,
    ProductsTop,
    ReleaseLine,
    Releases,
    RevenueDaily,
    RunStatus,
    Sources,
    Status,
    Summary,
    TableRows,
    Tables,
)
from serve.tables import TABLE_PARAMS, table_rows, tables

LIVE = {"Cache-Control": "no-store"}
UNCACHED_ANSWERS = {status: answer for status, answer in ANSWERS.items() if status != 304}
SALES_TYPES = words("sales_type", "Only these sales types; default: all.")
BY = choice("by", "Figure by which the products are ranked.", of=("revenue", "quantity"), default="revenue")
TOP = integer("limit", "Number of products.", least=1, most=1000, default=10)
RELEASES_LIMIT = integer("limit", "Number of releases, newest first.", least=1, most=200, default=20)


@get("/api/health", tags=["status"], responses=UNCACHED_ANSWERS, operation_class=operation_class_of(WHICH))
async def health(request: AnyRequest, service: QueryService) -> Response[Health]:
    """Return the number of the open release; 503 if none is open yet, 404 if an older one can't be opened."""
    number = await service.number(read_params(WHICH, read_pairs(request.scope["query_string"])))
    return Response(await service.run_quick(number, lambda: health_of(service.reader, number)), headers=LIVE)


@get("/api/status", tags=["status"], responses=UNCACHED_ANSWERS, operation_class=operation_class_of(WHICH))
async def status(request: AnyRequest, service: QueryService) -> Response[Status]:
    """Return the release, its age and the result of the last ingest; also for an older release."""
    number = await service.number(read_params(WHICH, read_pairs(request.scope["query_string"])))
    now = datetime.now(UTC)
    body = await service.run_quick(number, lambda: encoder.encode(status_of(service.reader, now, number)))
    return Response[Any](body, media_type="application/json", headers=LIVE)


@get(
    "/api/releases",
    tags=["status"],
    responses=ANSWERS,
    operation_class=operation_class_of((RELEASES_LIMIT, *WHICH)),
)
async def releases(request: AnyRequest, service: QueryService) -> Response[Releases]:
    """List releases, newest first, with each change of revenue; `release` or `as_of` sets the newest."""
    values = read_params((RELEASES_LIMIT, *WHICH), read_pairs(request.scope["query_string"]))
    number, limit = await service.number(values), values["limit"]
    with service.reader.open() as served:
        etag = tag(served.key, "releases", str(number), str(limit))
        answer = service.cache.get(etag)
        if answer is None:
            lines = await service.run(lambda: releases_of(service.reader, number, limit))
            answer = json_response(lines, etag, number)
            service.cache.put(answer)
    return respond(request, answer)


@get("/api/tables", tags=["tables"], responses=ANSWERS, operation_class=operation_class_of(WHICH))
async def list_tables(request: AnyRequest, service: QueryService) -> Response[Tables]:
    """List the gold tables with their columns, types and numbers of rows."""
    return await service.ask(request, (), tables)


@get("/api/dictionary", tags=["tables"], responses=ANSWERS, operation_class=operation_class_of(WHICH))
async def read_dictionary(request: AnyRequest, service: QueryService) -> Response[Dictionary]:
    """Return the meaning of each table and column, from the header of the model that built it."""
    return await service.ask(request, (), lambda served, _: Dictionary(served.number, list(served.words)))


@get(
    "/api/tables/{table:str}",
    tags=["tables"],
    responses=ANSWERS,
    operation_class=operation_class_of(TABLE_PARAMS, more=(COLUMNS,)),
)
async def read_table(request: AnyRequest, service: QueryService, table: str) -> Response[TableRows]:
    """Return one page of a gold table's rows, filtered by column values and dates, in a chosen order."""
    pairs = read_pairs(request.scope["query_string"])
    which = [pair for pair in pairs if pair[0] in ("release", "as_of")]
    number = await service.number(read_params(WHICH, which))
    rest = [pair for pair in pairs if pair not in which]
    return await service.answer(
        request, number, repr(sorted(rest)), lambda served: table_rows(served, table, rest)
    )


@get("/api/summary", tags=["shop"], responses=ANSWERS, operation_class=operation_class_of((*PERIOD, *WHICH)))
async def summary(request: AnyRequest, service: QueryService) -> Response[Summary]:
    """Return revenue, orders, average check and returns, and those of the previous period of equal length."""
    return await service.ask(request, PERIOD, reports.summary)


@get(
    "/api/revenue/daily",
    tags=["shop"],
    responses=ANSWERS,
    operation_class=operation_class_of((*PERIOD, SALES_TYPES, *WHICH)),
)
async def revenue_daily(request: AnyRequest, service: QueryService) -> Response[RevenueDaily]:
    """Return revenue by day and sales type, without returns."""
    return await service.ask(request, (*PERIOD, SALES_TYPES), reports.revenue_daily)


@get(
    "/api/products/top",
    tags=["shop"],
    responses=ANSWERS,
    operation_class=operation_class_of((*PERIOD, BY, TOP, *WHICH)),
)
async def products_top(request: AnyRequest, service: QueryService) -> Response[ProductsTop]:
    """Return the best-selling products, and the sums of all others."""
    return await service.ask(request, (*PERIOD, BY, TOP), reports.products_top)


@get("/api/sources", tags=["shop"], responses=ANSWERS, operation_class=operation_class_of((*PERIOD, *WHICH)))
async def sources(request: AnyRequest, service: QueryService) -> Response[Sources]:
    """Return revenue by source, without returns."""
    return await service.ask(request, PERIOD, reports.sources)


ROUTES = [
    health,
    status,
    releases,
    list_tables,
    read_dictionary,
    read_table,
    summary,
    revenue_daily,
    products_top,
    sources,
]


def health_of(reader: Reader, number: int) -> Health:
    """Return the health of an open release. Raises NothingThere if it can't be opened any more."""
    with reader.open(number) as served:
        return Health("ok", served.number)


def status_of(reader: Reader, now: datetime, number: int | None = None) -> Status:
    """Return the status of the current release, or of an older one. Raises NotReady, NothingThere."""
    with reader.open(number) as served:
        release = served.release
        return Status(
            release=release.release,
            kind=release.kind,
            published_at=release.published_at,
            age_seconds=seconds(now, release.published_at),
            now=now,
            complete_through=release.complete_through,
            reconciled_through=release.reconciled_through,
            today=served.today,
            first_order_date=served.first_date,
            last_order_date=served.last_date,
            last_run=run_of(*reader.last_runs(release), now),
            rows={f"gold.{table.name}": table.rows for table in served.tables.values()},
            not_counted=served.uncounted,
            failed_jobs=[failed_job(entry) for entry in reader.failed_jobs],
            problem=reader.problem,
        )


def run_of(run: Run | None, whole_run: Run | None, now: datetime) -> RunStatus | None:
    """Return the last ingest and the end of the last complete one; None if there was no ingest yet."""
    if run is None:
        return None
    return RunStatus(
        run_id=run.run_id,
        kind=run.kind,
        verdict=run.verdict,
        started_at=run.started_at,
        finished_at=run.finished_at,
        age_seconds=seconds(now, run.finished_at),
        rejected=run.rejected,
        reason=run.reason,
        last_complete_at=whole_run.finished_at if whole_run else None,
    )


def releases_of(reader: Reader, number: int, limit: int) -> Releases:
    """Return at most ``limit`` releases up to ``number``, newest first."""
    newest = reader.releases(number, limit)
    missing = reader.uncounted(newest[0]) if newest else None
    return Releases(number, missing, number, limit, [*map(line_of, newest)])


def failed_job(entry: Entry) -> FailedJob:
    """Return the entry of a failed job: its end, exit code and last line of output."""
    return FailedJob(entry.job, entry.at, entry.exit_code or 0, entry.detail or "")


def line_of(release: Release) -> ReleaseLine:
    """Return a release's line in the list of releases."""
    return ReleaseLine(
        release=release.release,
        published_at=release.published_at,
        kind=release.kind,
        parent=release.parent,
        revenue=release.money.get("gold.revenue_daily"),
        revenue_moved=round_half_up(
            total(move for move in release.moved if move.table == "gold.revenue_daily")
        ),
        tables_moved=len({move.table for move in release.moved}),
        reconciled_through=release.reconciled_through,
    )


def seconds(now: datetime, then: datetime) -> int:
    """Return an age in whole seconds; 0 if ``then`` is in the future, because the clocks differ."""
    return max(0, int((now - then).total_seconds()))
