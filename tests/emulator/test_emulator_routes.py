from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from emulator_api import Api

from airflow_provider_xpander.emulator import (
    BEARER_TOKEN,
    RESTRICTED_API_KEY,
    Emulator,
    EmulatorServer,
    ManualClock,
)

ROUTES = [
    ("POST", "/v1/agents/echo/invoke"),
    ("POST", "/v1/agents/echo/invoke/async"),
    ("POST", "/v1/agents/echo/invoke/stream"),
    ("POST", "/v1/workflows/triage/invoke"),
    ("POST", "/v1/workflows/triage/invoke/async"),
    ("POST", "/v1/workflows/triage/invoke/stream"),
    ("GET", "/v1/tasks/x"),
    ("GET", "/v1/tasks"),
    ("GET", "/v1/agents/echo/tasks"),
    ("POST", "/v1/tasks/x/stop"),
    ("DELETE", "/v1/tasks/x"),
    ("GET", "/v1/tasks/x/thread"),
    ("GET", "/v1/tasks/x/thread/full"),
    ("GET", "/v1/agents"),
    ("GET", "/v1/agents/full"),
    ("GET", "/v1/agents/echo"),
    ("GET", "/v1/workflows"),
    ("GET", "/v1/workflows/triage"),
    ("GET", "/v1/workflows/triage/nodes"),
]
BODY = {"input": {"text": "hello"}}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_needs_a_key(api: Api, method: str, path: str) -> None:
    wrong = api(method, path, key="wrong", json=BODY)
    assert (wrong.status_code, wrong.json()) == (401, {"detail": "Invalid or missing API key"})
    restricted = api(method, path, key=RESTRICTED_API_KEY, json=BODY)
    assert restricted.status_code == 403
    assert isinstance(restricted.json()["detail"], str)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {BEARER_TOKEN}", "x-api-key": None}, 200),
        ({"authorization": "Bearer xpander-emulator-key-0000", "x-api-key": None}, 401),
        ({"authorization": f"Bearer {BEARER_TOKEN}", "x-api-key": "wrong"}, 401),
        ({"x-api-key": None}, 401),
    ],
)
def test_bearer_tokens(api: Api, headers: dict[str, Any], status: int) -> None:
    assert api("GET", "/v1/agents", headers=headers).status_code == status


def test_keys_can_change(api: Api, emulator: Emulator) -> None:
    emulator.configure({"api_keys": ["another-key"]})
    assert api("GET", "/v1/agents", key="xpander-emulator-key-0000").status_code == 401
    assert api("GET", "/v1/agents", key="another-key").status_code == 200


def test_health_needs_no_key(api: Api) -> None:
    answer = api("GET", "/health", headers={"x-api-key": None})
    assert (answer.status_code, answer.json()) == (200, "ok")


@pytest.mark.parametrize("target", ["agents/echo", "workflows/echo-flow", "workflows/echo"])
def test_sync_invoke_answers_the_finished_task(api: Api, target: str) -> None:
    answer = api("POST", f"/v1/{target}/invoke", json=BODY)
    task = answer.json()
    assert (answer.status_code, task["status"], task["result"]) == (200, "completed", "hello")
    assert task["is_orchestration"] is target.startswith("workflows")
    assert task["agent_id"] == target.split("/")[1]
    assert task["tokens"]["total_tokens"] > 0
    for name in ("created_at", "started_at", "finished_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", task[name])


def test_sync_invoke_answers_a_paused_task(api: Api) -> None:
    task = api("POST", "/v1/agents/paused/invoke", json=BODY).json()
    assert (task["status"], task["hitl_request"]) == ("paused", {"wait_node_id": "wait-1"})


def test_async_invoke_answers_at_once_and_the_run_goes_through_its_statuses(
    api: Api, emulator: Emulator, clock: ManualClock
) -> None:
    emulator.configure({"run_seconds": 10, "pending_share": 0.5})
    task = api.start(text="hello")
    assert (task["status"], task["result"], task["started_at"]) == ("pending", None, None)
    clock.advance(5)
    seen = api.get(task["id"])
    assert (seen["status"], seen["finished_at"], seen["started_at"] is None) == ("executing", None, False)
    clock.advance(5)
    assert api.get(task["id"])["result"] == "hello"


def test_a_run_of_no_length_is_over_at_once(api: Api, emulator: Emulator) -> None:
    emulator.configure({"run_seconds": 0})
    assert api.start()["status"] == "completed"


def test_speed_divides_the_time_that_the_text_asks_for(api: Api, emulator: Emulator) -> None:
    emulator.configure({"speed": 1000})
    assert (
        api.until_status(api.start("slow", "take 20")["id"], "completed")["result"]
        == "Done after 20 seconds."
    )


def test_version_and_overrides_show_in_the_task(api: Api) -> None:
    task = api(
        "POST",
        "/v1/agents/echo/invoke/async?version=draft",
        json={**BODY, "llm_model_name": "gpt-5", "title": "t", "think_mode": "harder"},
    ).json()
    assert (task["agent_version"], task["llm_model_name"]) == ("draft", "gpt-5")
    assert (task["title"], task["think_mode"]) == ("t", "harder")


def test_secrets_are_echoed(api: Api) -> None:
    secrets = {"user_tokens": {"n": "tok"}, "user_oidc_token": "oidc", "mcp_servers": [{"api_key": "k"}]}
    task = api.get(api.start(**secrets)["id"])
    assert {name: task[name] for name in secrets} == secrets


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, ["body", "input"]),
        ({"input": "text"}, ["body", "input"]),
        ({"input": {"text": "x", "user": {}}}, ["body", "input", "user", "email"]),
        ({**BODY, "output_format": "html"}, ["body", "output_format"]),
        ({**BODY, "think_mode": "hardest"}, ["body", "think_mode"]),
    ],
)
def test_wrong_bodies_answer_422(api: Api, emulator: Emulator, body: Any, place: list[str]) -> None:
    answer = api("POST", "/v1/agents/echo/invoke/async", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == place
    assert {"msg", "type"} <= set(answer.json()["detail"][0])
    assert emulator.runs() == []
    assert emulator.calls[-1].body == body


def test_a_body_that_is_not_json_answers_422(api: Api) -> None:
    answer = api("POST", "/v1/agents/echo/invoke", data="{", headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_user_can_be_mandatory(api: Api, emulator: Emulator) -> None:
    emulator.configure({"require_user": True})
    answer = api("POST", "/v1/agents/echo/invoke/async", json=BODY)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "input", "user"])
    user = {"id": "u1", "email": "a@example.com"}
    assert api.start(input={"text": "x", "user": user})["user_id"] == "u1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/agents/nobody/invoke/async"),
        ("POST", "/v1/agents/triage/invoke/async"),
        ("POST", "/v1/workflows/nothing/invoke"),
        ("GET", "/v1/tasks/x"),
        ("POST", "/v1/tasks/x/stop"),
        ("DELETE", "/v1/tasks/x"),
        ("GET", "/v1/tasks/x/thread"),
        ("GET", "/v1/agents/nobody"),
        ("GET", "/v1/agents/nobody/tasks"),
        ("GET", "/v1/workflows/nothing"),
        ("GET", "/v1/workflows/nothing/nodes"),
    ],
)
def test_unknown_things_answer_404(api: Api, method: str, path: str) -> None:
    answer = api(method, path, json=BODY)
    assert answer.status_code == 404
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("agent_id", "text", "status", "result"),
    [
        ("failing", "please", "failed", "could not complete"),
        ("failing", "error", "error", "ToolCallError"),
        ("not-json", "x", "completed", "Sure!"),
    ],
)
def test_runs_end_as_their_agent_says(api: Api, agent_id: str, text: str, status: str, result: str) -> None:
    task = api("POST", f"/v1/agents/{agent_id}/invoke", json={"input": {"text": text}}).json()
    assert task["status"] == status
    assert result in task["result"]


def test_broken_fails_at_its_second_node(api: Api) -> None:
    task = api("POST", "/v1/workflows/broken/invoke", json=BODY).json()
    nodes = [node["id"] for node in api("GET", "/v1/workflows/broken/nodes").json()]
    assert task["status"] == "failed"
    assert nodes.index(task["last_executed_node_id"]) == 1


@pytest.mark.parametrize(
    ("how", "wrapped"), [("string", '{"a": 1}'), ("fenced", '```json\n{"a": 1}\n```'), ("object", {"a": 1})]
)
def test_json_results(api: Api, emulator: Emulator, how: str, wrapped: Any) -> None:
    emulator.configure({"json_results": how})
    body = {"input": {"text": '{"a": 1}'}, "output_format": "json"}
    assert api("POST", "/v1/agents/echo/invoke", json=body).json()["result"] == wrapped


def test_classifier_answers_by_the_schema(api: Api) -> None:
    schema = {"type": "object", "properties": {"category": {"enum": ["billing", "bug"]}}}
    body = {"input": {"text": "refund my invoice"}, "output_schema": schema}
    task = api("POST", "/v1/agents/classifier/invoke", json=body).json()
    assert (json.loads(task["result"]), task["output_format"]) == ({"category": "billing"}, "json")


def test_slim_bodies(api: Api, emulator: Emulator) -> None:
    emulator.configure({"slim_bodies": True, "null_started_at": True})
    assert set(api.start()) == {
        "id", "agent_id", "organization_id", "status", "result", "created_at", "finished_at", "source",
    }  # fmt: skip
    emulator.configure({"slim_bodies": False})
    assert api("POST", "/v1/agents/echo/invoke", json=BODY).json()["started_at"] is None


def test_the_gateway_gives_up_but_the_run_goes_on(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.configure({"gateway_timeout_seconds": 0.05})
    answer = api("POST", "/v1/agents/slow/invoke", json={"input": {"text": "take 60"}})
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "text/html"
    (run,) = emulator.runs()
    clock.advance(60)
    assert api.get(run.task_id)["result"] == "Done after 60 seconds."


def test_a_self_scheduled_task_resumes_by_itself(api: Api, clock: ManualClock) -> None:
    task_id = api.start("paused", "schedule 10")["id"]
    clock.advance(5)
    seen = api.get(task_id)
    assert (seen["status"], seen["hitl_request"], seen["pending_eca_request"]) == ("paused", None, None)
    assert seen["paused_at"]
    clock.advance(10)
    assert api.get(task_id)["result"].startswith("Resumed")


def test_agents_and_workflows_can_be_browsed(api: Api) -> None:
    page = api("GET", "/v1/agents?page=1&per_page=1").json()
    assert page["total"] > 1
    assert len(page["items"]) == 1
    assert page["items"][0]["organization_id"]
    ids = {agent["id"] for agent in api("GET", "/v1/agents").json()["items"]}
    assert ids == {"echo", "classifier", "slow", "failing", "paused", "not-json", "storyteller", "sloppy"}
    assert "version" in api("GET", "/v1/agents/full").json()["items"][0]
    assert api("GET", "/v1/agents/echo").json()["name"] == "Echo"
    workflows = api("GET", "/v1/workflows").json()["items"]
    assert {(one["id"], one["type"]) for one in workflows} == {
        ("triage", "orchestration"), ("broken", "orchestration"), ("echo-flow", "orchestration"),
    }  # fmt: skip
    assert api("GET", "/v1/workflows/triage").json()["id"] == "triage"


def test_calls_are_recorded(api: Api, emulator: Emulator, server: EmulatorServer) -> None:
    before = time.time()
    task = api("POST", "/v1/agents/echo/invoke/async?version=2", json={**BODY, "title": "T"},
               headers={"User-Agent": "me/1"}).json()  # fmt: skip
    (call,) = emulator.calls
    assert (call.method, call.path, call.status) == ("POST", "/v1/agents/echo/invoke/async", 200)
    assert (call.query, call.task_id, call.body) == ({"version": "2"}, task["id"], {**BODY, "title": "T"})
    assert (call.headers["x-api-key"], call.headers["user-agent"]) == (server.api_key, "me/1")
    assert before <= call.at <= time.time()
