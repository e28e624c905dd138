"""How the API describes itself: ``/schema/openapi.json``, and a page made from it that needs no script.

The parameters in the description are the records that check them, so the two can't differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from litestar import Request
from litestar.enums import MediaType
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Operation, Parameter, Reference, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from serve.pages import render
from serve.params import Param
from serve.schemas import Problem

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

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


class ExactNumbers(OpenAPISchemaPlugin):
    """Says that a Decimal is a number, as it is in our JSON."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """True for Decimal."""
        return field_definition.annotation is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:
        """Return a number."""
        return Schema(type=OpenAPIType.NUMBER)


class Page(OpenAPIRenderPlugin):
    """The description as one plain page, in the dashboard's style."""

    def __init__(self, urls: dict[str, str]) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._urls = urls

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        return render("schema.html", description=openapi_schema, urls=self._urls).encode()


def describe(urls: dict[str, str]) -> OpenAPIConfig:
    """Return the configuration of the description; ``urls`` are those of the assets."""
    return OpenAPIConfig(
        title="keylake",
        version="1",
        description="The shop's numbers. Every answer names the release it was made from; `release=N` reads "
        "an older one, and `as_of` what was said then. Money is in hryvnias, exact to the kopeck; dates are "
        "the shop's days in Kyiv, instants are UTC.",
        path="/schema",
        render_plugins=[
            Page(urls),
            JsonRenderPlugin(path="/openapi.json", media_type=MediaType.JSON),
        ],
        use_handler_docstrings=True,
    )
