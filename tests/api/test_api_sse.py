from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from airflow_provider_xpander.api.sse import parse_event, snake_case

TASK = {"id": "t-1", "status": "executing", "agent_id": "a-1"}
DONE = {**TASK, "status": "completed", "result": "ok"}


@pytest.mark.parametrize(
    ("content", "type_", "task_id", "data"),
    [
        (
            {"type": "task_updated", "task_id": "t-1", "organization_id": "o", "time": "x", "data": TASK},
            "task_updated",
            "t-1",
            TASK,
        ),
        ({"event": "task_created", "data": {"id": "t-1", "status": "running"}}, "task_created", "t-1",
         {"id": "t-1", "status": "running"}),
        ({"type": "TaskFinished", "task_id": "t-1", "data": DONE}, "task_finished", "t-1", DONE),
        ({"event": "ToolCallRequest", "task_id": "t-1", "data": {}}, "tool_call_request", "t-1", {}),
        ({"type": "task_finished", "data": DONE}, "task_finished", "t-1", DONE),
        (DONE, "task_finished", "t-1", DONE),
        (TASK, "task_updated", "t-1", TASK),
        ({"id": "t-1", "status": "RUNNING"}, "task_updated", "t-1", {"id": "t-1", "status": "RUNNING"}),
        ({"id": "t-1", "status": None}, "task_updated", "t-1", {"id": "t-1", "status": None}),
        ({"type": "task_started", "task_id": "t-1", "timestamp": 1}, "task_created", "t-1", {"timestamp": 1}),
        ({"type": "content_chunk", "content": "Hel", "is_final": False}, "chunk", None, "Hel"),
        ({"type": "task_completed", "task_id": "t-1", "result": 1}, "task_finished", "t-1", {"result": 1}),
        ({"type": "error", "error": "boom"}, "error", None, {"error": "boom"}),
        ({"type": "chunk", "task_id": "t-1", "data": "Hel"}, "chunk", "t-1", "Hel"),
        ({"type": "task_finished", "task_id": "t-1", "data": "ok"}, "task_finished", "t-1", "ok"),
        ({"type": "task_finished", "task_id": "t-1"}, "task_finished", "t-1", None),
        ({"type": "think", "task_id": "t-1", "data": "hm"}, "think", "t-1", "hm"),
        ({"type": "connected"}, "connected", None, None),
        ({"type": "something_of_2031", "task_id": "t-1", "data": [1]}, "something_of_2031", "t-1", [1]),
        ({"type": "sub_task_finished", "task_id": "t-2", "data": {"id": "t-2"}}, "sub_task_finished", "t-2",
         {"id": "t-2"}),
        ({"type": "tool_call_result", "data": {"id": "call-1"}}, "tool_call_result", None, {"id": "call-1"}),
        ({"type": "chunk", "task_id": 7, "data": "x"}, "chunk", "7", "x"),
    ],
    ids=[
        "current", "event for type", "CamelCase", "CamelCase event", "id only in data", "bare finished task",
        "bare running task", "bare with synonym", "bare without status", "2025 task_started",
        "2025 content_chunk", "2025 task_completed", "2025 error", "chunk", "finish with a string",
        "finish with nothing", "think", "handshake", "unknown type", "of another task",
        "the id of something else", "numeric id",
    ],
)  # fmt: skip
def test_every_envelope_becomes_the_same_event(
    content: dict[str, Any], type_: str, task_id: str | None, data: Any
) -> None:
    event = parse_event(json.dumps(content))
    assert event is not None
    assert (event.type, event.task_id, event.data) == (type_, task_id, data)
    assert event.raw == content


@pytest.mark.parametrize(
    ("content", "name", "type_"),
    [
        ({"data": "x"}, "chunk", "chunk"),
        ({"data": "x"}, "TaskFinished", "task_finished"),
        (TASK, "task_created", "task_created"),
        (TASK, "message", "task_updated"),
        (TASK, "", "task_updated"),
        ({"type": "think", "data": "x"}, "chunk", "think"),
    ],
)
def test_the_name_of_the_sse_event_counts_where_the_json_has_none(
    content: dict[str, Any], name: str, type_: str
) -> None:
    event = parse_event(json.dumps(content), name)
    assert event is not None
    assert event.type == type_


@pytest.mark.parametrize("data", ["", "  ", "[DONE]", " [DONE]\n"])
def test_what_carries_nothing_is_skipped_in_silence(data: str, caplog: pytest.LogCaptureFixture) -> None:
    assert parse_event(data) is None
    assert not caplog.records


@pytest.mark.parametrize(
    "data",
    [
        "not json",
        '{"type": "chu',
        "[1]",
        '"text"',
        "7",
        "null",
        '{"hello": 1}',
        '{"type": 7}',
        "{}",
        "[" * 100_000,
    ],
    ids=lambda data: data[:20],
)
def test_what_is_no_event_is_logged_and_skipped(data: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert parse_event(data) is None
    assert len(caplog.records) == 1


def test_the_content_of_an_ignored_event_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    for data in ('{"user_oidc_token": "s3cret"}', '{"user_oidc_token": "s3cret"', '["s3cret"]'):
        parse_event(data)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("task_finished", "task_finished"),
        ("TaskFinished", "task_finished"),
        ("SubTaskCreated", "sub_task_created"),
        ("taskFinished", "task_finished"),
        ("task-finished", "task_finished"),
        ("TASK_FINISHED", "task_finished"),
        (" Chunk ", "chunk"),
    ],
)
def test_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake
