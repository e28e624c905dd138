"""The page: the whole of it at ``/``, and the part that changes at ``/figures``.

Both come from the same templates, so numbers are formatted in one place and the
page says everything before its script has run. Its state is its address.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from litestar import Response, get

from serve import reports as questions
from serve.api import status_of
from serve.assets import FOREVER, Assets
from serve.errors import BadQuestion, NothingThere, NotReady
from serve.figures import Period
from serve.pages import render
from serve.params import PERIOD, WHICH, integer, read_pairs, read_params
from serve.query_service import QueryService
from serve.responses import AnyRequest, encoder, make_response, respond, tag
from serve.schemas import TableWords
from serve.served_release import ServedRelease

DAYS = (7, 30, 90, 365)
TOP = 10
HTML = "text/html"
PARAMS = (*PERIOD, integer("days", "So many days, up to today.", least=1, most=3660), *WHICH)
LIVE = {"Cache-Control": "no-store"}


@get("/", include_in_schema=False)
async def page(request: AnyRequest, service: QueryService, assets: Assets) -> Response[Any]:
    """Return the dashboard, or a page that says why there is none."""
    try:
        facts = await service.run(lambda: read_facts(service, request))
    except NotReady as error:
        return html("problem.html", 503, assets, title="No numbers yet", detail=str(error), waits=True)
    except (BadQuestion, NothingThere) as error:
        code = 404 if isinstance(error, NothingThere) else 400
        return html("problem.html", code, assets, title="This can't be shown", detail=str(error), waits=False)
    return packed(request, render("dashboard.html", urls=assets.urls, **facts), facts["release"])


@get("/figures", include_in_schema=False)
async def figures(request: AnyRequest, service: QueryService) -> Response[Any]:
    """Return what changes on the page, for a period and release."""
    facts = await service.run(lambda: read_facts(service, request))
    return packed(request, render("following.html", **facts), facts["release"])


@get("/dictionary", include_in_schema=False)
async def dictionary(request: AnyRequest, service: QueryService, assets: Assets) -> Response[Any]:
    """Return the page that says what every table and column means."""
    try:
        values = read_params(WHICH, read_pairs(request.scope["query_string"]))
        number = await service.number(values)
        words = await service.run(lambda: read_words(service, number))
    except NotReady as error:
        return html("problem.html", 503, assets, title="No numbers yet", detail=str(error), waits=True)
    except (BadQuestion, NothingThere) as error:
        code = 404 if isinstance(error, NothingThere) else 400
        return html("problem.html", code, assets, title="This can't be shown", detail=str(error), waits=False)
    return packed(request, render("dictionary.html", urls=assets.urls, release=number, tables=words), number)


@get("/static/{name:str}", include_in_schema=False)
async def static(request: AnyRequest, service: QueryService, assets: Assets, name: str) -> Response[Any]:
    """Return an asset; its address changes with its content, so it is kept for ever."""
    return respond(request, await service.run(lambda: assets.read(name)), caching=FOREVER)


ROUTES = [page, figures, dictionary, static]


def read_words(service: QueryService, number: int) -> tuple[TableWords, ...]:
    """Return what a release says of its tables."""
    with service.reader.open(number) as served:
        return served.words


def packed(request: AnyRequest, text: str, release: int) -> Response[Any]:
    """Return a page that a release was shown on."""
    return respond(
        request, make_response(text.encode(), tag(str(release), text), HTML, release), caching="no-store"
    )


def html(template: str, code: int, assets: Assets, /, **facts: Any) -> Response[bytes]:
    """Return a page that says what is wrong."""
    body = render(template, urls=assets.urls, **facts).encode()
    return Response(body, status_code=code, media_type=HTML, headers=LIVE)


def read_facts(service: QueryService, request: AnyRequest) -> dict[str, Any]:
    """Return all that the templates need, from one release."""
    asked = read_params(PARAMS, read_pairs(request.scope["query_string"]))
    with service.reader.open(service.reader.resolve(asked)) as served:
        days, values = choose_period(served, asked)
        return {
            "release": served.number,
            "is_pinned": asked["release"] is not None or asked["as_of"] is not None,
            "published_at": served.release.published_at,
            "status": status_of(service.reader, datetime.now(UTC)),
            "days": days,
            "choices": DAYS,
            "today": served.today,
            "period": Period(values["from"], values["to"]),
            **read_figures(served, values),
        }


def choose_period(served: ServedRelease, asked: dict[str, Any]) -> tuple[int | None, dict[str, date]]:
    """Return the choice that is lit (None for a period of one's own) and the days it means."""
    days = asked["days"]
    if asked["from"] or asked["to"]:
        if days:
            raise BadQuestion("days can't be combined with from and to")
        period = questions.report_period(served, asked)
        return None, {"from": period.first, "to": period.last}
    days = days or 30
    return days, {"from": served.today - timedelta(days=days - 1), "to": served.today}


def read_figures(served: ServedRelease, values: dict[str, date]) -> dict[str, Any]:
    """Return the answers that the page shows; None for what the release has no table for."""
    revenue = asked_of(questions.revenue_daily, served, {**values, "sales_type": ()})
    products = asked_of(questions.products_top, served, {**values, "by": "revenue", "limit": TOP})
    sources = asked_of(questions.sources, served, values)
    charts = {
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
        "summary": asked_of(questions.summary, served, values),
        "types": by_type(revenue.rows, served.sales_types) if revenue else [],
        "revenue": revenue,
        "products": products,
        "sources": sources,
        # "<" is written as an escape so that no name can end the element that holds the JSON.
        "charts": encoder.encode(charts).decode().replace("<", "\\u003c"),
    }


def asked_of(question: Callable[..., Any], served: ServedRelease, values: dict[str, Any]) -> Any:
    """Return the answer; None where the release has no table for it."""
    try:
        return question(served, values)
    except NothingThere:
        return None


class TypeLine(msgspec.Struct, frozen=True):
    """One sales type over the whole period."""

    sales_type: str
    totals: Any


def by_type(rows: list[Any], names: tuple[str, ...]) -> list[TypeLine]:
    """Return the sums of each sales type that has rows, in the order of the names."""
    plain = [msgspec.structs.asdict(row) for row in rows]
    of = {name: [row for row in plain if row["sales_type"] == name] for name in names}
    return [TypeLine(name, questions.totals(found)) for name, found in of.items() if found]
