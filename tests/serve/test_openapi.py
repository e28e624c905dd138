"""The API's description of itself holds: schemathesis asks by it and checks the answers against it."""

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
    """Valid and invalid questions by the dozen: no failure of ours, every answer of the shape promised."""
    schema: Any = schemathesis.openapi.from_url(f"{served.base}/schema/openapi.json")
    asked = [ask_about(result.ok()) for result in schema.get_all_operations()]
    assert len(asked) == 10
    assert min(asked) >= 1


def ask_about(operation: Any) -> int:
    """Ask about one operation, by valid and by invalid examples; return how many were asked."""
    asked = 0

    @given(data=st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask_by(data: Any) -> None:
        nonlocal asked
        mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        case.call_and_validate(checks=CHECKS)
        asked += 1

    ask_by()
    return asked


def test_description_is_complete(served: Served) -> None:
    """Every endpoint is in it, with its reasons to refuse; money is a number."""
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
    """Neither the description nor its page names any address but this server's own."""
    page = ask(served.base, "/schema").body.decode()
    assert "/api/tables/{table}" in page
    assert "http://" not in page.replace(served.base, "")
    assert "https://" not in page
    assert "<script" not in page
    assert "http" not in json.dumps(ask(served.base, "/schema/openapi.json").json["servers"])
