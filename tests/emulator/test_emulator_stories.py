from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator, ManualClock, RunFault
from airflow_provider_xpander.emulator.stories import STORIES


def ask(api: Api, agent_id: str = "echo", **fields: Any) -> dict[str, Any]:
    body = {"input": {"text": '{"a": 1}'}, **fields}
    answer = api("POST", f"/v1/agents/{agent_id}/invoke/async", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_slow(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.story("slow", seconds=100)
    task_id = ask(api)["id"]
    clock.advance(99)
    assert api.get(task_id)["status"] == "executing"
    clock.advance(1)
    assert api.get(task_id)["status"] == "completed"


def test_flaky(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.story("flaky", agent="ec*", times=2)
    tasks = [ask(api, agent_id) for agent_id in ("echo", "classifier", "echo", "echo")]
    clock.advance(1)
    statuses = [api.get(task["id"])["status"] for task in tasks]
    assert statuses == ["failed", "completed", "failed", "completed"]


@pytest.mark.parametrize(
    ("name", "field"), [("paused", "hitl_request"), ("login_needed", "pending_eca_request")]
)
def test_a_run_that_pauses_goes_on(
    api: Api, emulator: Emulator, clock: ManualClock, name: str, field: str
) -> None:
    emulator.story(name, resume_after=60)
    first, second = ask(api), ask(api)
    clock.advance(59)
    assert api.get(first["id"])["status"] == "paused"
    assert api.get(first["id"])[field]
    assert api.get(second["id"])["status"] == "completed"
    clock.advance(2)
    assert api.get(first["id"])["status"] == "completed"


def test_wrong_json_once(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.story("wrong_json_once")
    text = ask(api)["id"]
    task_id = ask(api, output_format="json")["id"]
    clock.advance(1)
    assert api.get(text)["result"] == '{"a": 1}'
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(api.get(task_id)["result"])
    ask(api, output_format="json", id=task_id)
    clock.advance(1)
    assert json.loads(api.get(task_id)["result"]) == {"a": 1}


def test_lost_submit(api: Api, emulator: Emulator) -> None:
    emulator.story("lost_submit", agent="e?ho")
    post = {"json": {"input": {"text": "hello"}}}
    assert api("POST", "/v1/agents/slow/invoke/async", **post).status_code == 200
    assert api("POST", "/v1/agents/echo/invoke/async", **post).status_code == 504
    assert len(emulator.runs("echo")) == 1
    assert api("POST", "/v1/agents/echo/invoke/async", **post).status_code == 200


@pytest.mark.parametrize(
    ("name", "status", "times"), [("outage", 503, 5), ("throttled", 429, 1), ("out_of_credit", 429, None)]
)
def test_requests_are_refused(
    api: Api, emulator: Emulator, name: str, status: int, times: int | None
) -> None:
    emulator.story(name)
    statuses = [
        api("POST", "/v1/agents/echo/invoke/async", json={"input": {"text": ""}}).status_code
        for _ in range(10)
    ]
    assert statuses == [status] * (times or 10) + [200] * (10 - (times or 10))
    assert len(emulator.runs()) == 10 - (times or 10)


def test_slow_list(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.settings.run_seconds = 1
    emulator.story("slow_list", seconds=30)
    task_id = ask(api)["id"]
    clock.advance(29)
    assert api("GET", "/v1/tasks").json()["items"] == []
    clock.advance(1.5)
    [item] = api("GET", "/v1/tasks").json()["items"]
    assert (item["id"], item["status"], api.get(task_id)["status"]) == (task_id, "executing", "completed")


def test_missing_rows(emulator: Emulator) -> None:
    emulator.story("missing_rows", rows=2)
    assert emulator.settings.pack_rows_missing == 2


def test_a_story_is_told_from_outside(api: Api, emulator: Emulator) -> None:
    assert api("POST", "/_emulator/stories/flaky", json={"times": 3}).status_code == 204
    assert api("POST", "/_emulator/stories/outage").status_code == 204
    assert [fault.times for fault in (*emulator.run_faults, *emulator.faults)] == [3, 5]
    assert api("DELETE", "/_emulator/faults").status_code == 204
    assert emulator.run_faults == emulator.faults == []


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("rain", {}, ", ".join(STORIES)),
        ("slow", {"minutes": 1}, "minutes"),
        ("slow", {"seconds": "long"}, "seconds"),
    ],
)
def test_a_story_that_there_is_not(api: Api, name: str, options: dict[str, Any], says: str) -> None:
    answer = api("POST", f"/_emulator/stories/{name}", json=options)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_fault_of_runs_from_outside(api: Api, emulator: Emulator) -> None:
    fault = {"agent": "echo", "status": "error", "result": "out of memory", "after": 1}
    assert api("POST", "/_emulator/run-faults", json=fault).json()["times"] == 1
    assert emulator.run_faults == [RunFault(**fault)]
    answers = [api("POST", "/v1/agents/echo/invoke", json={"input": {"text": "x"}}).json() for _ in range(3)]
    assert [answer["result"] for answer in answers] == ["x", "out of memory", "x"]


@pytest.mark.parametrize("how", ["prose", "truncated", "values"])
def test_an_answer_is_wrong_in_a_way(api: Api, emulator: Emulator, how: str) -> None:
    emulator.settings.run_seconds = 0
    emulator.story("wrong_json_once", how=how)
    result = api.get(ask(api, output_format="json")["id"])["result"]
    if how == "values":
        assert json.loads(result) == {"a": {"value": 1}}
    else:
        with pytest.raises(ValueError, match="(Expecting|Unterminated)"):
            json.loads(result)


def test_each_story_is_in_the_table_with_its_options() -> None:
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
    table = page.partition("## Stories by name")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|(.*)\|$", table, re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", options)) for name, options in rows}
    options = {
        name: set(inspect.signature(story).parameters) - {"emulator"} for name, story in STORIES.items()
    }
    assert documented == options
