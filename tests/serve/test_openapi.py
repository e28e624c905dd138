"""The API fits its OpenAPI description: schemathesis generates requests from it and checks the answers."""

import json
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.serve.client import ask
from tests.serve.conftest import Served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
EXAMPLES = 15


def test_every_operation_answers_as_described(served: Served) -> None:
    """Valid and invalid requests never fail in the server, and each answer has the described shape."""
    schema: Any = schemathesis.openapi.from_url(f"{served.base}/schema/openapi.json")
    counts = [send_examples(result.ok()) for result in schema.get_all_operations()]
    assert len(counts) == 10
    assert min(counts) >= 1


def send_examples(operation: Any) -> int:
    """Send valid and invalid examples of one operation; return their number."""
    count = 0

    @given(data=st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send_example(data: Any) -> None:
        nonlocal count
        mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        case.call_and_validate(checks=CHECKS)
        count += 1

    send_example()
    return count


def test_description_is_complete(served: Served) -> None:
    """The description has each endpoint with its error statuses, and money is a number."""
    described = ask(served.base, "/schema/openapi.json").json
    assert set(described["paths"]) == {
        "/api/health",
        "/api/status",
        "/api/releases",
        "/api/tables",
        "/api/dictionary",
        "/api/tables/{table}",
        "/api/summary",
        "/api/revenue/daily",
        "/api/products/top",
        "/api/sources",
    }
    for path, item in described["paths"].items():
        assert {"200", "400", "503"} <= set(item["get"]["responses"]), path
    figure = described["components"]["schemas"]["MoneyFigure"]["properties"]["value"]
    assert {"type": "number"} in figure["oneOf"]


def test_page_needs_no_outside_host(served: Served) -> None:
    """The page and the description contain no URL of another host, and the page no script."""
    page = ask(served.base, "/schema").body.decode()
    assert "/api/tables/{table}" in page
    assert "http://" not in page.replace(served.base, "")
    assert "https://" not in page
    assert "<script" not in page
    assert "http" not in json.dumps(ask(served.base, "/schema/openapi.json").json["servers"])
