"""OpenAPI: the description at ``/schema/openapi.json``, and a page rendered from it without a script.

The description and the validation use the same Param records, so they can't differ.
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

# JSON Schema's types that a Param uses.
KINDS = {"string": OpenAPIType.STRING, "integer": OpenAPIType.INTEGER, "array": OpenAPIType.ARRAY}
INVALID = ResponseSpec(Problem, description="A parameter is not valid; `detail` has the accepted form.")
NOT_THERE = ResponseSpec(Problem, description="The release or table does not exist.")
NOT_READY = ResponseSpec(Problem, description="No release is published yet, or the query took too long.")
UNCHANGED = ResponseSpec(None, description="The response with the ETag in `If-None-Match` is still current.")
ANSWERS = {304: UNCHANGED, 400: INVALID, 404: NOT_THERE, 503: NOT_READY}
COLUMNS = Parameter(
    name="columns",
    param_in="query",
    description="Each column of the table is a parameter: `sales_type=retail` selects the rows with that "
    "value. If it is repeated, rows with any of the values are selected.",
    schema=Schema(
        type=OpenAPIType.OBJECT, additional_properties=Schema(type=OpenAPIType.STRING, max_length=200)
    ),
    style="form",
    explode=True,
)


def operation_class_of(params: Sequence[Param], *, more: Sequence[Parameter] = ()) -> type[Operation]:
    """Return an Operation class that lists these parameters after those of the path."""

    @dataclass
    class OperationWithParams(Operation):
        def __post_init__(self) -> None:
            path: list[Parameter | Reference] = list(self.parameters or [])
            self.parameters = [*path, *map(parameter, params), *more]

    return OperationWithParams


def parameter(param: Param) -> Parameter:
    """Return a Param as OpenAPI's Parameter."""
    return Parameter(
        name=param.name,
        param_in="query",
        description=param.about,
        required=False,
        schema=schema(param.schema),
        style="form" if param.many else None,
        explode=True if param.many else None,
    )


def schema(source: Any) -> Schema:
    """Return a Param's JSON Schema as Litestar's record, limited to the keywords that Params use."""
    return Schema(
        type=KINDS[source["type"]],
        format=OpenAPIFormat.DATE if source.get("format") == "date" else None,
        enum=source.get("enum"),
        minimum=source.get("minimum"),
        maximum=source.get("maximum"),
        max_length=source.get("maxLength"),
        default=source.get("default"),
        items=schema(source["items"]) if "items" in source else None,
    )


class ExactNumbers(OpenAPISchemaPlugin):
    """Describes a Decimal as a number, as it is in the responses."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """True if the field is a Decimal."""
        return field_definition.annotation is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:
        """Return the schema of a number."""
        return Schema(type=OpenAPIType.NUMBER)


class Page(OpenAPIRenderPlugin):
    """The description as one HTML page, in the dashboard's style."""

    def __init__(self, urls: dict[str, str]) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._urls = urls

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page as UTF-8 HTML."""
        return render("schema.html", description=openapi_schema, urls=self._urls).encode()


def describe(urls: dict[str, str]) -> OpenAPIConfig:
    """Return the configuration of the description; ``urls`` maps an asset to its URL."""
    return OpenAPIConfig(
        title="keylake",
        version="1",
        description="The shop's numbers. Each response names its release. `release=N` reads an older "
        "release, and `as_of` the release that served at a given time. Money is in the shop's "
        "currency, exact to the kopeck; dates are shop days in Kyiv, instants are UTC.",
        path="/schema",
        render_plugins=[
            Page(urls),
            JsonRenderPlugin(path="/openapi.json", media_type=MediaType.JSON),
        ],
        use_handler_docstrings=True,
    )
