"""How the API describes itself: ``/schema/openapi.json``, and a page made from it that needs no script.

The parameters in the description are the records that check them, so the two can't differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.enums import MediaType
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Operation, Parameter, Reference, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from serve.pages import render
from serve.params import Param
from serve.schemas import Problem

KINDS = {"string": OpenAPIType.STRING, "integer": OpenAPIType.INTEGER, "array": OpenAPIType.ARRAY}
REFUSED = ResponseSpec(
    Problem, description="The question can't be taken as it is; `detail` says what is allowed."
)
NOT_THERE = ResponseSpec(Problem, description="No such release or table.")
NOT_READY = ResponseSpec(Problem, description="Nothing is published yet, or the query took too long.")
UNCHANGED = ResponseSpec(None, description="The client's `If-None-Match` still holds.")
ANSWERS = {304: UNCHANGED, 400: REFUSED, 404: NOT_THERE, 503: NOT_READY}
COLUMNS = Parameter(
    name="columns",
    param_in="query",
    description="Any column of the table as a parameter of its own, `sales_type=retail`: only rows of "
    "that value. Given several times: rows of any of them.",
    schema=Schema(
        type=OpenAPIType.OBJECT, additional_properties=Schema(type=OpenAPIType.STRING, max_length=200)
    ),
    style="form",
    explode=True,
)


def documented(params: Sequence[Param], *, more: Sequence[Parameter] = ()) -> type[Operation]:
    """Return the Operation class that lists these parameters after those of the path."""

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            path: list[Parameter | Reference] = list(self.parameters or [])
            self.parameters = [*path, *map(parameter, params), *more]

    return Documented


def parameter(param: Param) -> Parameter:
    """Return a Param in OpenAPI's words."""
    return Parameter(
        name=param.name,
        param_in="query",
        description=param.about,
        required=False,
        schema=schema(param.schema),
        style="form" if param.many else None,
        explode=True if param.many else None,
    )


def schema(words: Any) -> Schema:
    """Return the few words of JSON Schema that a Param uses as Litestar's record."""
    return Schema(
        type=KINDS[words["type"]],
        format=OpenAPIFormat.DATE if words.get("format") == "date" else None,
        enum=words.get("enum"),
        minimum=words.get("minimum"),
        maximum=words.get("maximum"),
        max_length=words.get("maxLength"),
        default=words.get("default"),
        items=schema(words["items"]) if "items" in words else None,
    )


class Page(OpenAPIRenderPlugin):
    """The description as one plain page."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        return render("schema.html", description=openapi_schema).encode()


def describe() -> OpenAPIConfig:
    """Return the configuration of the description."""
    return OpenAPIConfig(
        title="keylake",
        version="1",
        description="The shop's numbers. Every answer names the release it was made from; `release=N` reads an "
        "older one. Money is in hryvnias, exact to the kopeck; dates are the shop's days in Kyiv, instants UTC.",
        path="/schema",
        render_plugins=[
            Page(path="/", media_type=MediaType.HTML),
            JsonRenderPlugin(path="/openapi.json", media_type="application/json"),  # type: ignore[arg-type]
        ],
        use_handler_docstrings=True,
    )
