"""The emulator against the OpenAPI document of the service, as far as xpander.ai has published it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from emulator_api import LIMIT_SECONDS, Api
from hypothesis import HealthCheck, Phase, settings
from pydantic import BaseModel
from schemathesis.specs.openapi import checks

from airflow_provider_xpander.api.request import InvokeInput, User
from airflow_provider_xpander.emulator import Emulator, EmulatorServer, ManualClock, Settings
from airflow_provider_xpander.emulator.request_model import AgentExecutionRequest

PATH = Path(__file__).parent / "data" / "openapi.json"
DOCUMENT = json.loads(PATH.read_text())
# The first three send further requests of their own. The last one asks what the framework says to OPTIONS.
EXCLUDED = [
    checks.unsupported_method,
    checks.use_after_free,
    checks.ensure_resource_availability,
    checks.allow_header_conformance,
]


def validate(name: str, body: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.validate(body, schema, format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize("kind", ["agents", "workflows"])
@pytest.mark.parametrize(
    ("agent_id", "text", "status"),
    [
        ("echo", "hello", "completed"),
        ("classifier", "I was charged twice", "completed"),
        ("failing", "", "failed"),
        ("failing", "error", "error"),
        ("failing", "stopped", "stopped"),
        ("paused", "", "paused"),
        ("paused", "login", "paused"),
        ("paused", "schedule 60", "paused"),
    ],
)
def test_a_task_has_the_fields_of_the_document_from_submit_to_end(
    api: Api, emulator: Emulator, clock: ManualClock, kind: str, agent_id: str, text: str, status: str
) -> None:
    emulator.configure({"run_seconds": 10, "pending_share": 0.5})
    user = {"email": "ann@example.com", "additional_attributes": {"team": "data"}}
    body = {
        "input": {"text": text, "files": ["https://example.com/a.pdf"], "user": user},
        "mcp_servers": [{"name": "x"}],
        "user_tokens": {"a": "b"},
        "payload_extension": {},
    }
    task = api("POST", f"/v1/{kind}/{agent_id}/invoke/async", json=body).json()
    validate("CreatedTask", task)
    seen = [task["status"]]
    for _ in range(2):
        clock.advance(6)
        task = api.get(task["id"])
        validate("CreatedTask", task)
        seen.append(task["status"])
        validate("TaskPage", api("GET", "/v1/tasks").json())
    assert seen == ["pending", "executing", status]
    assert task.keys() >= DOCUMENT["components"]["schemas"]["CreatedTask"]["properties"].keys()


@pytest.mark.parametrize("switch", ["null_fields", "null_started_at"])
def test_nulls_are_where_the_document_allows_them(api: Api, emulator: Emulator, switch: str) -> None:
    emulator.configure({switch: True, "run_seconds": 0})
    task = api.get(api.start("classifier", "hello")["id"])
    validate("CreatedTask", task)
    assert task["started_at"] is None
    assert (task["tokens"] is None) is (switch == "null_fields")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        '{"input": NaN}',
        '{"input": {"text": "\\ud800"}}',
        "[]",
        "null",
        "{}",
        '{"input": "text"}',
        '{"input": {"text": 1}}',
        '{"input": {}, "title": 1}',
        '{"input": {}, "run_locally": "true"}',
        '{"input": {}, "return_metrics": 1}',
        '{"input": {}, "output_format": "html"}',
        '{"input": {}, "think_mode": "hardest"}',
        '{"input": {}, "mcp_servers": {}}',
        '{"input": {"user": {}}}',
        '{"input": {"files": "a"}}',
        '{"input": {}, "titel": "x"}',
        '{"input": {"txt": "x"}}',
        '{"input": {"user": {"email": "a@b.c", "mail": "x"}}}',
    ],
)
@pytest.mark.parametrize("route", ["invoke", "invoke/async", "invoke/stream"])
def test_a_wrong_body_is_refused_as_the_service_does(
    api: Api, emulator: Emulator, body: str, route: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = api("POST", f"/v1/workflows/echo-flow/{route}", data=body, headers=headers)
    assert answer.status_code == 422
    validate("HTTPValidationError", answer.json())
    assert all(error["loc"][0] == "body" for error in answer.json()["detail"])
    assert emulator.runs() == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/tasks?stauts=completed", "stauts"),
        ("/v1/tasks?status=running", "status"),
        ("/v1/agents/echo/tasks?from_date=2026-01-01T00:00:00Z", "from_date"),
        ("/v1/tasks?per_page=51", "per_page"),
        ("/v1/agents?name=echo", "name"),
        ("/v1/agents?page=1&page=2", "page"),
        ("/v1/tasks?from_date=5", "from_date"),
    ],
)
def test_a_wrong_query_is_refused(api: Api, path: str, name: str) -> None:
    answer = api("GET", path)
    assert answer.status_code == 422
    validate("HTTPValidationError", answer.json())
    assert answer.json()["detail"][0]["loc"] == ["query", name]


def test_the_route_with_a_switch_of_an_old_page_is_refused(api: Api) -> None:
    answer = api("POST", "/v1/agents/echo/invoke?asynchronous=true", json={"input": {"text": "x"}})
    assert answer.json()["detail"][0]["loc"] == ["query", "asynchronous"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/tasks/invoke", 405),
        ("POST", "/v1/agents/echo/invoke-async", 404),
        ("GET", "/v2/tasks", 404),
        ("PUT", "/v1/tasks", 405),
    ],
)
def test_an_unknown_path_is_refused(api: Api, method: str, path: str, status: int) -> None:
    assert api(method, path).status_code == status


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("AgentExecutionRequest", AgentExecutionRequest),
        ("AgentExecutionInput-Input", InvokeInput),
        ("User-Input", User),
    ],
)
def test_the_provider_sends_the_fields_of_the_document(name: str, model: type[BaseModel]) -> None:
    assert model.model_fields.keys() == DOCUMENT["components"]["schemas"][name]["properties"].keys()


def test_a_lenient_emulator_takes_what_it_does_not_know(api: Api, emulator: Emulator) -> None:
    emulator.configure({"strict": False})
    body = {"input": {"text": "x", "younger": 1}, "younger": 1, "return_metrics": "true"}
    answer = api("POST", "/v1/agents/echo/invoke/async?younger=1", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["return_metrics"] is True
    assert "younger" not in answer.json()


def _closed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without fields that it does not name: a strict emulator refuses those."""
    closed = json.loads(json.dumps(document))
    for name in ("AgentExecutionRequest", "AgentExecutionInput-Input", "User-Input"):
        closed["components"]["schemas"][name]["additionalProperties"] = False
    return closed


contract = schemathesis.openapi.from_dict(_closed(DOCUMENT))
# Its systematic cases are two thousand requests; those of wrong bodies and queries are in the tables above.
contract.config.phases.coverage.enabled = False


@contract.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_schemathesis_finds_nothing(
    case: schemathesis.Case, server: EmulatorServer, emulator: Emulator
) -> None:
    emulator.configure({"run_seconds": 0})
    # Every id is that of an agent: what is generated is found.
    emulator.agent("*").answers("answer")
    case.call_and_validate(
        server.url, headers={"x-api-key": server.api_key}, excluded_checks=EXCLUDED, timeout=LIMIT_SECONDS
    )


def test_each_setting_is_documented() -> None:
    document = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
    table = document[document.index("### Settings") :]
    assert [name for name in Settings.model_fields if f"`{name}`" not in table] == []


def test_each_contradiction_of_the_contract_is_spoken_of() -> None:
    document = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
    named = {int(number) for number in re.findall(r"\bC(\d+)\b", document)} | set(range(9, 14))
    assert named == set(range(1, 22))
