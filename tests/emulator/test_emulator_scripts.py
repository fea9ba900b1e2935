from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from emulator_api import LIMIT_SECONDS, Api

from airflow_provider_xpander.emulator import Emulator, EmulatorServer, ManualClock, Prompt
from airflow_provider_xpander.emulator.schedule import Behaviour
from airflow_provider_xpander.emulator.scripts import run
from airflow_provider_xpander.emulator.steps import (
    AgentStep,
    behaviour_of,
    chunk,
    event,
    fail,
    login,
    pause,
    sleep_until_scheduled,
    think,
    tool,
    wait,
)


def shout(prompt: Prompt) -> str:
    return prompt.text.upper()


async def shout_async(prompt: Prompt) -> str:
    return prompt.text.upper()


def shout_stepwise(prompt: Prompt) -> Iterator[AgentStep]:
    yield think("Loud?")
    return (yield from _loud(prompt))


def _loud(prompt: Prompt) -> Iterator[AgentStep]:
    yield tool("speaker", {"volume": 11}, "on")
    return prompt.text.upper()  # type: ignore[return-value]


async def shout_stepwise_async(prompt: Prompt) -> AsyncIterator[AgentStep]:
    yield think("Loud?")
    yield prompt.text.upper()


FUNCTIONS = [shout, shout_async, shout_stepwise, shout_stepwise_async]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_function_answers(api: Api, emulator: Emulator, function: Any) -> None:
    emulator.agent("mine").answers(function)
    task = api("POST", "/v1/agents/mine/invoke", json={"input": {"text": "hello"}}).json()
    assert (task["status"], task["result"]) == ("completed", "HELLO")


def test_a_function_that_blocks_holds_nobody_else(api: Api, emulator: Emulator) -> None:
    go_on = threading.Event()
    emulator.agent("mine").answers(lambda prompt: go_on.wait(LIMIT_SECONDS))
    asking = threading.Thread(target=api.start, args=("mine",))
    asking.start()
    assert api.start("echo")["status"] == "pending"
    go_on.set()
    asking.join(LIMIT_SECONDS)
    assert not asking.is_alive()


def test_two_messages_at_a_time_get_each_their_own_answer(api: Api, emulator: Emulator) -> None:
    both = threading.Barrier(2)

    def answer(prompt: Prompt) -> str:
        both.wait(LIMIT_SECONDS)
        return prompt.text.upper()

    emulator.agent("mine").answers(answer)
    emulator.configure({"run_seconds": 0})
    with ThreadPoolExecutor(2) as pool:
        bodies = [{"input": {"text": text}, "id": "shared"} for text in ("one", "two")]
        asked = [pool.submit(api, "POST", "/v1/agents/mine/invoke", json=body) for body in bodies]
        assert [future.result().json()["result"] for future in asked] == ["ONE", "TWO"]


def test_a_server_stops_although_a_function_does_not_return() -> None:
    entered, never = threading.Event(), threading.Event()

    def stuck(prompt: Prompt) -> None:
        entered.set()
        never.wait(LIMIT_SECONDS)

    server = EmulatorServer().start()
    server.emulator.agent("mine").answers(stuck)

    def ask() -> None:
        answer = Api(server)("POST", "/v1/agents/mine/invoke/async", json={"input": {"text": ""}})
        assert answer.status_code == 503

    asking = threading.Thread(target=ask)
    asking.start()
    assert entered.wait(LIMIT_SECONDS)
    server.stop()
    asking.join(LIMIT_SECONDS)
    assert not asking.is_alive()
    never.set()


@pytest.mark.parametrize(
    ("answer", "result"),
    [("text", "text"), ({"a": 1}, '{"a": 1}'), ([1], "1"), ([[1]], "[1]"), (True, "true"), (None, None)],
)
def test_an_answer_is_text_or_json(api: Api, emulator: Emulator, answer: Any, result: str | None) -> None:
    emulator.agent("mine").answers(answer)
    assert api("POST", "/v1/workflows/mine/invoke", json={"input": {"text": ""}}).json()["result"] == result


def test_each_turn_of_a_thread_has_its_answer(api: Api, emulator: Emulator) -> None:
    emulator.settings.run_seconds = 0
    emulator.agent("mine").answers(["first", lambda prompt: f"second after {prompt.earlier[0]}", "more"])
    task_id = api.start("mine", "one")["id"]
    answers = [api.get(task_id)["result"]]
    for text in ("two", "three", "four"):
        api.start("mine", text, id=task_id)
        answers.append(api.get(task_id)["result"])
    assert answers == ["first", "second after one", "more", "more"]
    assert api.get(api.start("mine")["id"])["result"] == "first"


def test_an_exception_ends_the_run_with_error(api: Api, emulator: Emulator) -> None:
    @emulator.agent("mine").answers
    def broken(prompt: Prompt) -> str:
        raise ValueError("no such warehouse")

    task = api("POST", "/v1/agents/mine/invoke", json={"input": {"text": ""}}).json()
    assert (task["status"], task["result"]) == ("error", "ValueError: no such warehouse")


def test_what_is_yielded_must_be_a_step(api: Api, emulator: Emulator) -> None:
    emulator.agent("mine").answers(lambda prompt: (number for number in (1, 2)))
    task = api("POST", "/v1/agents/mine/invoke", json={"input": {"text": ""}}).json()
    assert task["status"] == "error"
    assert "An agent yields steps" in task["result"]


def test_an_agent_without_end_is_cut_off(emulator: Emulator) -> None:
    def endless(prompt: Prompt) -> Iterator[AgentStep]:
        while True:
            yield think("Hm.")

    async def endless_async(prompt: Prompt) -> AsyncIterator[AgentStep]:
        while True:
            yield think("Hm.")

    for function in (endless, endless_async):
        with pytest.raises(ValueError, match="more than 10000 steps"):
            run(function, Prompt(""))


def test_the_nearest_pattern_wins(api: Api, emulator: Emulator) -> None:
    emulator.settings.run_seconds = 0
    emulator.agent("*").answers("any")
    emulator.agent("enrich-*").answers("enrich")
    emulator.agent("enrich-1").answers("one")
    answers = [api.get(api.start(one)["id"])["result"] for one in ("enrich-1", "enrich-2", "other", "echo")]
    assert answers == ["one", "enrich", "any", "any"]
    listed = [agent["id"] for agent in api("GET", "/v1/agents").json()["items"]]
    assert "enrich-1" in listed
    assert not any("*" in agent_id for agent_id in listed)
    assert api("GET", "/v1/agents/enrich-9").json()["name"] == "Enrich 9"
    assert api("GET", "/v1/workflows/enrich-9").json()["type"] == "orchestration"
    assert api("GET", "/v1/workflows/enrich-9/nodes").json()[0]["id"] == "start"
    emulator.reset()
    assert api("GET", "/v1/workflows/enrich-9").status_code == 404
    assert api("GET", "/v1/agents/enrich-9").status_code == 404


def test_a_script_adds_to_a_built_in_agent(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.agent("echo").takes(3600)
    task_id = api.start("echo", "hello")["id"]
    clock.advance(3599)
    assert api.get(task_id)["status"] == "executing"
    clock.advance(1)
    assert api.get(task_id)["result"] == "hello"


@pytest.mark.parametrize("status", ["failed", "error", "stopped"])
def test_an_agent_fails(api: Api, emulator: Emulator, status: str) -> None:
    emulator.agent("mine").answers("fine").fails("no credit card", status=status, times=1)
    first, second = (
        api("POST", "/v1/agents/mine/invoke", json={"input": {"text": ""}}).json() for _ in range(2)
    )
    assert (first["status"], first["result"]) == (status, "no credit card")
    assert (second["status"], second["result"]) == ("completed", "fine")


def test_an_agent_pauses_and_is_resumed(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.agent("mine").answers("approved").pauses("approve-1").takes(10)
    task_id = api.start("mine")["id"]
    clock.advance(10)
    assert api.get(task_id)["hitl_request"] == {"wait_node_id": "approve-1"}
    emulator.resume(task_id)
    assert api.get(task_id)["status"] == "executing"
    clock.advance(10)
    assert api.get(task_id)["result"] == "approved"


def test_an_agent_waits_for_a_login_that_comes_by_itself(
    api: Api, emulator: Emulator, clock: ManualClock
) -> None:
    emulator.agent("mine").pauses(login("Jira", "https://jira.example.com"), resume_after=60).takes(10)
    task_id = api.start("mine")["id"]
    clock.advance(69)
    assert api.get(task_id)["pending_eca_request"]["connector_name"] == "Jira"
    clock.advance(12)
    assert api.get(task_id)["status"] == "completed"


def told(api: Api, text: str = "hi") -> list[tuple[str, Any]]:
    answer = api("POST", "/v1/agents/mine/invoke/stream", json={"input": {"text": text}})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    return [
        (one["type"], one["data"]) for one in events if one["type"] not in ("task_created", "task_updated")
    ]


def test_an_agent_streams(api: Api, emulator: Emulator) -> None:
    emulator.agent("mine").streams([think("Hm."), "Hel", chunk("lo"), event("plan_updated", {"tasks": []})])
    *events, (last, task) = told(api)
    assert events == [("think", "Hm."), ("chunk", "Hel"), ("chunk", "lo"), ("plan_updated", {"tasks": []})]
    assert (last, task["result"]) == ("task_finished", "Hello")


def test_the_steps_of_a_function_are_streamed(api: Api, emulator: Emulator) -> None:
    emulator.agent("mine").answers(shout_stepwise)
    events = told(api)
    names = [name for name, _ in events]
    assert names[:3] == ["think", "tool_call_request", "tool_call_result"]
    assert "".join(data for name, data in events if name == "chunk") == "HI"
    assert events[1][1]["payload"] == {"volume": 11}
    assert events[2][1]["result"] == "on"
    assert events[1][1]["tool_call_id"] == events[2][1]["tool_call_id"]


def test_steps_happen_when_the_waits_say(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    def patient(prompt: Prompt) -> Iterator[AgentStep]:
        yield wait(100)
        yield think("Now.")
        yield wait(20)
        yield pause("first")
        yield wait(5)
        yield sleep_until_scheduled(30)
        yield wait(7)
        yield fail("gave up", "stopped")

    emulator.agent("mine").answers(patient)
    task_id = api.start("mine")["id"]
    seen = [api.get(task_id)["status"]]
    for seconds in (119, 1):
        clock.advance(seconds)
        seen.append(api.get(task_id)["status"])
    emulator.resume(task_id)
    for seconds in (4, 1, 29, 1, 6, 1):
        clock.advance(seconds)
        seen.append(api.get(task_id)["status"])
    assert seen == [
        "pending", "executing", "paused", "executing", "paused", "paused", "executing", "executing", "stopped"
    ]  # fmt: skip
    assert api.get(task_id)["result"] == "gave up"


def test_an_hour_runs_in_a_second(api: Api, emulator: Emulator) -> None:
    emulator.settings.speed = 36_000
    emulator.agent("mine").streams([wait(1800), "half ", wait(1800), "whole"])
    task = api("POST", "/v1/agents/mine/invoke", json={"input": {"text": ""}}).json()
    assert (task["status"], task["result"]) == ("completed", "half whole")


@pytest.mark.parametrize(
    ("steps", "behaviour"),
    [
        ([], Behaviour("answer", story=())),
        ([fail("no")], Behaviour("no", "failed")),
        ([wait(1), wait(2)], Behaviour("answer", seconds=3)),
    ],
)
def test_steps_make_a_run(steps: list[AgentStep], behaviour: Behaviour) -> None:
    assert behaviour_of(steps, "answer") == behaviour


def test_the_whole_request_is_told(api: Api, emulator: Emulator) -> None:
    asked: list[Prompt] = []
    emulator.agent("mi*").answers(asked.append)
    api.start("mine", "hello", title="A title", output_schema={"type": "object"})
    [prompt] = asked
    assert (prompt.target_id, prompt.body["title"]) == ("mine", "A title")
    assert (prompt.text, prompt.wants_json, prompt.schema) == ("hello", True, {"type": "object"})
