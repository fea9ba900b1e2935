from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator

Event = dict[str, Any]


def raw(api: Api, target: str = "agents/echo", text: str = "one two three") -> bytes:
    with api("POST", f"/v1/{target}/invoke/stream", json={"input": {"text": text}}, stream=True) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return answer.content


def data_of(content: bytes) -> list[str]:
    lines = content.decode().splitlines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def events(api: Api, target: str = "agents/echo", text: str = "one two three") -> list[Event]:
    return [json.loads(data) for data in data_of(raw(api, target, text))]


def names(found: list[Event], key: str = "type") -> list[str]:
    return list(dict.fromkeys(event[key] for event in found))


@pytest.mark.parametrize("target", ["agents/echo", "workflows/echo"])
def test_a_stream_from_creation_to_finish(api: Api, emulator: Emulator, target: str) -> None:
    found = events(api, target)
    assert names(found) == [
        "task_created", "task_updated", "think", "tool_call_request", "tool_call_result", "chunk",
        "task_finished",
    ]  # fmt: skip
    (run,) = emulator.runs()
    assert {event["task_id"] for event in found} == {run.task_id}
    assert all({"type", "task_id", "organization_id", "time", "data"} <= set(event) for event in found)
    assert [event["data"]["status"] for event in (found[0], found[1], found[-1])] == [
        "pending", "executing", "completed",
    ]  # fmt: skip
    assert "".join(event["data"] for event in found if event["type"] == "chunk") == "one two three"
    assert found[-1]["data"] == api.get(run.task_id)


def test_an_instant_run_has_all_its_events(api: Api, emulator: Emulator) -> None:
    emulator.configure({"run_seconds": 0})
    found = events(api)
    assert [event["data"]["status"] for event in (found[0], found[1], found[-1])] == [
        "pending", "executing", "completed",
    ]  # fmt: skip


def test_a_failed_run_finishes_without_chunks(api: Api) -> None:
    found = events(api, "agents/failing", "error")
    assert "chunk" not in names(found)
    assert found[-1]["data"]["status"] == "error"


def test_workflow_progress_shows(api: Api) -> None:
    found = events(api, "workflows/triage")
    nodes = [event["data"]["last_executed_node_id"] for event in found if event["type"] == "task_updated"]
    assert nodes == [None, "start", "classify"]


def test_a_stream_shows_that_its_run_was_stopped(api: Api, emulator: Emulator) -> None:
    body = {"input": {"text": "take 60"}}
    with api("POST", "/v1/agents/slow/invoke/stream", json=body, stream=True) as answer:
        lines = answer.iter_lines()
        task_id = json.loads(next(lines).removeprefix(b"data: "))["task_id"]
        emulator.stop(task_id)
        rest = [json.loads(line.removeprefix(b"data: ")) for line in lines if line]
    assert (rest[-1]["type"], rest[-1]["data"]["status"]) == ("task_finished", "stopped")


@pytest.mark.parametrize(
    ("envelope", "key", "expected"),
    [
        ("event", "event", ["task_created", "task_updated", "think", "chunk", "task_finished"]),
        (
            "camel",
            "type",
            ["TaskCreated", "TaskUpdated", "Think", "ToolCallRequest", "Chunk", "TaskFinished"],
        ),
        ("bare", "status", ["pending", "executing", "completed"]),
        ("legacy", "type", ["task_started", "content_chunk", "task_completed"]),
    ],
)
def test_envelopes(api: Api, emulator: Emulator, envelope: str, key: str, expected: list[str]) -> None:
    emulator.configure({"stream_envelope": envelope})
    found = events(api)
    assert [name for name in names(found, key) if name in expected] == expected
    if envelope == "event":
        assert all(set(event) == {"event", "data"} for event in found)
    if envelope in ("bare", "legacy"):
        assert names(found, key) == expected
        assert found[-1]["result"] == "one two three"


def test_legacy_errors(api: Api, emulator: Emulator) -> None:
    emulator.configure({"stream_envelope": "legacy"})
    last = events(api, "agents/failing", "error")[-1]
    assert last["type"] == "error"
    assert "ToolCallError" in last["error"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_connection_breaks_after_some_events(api: Api, emulator: Emulator, count: int) -> None:
    emulator.configure({"stream_drop_after": count})
    seen: list[bytes] = []
    with api("POST", "/v1/agents/echo/invoke/stream", json={"input": {"text": "x"}}, stream=True) as answer:
        lines = answer.iter_lines()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            seen.extend(lines)
    assert len([line for line in seen if line.startswith(b"data: ")]) == count
    (run,) = emulator.runs()
    assert api.until_status(run.task_id, "completed")["result"] == "x"


@pytest.mark.parametrize(
    ("finish", "check"),
    [
        ("task", lambda event: event["data"]["result"] == "one two three"),
        ("trimmed", lambda event: event["data"]["result"] is None and event["data"]["_result_truncated"]),
        ("string", lambda event: event["data"] == "one two three"),
        ("absent", lambda event: event["type"] == "chunk"),
    ],
)
def test_what_the_last_event_carries(api: Api, emulator: Emulator, finish: str, check: Any) -> None:
    emulator.configure({"stream_finish": finish})
    assert check(events(api)[-1])


def test_connected_and_done(api: Api, emulator: Emulator) -> None:
    emulator.configure({"stream_connected": True, "stream_done": True})
    data = data_of(raw(api))
    assert json.loads(data[0])["type"] == "connected"
    assert data[-1] == "[DONE]"


def test_wire_variants(api: Api, emulator: Emulator) -> None:
    emulator.configure(
        {"stream_crlf": True, "stream_ids": True, "stream_comments": True, "stream_split": True}
    )
    content = raw(api)
    assert content.count(b"\n") == content.count(b"\r\n")
    assert content.startswith(b": heartbeat\r\n\r\nid: 0\r\ndata: {")
    assert json.loads(data_of(content)[-1])["type"] == "task_finished"


def test_sub_agents_finish_with_ids_of_their_own(api: Api, emulator: Emulator) -> None:
    emulator.configure({"stream_sub_agent": True})
    found = events(api)
    (run,) = emulator.runs()
    finished = [event["task_id"] == run.task_id for event in found if event["type"] == "task_finished"]
    assert finished == [False, True]
    assert "sub_task_finished" in names(found)


def test_heartbeats_while_nothing_happens(api: Api, emulator: Emulator) -> None:
    emulator.configure({"stream_comments": True})
    content = raw(api, "agents/slow", "take 1.3")
    assert content.count(b": heartbeat") > content.count(b"data: ")


def test_a_story_is_told_event_by_event(api: Api) -> None:
    story = [
        {"type": "think", "data": "first"},
        {"type": "task_finished", "data": {"status": "completed"}, "by": "helper"},
        {"type": "chunk", "data": "the answer"},
    ]
    found = events(api, "agents/storyteller", json.dumps(story))
    told = [
        event
        for event in found
        if event["type"] in ("think", "chunk") or event["data"].get("agent_id") == "helper"
    ]
    assert [event["type"] for event in told] == ["think", "task_finished", "chunk"]
    assert told[1]["task_id"] != told[0]["task_id"] == found[-1]["task_id"]
    assert told[1]["identity"]["name"] == "helper"
    assert found[-1]["data"]["result"] == "the answer"


def test_a_story_of_its_own_has_most_types(api: Api) -> None:
    found = {event["type"] for event in events(api, "agents/storyteller", "tell me")}
    assert len(found) > 12


@pytest.mark.parametrize("comments", [False, True])
def test_a_stream_may_fall_silent_while_its_run_goes_on(api: Api, emulator: Emulator, comments: bool) -> None:
    emulator.configure({"stream_silent_after": 2, "stream_comments": comments, "run_seconds": 0.1})
    body = {"input": {"text": "x"}}
    got: list[bytes] = []
    with api("POST", "/v1/agents/echo/invoke/stream", json=body, stream=True, timeout=2.5) as answer:
        for line in answer.iter_lines() if comments else ():
            got.append(line)
            if got.count(b": heartbeat") == 4:
                break
        if not comments:
            with pytest.raises(requests.exceptions.ConnectionError, match="timed out"):
                got.extend(answer.iter_lines())
    assert len([line for line in got if line.startswith(b"data: ")]) == 2
    (run,) = emulator.runs()
    assert api.until_status(run.task_id, "completed")["result"] == "x"


def test_thoughts_may_be_objects(api: Api, emulator: Emulator) -> None:
    emulator.configure({"stream_thoughts": "object"})
    answer = api("POST", "/v1/agents/echo/invoke/stream", json={"input": {"text": "hello"}})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    [thought] = [event["data"] for event in events if event["type"] == "think"]
    assert "similar tickets" in thought["payload"]["input"]["thought"]


def test_a_stream_goes_on_after_the_last_event_that_was_seen(api: Api, emulator: Emulator) -> None:
    emulator.configure({"stream_ids": True})
    body = {"input": {"text": "hello"}, "id": "thread-1"}
    whole = api("POST", "/v1/agents/echo/invoke/stream", json=body).text
    rest = api("POST", "/v1/agents/echo/invoke/stream", json=body, headers={"Last-Event-ID": "1"}).text
    assert whole.endswith(rest)
    assert rest.startswith("id: 2\n")
    assert len(emulator.runs()) == 1
    emulator.configure({"stream_ids": False})
    api("POST", "/v1/agents/echo/invoke/stream", json=body, headers={"Last-Event-ID": "1"})
    assert len(emulator.runs()) == 2  # elsewhere, to ask again is to start again
