"""The JSON endpoints, one question each. Parameters are declared beside the handler that takes them."""

from datetime import UTC, datetime

from litestar import Response, get

from lake.release import Release, total
from serve import questions
from serve.answers import Asked, json_answer, respond, tag
from serve.desk import Desk
from serve.figures import rounded
from serve.openapi import ANSWERS, COLUMNS, NOT_READY, REFUSED, documented
from serve.params import PERIOD, RELEASE, choice, read_pairs, read_params, whole, words
from serve.reader import Reader
from serve.schemas import (
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
WITHOUT_PARAMS = {400: REFUSED, 503: NOT_READY}
SALES_TYPES = words("sales_type", "Only these sales types; all if not said.")
BY = choice("by", "What makes a product a top one.", of=("revenue", "quantity"), default="revenue")
TOP = whole("limit", "How many products.", least=1, most=1000, default=10)
RELEASES_LIMIT = whole("limit", "How many releases, newest first.", least=1, most=200, default=20)


@get("/api/health", tags=["status"], responses=WITHOUT_PARAMS)
async def health(request: Asked, desk: Desk) -> Response[Health]:
    """Say that a release is open; 503 until one is."""
    read_params((), read_pairs(request.scope["query_string"]))
    return Response(Health("ok", desk.reader.number()), headers=LIVE)


@get("/api/status", tags=["status"], responses=WITHOUT_PARAMS)
async def status(request: Asked, desk: Desk) -> Response[Status]:
    """Say which release serves, how old it is, and how the last ingest went."""
    read_params((), read_pairs(request.scope["query_string"]))
    return Response(status_of(desk.reader, datetime.now(UTC)), headers=LIVE)


@get("/api/releases", tags=["status"], responses=ANSWERS, operation_class=documented((RELEASES_LIMIT,)))
async def releases(request: Asked, desk: Desk) -> Response[Releases]:
    """List releases, newest first, and what each moved."""
    limit = read_params((RELEASES_LIMIT,), read_pairs(request.scope["query_string"]))["limit"]
    with desk.reader.hold() as session:
        etag = tag(session.key, "releases", str(limit))
        answer = desk.answers.get(etag)
        if answer is None:
            lines = [line_of(release) for release in await desk.run(lambda: desk.reader.releases(limit))]
            answer = json_answer(Releases(session.number, session.number, limit, lines), etag, session.number)
            desk.answers.put(answer)
    return respond(request, answer)


@get("/api/tables", tags=["tables"], responses=ANSWERS, operation_class=documented((RELEASE,)))
async def list_tables(request: Asked, desk: Desk) -> Response[Tables]:
    """List the gold tables with their columns, types and rows."""
    return await desk.ask(request, (), tables)


@get(
    "/api/tables/{table:str}",
    tags=["tables"],
    responses=ANSWERS,
    operation_class=documented(TABLE_PARAMS, more=(COLUMNS,)),
)
async def read_table(request: Asked, desk: Desk, table: str) -> Response[TableRows]:
    """Return rows of a gold table: by column values and dates, in any order, page by page."""
    pairs = read_pairs(request.scope["query_string"])
    asked = read_params((RELEASE,), [pair for pair in pairs if pair[0] == RELEASE.name])
    number = desk.reader.number(asked["release"])
    return await desk.answer(
        request, number, repr(sorted(pairs)), lambda held: table_rows(held, table, pairs)
    )


@get("/api/summary", tags=["shop"], responses=ANSWERS, operation_class=documented((*PERIOD, RELEASE)))
async def summary(request: Asked, desk: Desk) -> Response[Summary]:
    """Return revenue, orders, average check and returns, against the period of the same length before."""
    return await desk.ask(request, PERIOD, questions.summary)


@get(
    "/api/revenue/daily",
    tags=["shop"],
    responses=ANSWERS,
    operation_class=documented((*PERIOD, SALES_TYPES, RELEASE)),
)
async def revenue_daily(request: Asked, desk: Desk) -> Response[RevenueDaily]:
    """Return revenue by day and sales type, returns left out."""
    return await desk.ask(request, (*PERIOD, SALES_TYPES), questions.revenue_daily)


@get(
    "/api/products/top",
    tags=["shop"],
    responses=ANSWERS,
    operation_class=documented((*PERIOD, BY, TOP, RELEASE)),
)
async def products_top(request: Asked, desk: Desk) -> Response[ProductsTop]:
    """Return the products that sold most, and the sum of all others."""
    return await desk.ask(request, (*PERIOD, BY, TOP), questions.products_top)


@get("/api/sources", tags=["shop"], responses=ANSWERS, operation_class=documented((*PERIOD, RELEASE)))
async def sources(request: Asked, desk: Desk) -> Response[Sources]:
    """Return revenue by source, returns left out."""
    return await desk.ask(request, PERIOD, questions.sources)


ROUTES = [health, status, releases, list_tables, read_table, summary, revenue_daily, products_top, sources]


def status_of(reader: Reader, now: datetime) -> Status:
    """Return the state of what is served. Raises NotReady."""
    with reader.hold() as session:
        release = session.release
        return Status(
            release=release.release,
            kind=release.kind,
            published_at=release.published_at,
            age_seconds=seconds(now, release.published_at),
            now=now,
            complete_through=release.complete_through,
            reconciled_through=release.reconciled_through,
            today=session.today,
            first_order_date=session.first_date,
            last_order_date=session.last_date,
            last_run=run_of(reader, now),
            rows={f"gold.{table.name}": table.rows for table in session.tables.values()},
            problem=reader.problem,
        )


def run_of(reader: Reader, now: datetime) -> RunStatus | None:
    """Return the last ingest; None before the first."""
    run, whole_run = reader.last_run, reader.last_complete
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


def line_of(release: Release) -> ReleaseLine:
    """Return a release as it is listed."""
    return ReleaseLine(
        release=release.release,
        published_at=release.published_at,
        kind=release.kind,
        parent=release.parent,
        revenue=release.money.get("gold.revenue_daily"),
        revenue_moved=rounded(total(move for move in release.moved if move.table == "gold.revenue_daily")),
        tables_moved=len({move.table for move in release.moved}),
        reconciled_through=release.reconciled_through,
    )


def seconds(now: datetime, then: datetime) -> int:
    """Return an age in whole seconds; clocks that disagree make it 0, not negative."""
    return max(0, int((now - then).total_seconds()))
