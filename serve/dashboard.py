"""Dashboard: the page at ``/``, its figures alone at ``/figures``, and the page of the dictionary.

The page and the figures use the same templates, so the page is complete before its
script runs, and numbers are formatted in one place. The URL contains the page's whole state.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from litestar import Response, get

from lake.errors import LakeError
from lake.releases.currency import sign
from serve import reports
from serve.api import status_of
from serve.assets import FOREVER, Assets
from serve.errors import BadQuestion, NothingThere, NotReady
from serve.figures import Period
from serve.pages import render
from serve.params import PERIOD, WHICH, integer, read_page_params
from serve.query_service import QueryService
from serve.responses import AnyRequest, encoder, make_response, respond, tag
from serve.schemas import TableWords
from serve.served_release import ServedRelease

# Lengths of the periods in the page's navigation, in days.
DAYS = (7, 30, 90, 365)
# Products in the table of top products.
TOP = 10
HTML = "text/html"
PARAMS = (*PERIOD, integer("days", "Number of days, up to today.", least=1, most=3660), *WHICH)
LIVE = {"Cache-Control": "no-store"}


@get("/", include_in_schema=False)
async def page(request: AnyRequest, service: QueryService, assets: Assets) -> Response[Any]:
    """Return the dashboard, or a page with the reason if it can't be shown."""
    try:
        facts = await service.run(lambda: read_facts(service, request))
    except (NotReady, BadQuestion, NothingThere) as error:
        return problem_page(error, assets)
    return page_response(request, render("dashboard.html", urls=assets.urls, **facts), facts["release"])


@get("/figures", include_in_schema=False)
async def figures(request: AnyRequest, service: QueryService) -> Response[Any]:
    """Return the part of the page that depends on the period and the release."""
    facts = await service.run(lambda: read_facts(service, request))
    return page_response(request, render("following.html", **facts), facts["release"])


@get("/dictionary", include_in_schema=False)
async def dictionary(request: AnyRequest, service: QueryService, assets: Assets) -> Response[Any]:
    """Return the page with the meaning of each table and column, or a page with the reason."""
    try:
        values = read_page_params(WHICH, request.scope["query_string"])
        number = await service.number(values)
        words = await service.run(lambda: read_words(service, number))
    except (NotReady, BadQuestion, NothingThere) as error:
        return problem_page(error, assets)
    return page_response(
        request, render("dictionary.html", urls=assets.urls, release=number, tables=words), number
    )


@get("/static/{name:str}", include_in_schema=False)
async def static(request: AnyRequest, service: QueryService, assets: Assets, name: str) -> Response[Any]:
    """Return an asset. Its URL contains a hash of its content, so browsers may cache it forever."""
    return respond(request, await service.run(lambda: assets.read(name)), caching=FOREVER)


ROUTES = [page, figures, dictionary, static]


def read_words(service: QueryService, number: int) -> tuple[TableWords, ...]:
    """Return the dictionary of a release: its tables, gold first."""
    with service.reader.open(number) as served:
        return served.words


def page_response(request: AnyRequest, text: str, release: int) -> Response[Any]:
    """Return a page rendered from a release, with an ETag of the release and the text."""
    return respond(
        request, make_response(text.encode(), tag(str(release), text), HTML, release), caching="no-store"
    )


def problem_page(error: LakeError, assets: Assets) -> Response[bytes]:
    """Return the page with the reason of an error: 503 and reloading for NotReady, else 404 or 400."""
    waits = isinstance(error, NotReady)
    code = 503 if waits else 404 if isinstance(error, NothingThere) else 400
    title = "No numbers yet" if waits else "This can't be shown"
    body = render("problem.html", urls=assets.urls, title=title, detail=str(error), waits=waits).encode()
    return Response(body, status_code=code, media_type=HTML, headers=LIVE)


def read_facts(service: QueryService, request: AnyRequest) -> dict[str, Any]:
    """Return the variables of the templates, all from one release."""
    params = read_page_params(PARAMS, request.scope["query_string"])
    with service.reader.open(service.reader.resolve(params)) as served:
        days, values = choose_period(served, params)
        return {
            "release": served.number,
            "currency": served.currency,
            "not_counted": served.uncounted,
            "is_pinned": params["release"] is not None or params["as_of"] is not None,
            "published_at": served.release.published_at,
            "status": status_of(service.reader, datetime.now(UTC)),
            "days": days,
            "choices": DAYS,
            "today": served.today,
            "period": Period(values["from"], values["to"]),
            **read_figures(served, values),
        }


def choose_period(served: ServedRelease, params: dict[str, Any]) -> tuple[int | None, dict[str, date]]:
    """Return the chosen number of days (None if the URL has dates) and the period's first and last day.

    Raises BadQuestion if the URL has both.
    """
    days = params["days"]
    if params["from"] or params["to"]:
        if days:
            raise BadQuestion("days can't be combined with from and to")
        period = reports.report_period(served, params)
        return None, {"from": period.first, "to": period.last}
    days = days or 30
    return days, {"from": served.today - timedelta(days=days - 1), "to": served.today}


def read_figures(served: ServedRelease, values: dict[str, date]) -> dict[str, Any]:
    """Return the reports on the page; a report is None if the release lacks its table."""
    revenue = report_or_none(reports.revenue_daily, served, {**values, "sales_type": ()})
    products = report_or_none(reports.products_top, served, {**values, "by": "revenue", "limit": TOP})
    sources = report_or_none(reports.sources, served, values)
    charts = {
        "currency": sign(served.currency),
        "sales_types": served.sales_types,
        "revenue": [[row.date, row.sales_type, row.revenue, row.orders_count] for row in revenue.rows]
        if revenue
        else [],
        "products": [[row.product_name, row.revenue, row.quantity] for row in products.rows]
        if products
        else [],
        "sources": [[row.source_name, row.revenue, row.orders_count] for row in sources.rows]
        if sources
        else [],
    }
    return {
        "summary": report_or_none(reports.summary, served, values),
        "types": by_type(revenue.rows, served.sales_types) if revenue else [],
        "revenue": revenue,
        "products": products,
        "sources": sources,
        # "<" is escaped, so that no name can close the script element around the JSON.
        "charts": encoder.encode(charts).decode().replace("<", "\\u003c"),
    }


def report_or_none(report: Callable[..., Any], served: ServedRelease, values: dict[str, Any]) -> Any:
    """Return the report; None if the release lacks its table."""
    try:
        return report(served, values)
    except NothingThere:
        return None


class TypeLine(msgspec.Struct, frozen=True):
    """The totals of one sales type over the whole period."""

    sales_type: str
    totals: Any


def by_type(rows: list[Any], names: tuple[str, ...]) -> list[TypeLine]:
    """Return the totals of each sales type that has rows, in the order of ``names``."""
    plain = [msgspec.structs.asdict(row) for row in rows]
    groups = {name: [row for row in plain if row["sales_type"] == name] for name in names}
    return [TypeLine(name, reports.totals(group)) for name, group in groups.items() if group]
