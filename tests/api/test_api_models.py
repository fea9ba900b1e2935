from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_provider_xpander.api.models import Agent, AgentPage, StreamEvent, Task, TaskPage, ThreadMessage
from airflow_provider_xpander.api.status import TaskStatus

# The keys of the sample response on the page "Invoke Workflow (Sync)".
SAMPLE_KEYS = [
    "id", "agent_id", "organization_id", "input", "created_at", "status", "internal_status",
    "last_executed_node_id", "agent_version", "started_at", "paused_at", "finished_at", "result",
    "parent_execution", "sub_executions", "finished_sub_executions", "is_manually_stopped",
    "payload_extension", "hitl_request", "pending_eca_request", "source", "worker_id", "additional_context",
    "instructions_override", "expected_output", "test_run_node_id", "is_orchestration", "output_format",
    "voice_id", "output_schema", "events_streaming", "used_mutating_tools", "is_continuous", "mcp_servers",
    "triggering_agent_id", "title", "think_mode", "disable_attachment_injection", "deep_planning",
    "execution_attempts", "user_tokens", "user_oidc_token", "return_metrics", "tokens",
]  # fmt: skip

# Contract section 4, where it goes beyond the sample, and the items of lists (2.5).
FURTHER_KEYS = [
    "llm_model_provider", "llm_model_name", "llm_reasoning_effort", "updated_at", "user_id",
    "parent_task_id", "source_node_type",
]  # fmt: skip

GARBAGE = [
    None, True, False, 0, -1, 1.5, 1e308, 10**30, "", "x", "\x00", "\ud800", "2026-13-45T99:99:99Z", [], [1],
    [None], [[]], [{}], {}, {"a": 1}, {"id": None}, {"tasks": "x"}, {"total_tokens": {}}, {"auth_url": []},
]  # fmt: skip


@pytest.mark.parametrize("name", SAMPLE_KEYS + FURTHER_KEYS)
def test_every_documented_key_is_a_field_of_the_task(name: str) -> None:
    assert name in Task.model_fields


@pytest.mark.parametrize("name", [name for name in Task.model_fields if name != "id"])
def test_garbage_in_a_field_of_a_task_breaks_nothing(name: str) -> None:
    for value in GARBAGE:
        task = Task.model_validate({"id": "t-1", name: value})
        assert task.id == "t-1"
        assert isinstance(task.status, TaskStatus)
        assert repr(task)


@pytest.mark.parametrize("model", [Agent, ThreadMessage])
@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value)[:20])
def test_garbage_in_a_field_of_agents_and_messages_breaks_nothing(
    model: type[Agent] | type[ThreadMessage], value: Any
) -> None:
    garbage = {name: value for name in model.model_fields if name != "id"}
    assert model.model_validate({"id": "a-1", **garbage}).id == "a-1"


def test_a_garbled_field_leaves_the_others_alone() -> None:
    task = Task.model_validate(
        {"id": "t-1", "status": "completed", "tokens": "many", "title": "Report", "created_at": "yesterday"}
    )
    assert (task.status, task.title, task.tokens, task.created_at) == ("completed", "Report", None, None)


def test_a_garbled_part_of_a_nested_object_leaves_its_other_parts_alone() -> None:
    task = Task.model_validate({"id": "t-1", "tokens": {"total_tokens": 12, "prompt_tokens": "a few"}})
    assert task.tokens is not None
    assert (task.tokens.total_tokens, task.tokens.prompt_tokens) == (12, None)


@pytest.mark.parametrize(
    "body", [{}, {"id": ""}, {"id": None}, {"id": 7}, {"status": "completed"}, [], "t-1", None]
)
def test_a_task_needs_its_id(body: Any) -> None:
    with pytest.raises(ValidationError):
        Task.model_validate(body)


def test_a_rejected_answer_is_not_shown_because_it_may_hold_secrets() -> None:
    with pytest.raises(ValidationError) as caught:
        Task.model_validate({"user_oidc_token": "s3"})
    assert "s3" not in str(caught.value)


def test_the_slim_answer_is_a_task() -> None:
    body = {
        "id": "t-1", "agent_id": "a-1", "organization_id": "o-1", "status": "completed", "result": "done",
        "created_at": "2026-04-07T06:18:47.438043Z", "finished_at": "2026-04-07T06:19:00Z", "source": "api",
    }  # fmt: skip
    task = Task.model_validate(body)
    assert {name: getattr(task, name) for name in ("id", "agent_id", "result", "source")} == {
        "id": "t-1", "agent_id": "a-1", "result": "done", "source": "api",
    }  # fmt: skip
    assert task.input is None


def test_unknown_fields_are_kept() -> None:
    task = Task.model_validate({"id": "t-1", "execution_kind": "resident", "tokens": {"reasoning": 3}})
    assert task.model_extra == {"execution_kind": "resident"}
    assert task.tokens is not None
    assert task.tokens.model_extra == {"reasoning": 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-07T06:18:47.438043Z", datetime(2026, 2, 7, 6, 18, 47, 438043, tzinfo=UTC)),
        ("2026-02-07T06:18:47Z", datetime(2026, 2, 7, 6, 18, 47, tzinfo=UTC)),
        ("2026-02-07T06:18:47", datetime(2026, 2, 7, 6, 18, 47, tzinfo=UTC)),
        ("2026-02-07 06:18:47.5", datetime(2026, 2, 7, 6, 18, 47, 500000, tzinfo=UTC)),
        (
            "2026-02-07T08:18:47+02:00",
            datetime(2026, 2, 7, 8, 18, 47, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_times_are_read_leniently_and_are_aware(text: str, expected: datetime) -> None:
    task = Task.model_validate({"id": "t-1", "finished_at": text})
    assert task.finished_at == expected
    assert task.finished_at is not None
    assert task.finished_at.utcoffset() is not None


@pytest.mark.parametrize(
    ("fields", "status", "raw"),
    [
        ({}, "pending", None),
        ({"status": None}, "pending", None),
        ({"status": "RUNNING"}, "executing", "RUNNING"),
        ({"status": "napping"}, "executing", "napping"),
        ({"status": "napping", "finished_at": None}, "executing", "napping"),
        ({"status": "napping", "finished_at": "2026-02-07T06:18:47Z"}, "failed", "napping"),
    ],
)
def test_the_status_is_normalized_and_the_words_of_the_service_kept(
    fields: dict[str, Any], status: str, raw: str | None
) -> None:
    task = Task.model_validate({"id": "t-1", **fields})
    assert (task.status, task.raw_status) == (TaskStatus(status), raw)


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_the_text_of_a_task_shows_no_content(show: Any) -> None:
    task = Task.model_validate(
        {
            "id": "t-1",
            "result": "private answer",
            "user_oidc_token": "s3cret",
            "user_tokens": {"github": "s3cret"},
            "mcp_servers": [{"api_key": "s3cret"}],
        }
    )
    assert show(task) == "Task(id='t-1', agent_id=None, status='pending')"


def test_a_page_skips_what_is_no_item() -> None:
    page = TaskPage.model_validate(
        {"items": [{"id": "t-1"}, None, "t-2", {"status": "completed"}, {"id": 3}, {"id": "t-4"}], "total": 6}
    )
    assert [task.id for task in page.items] == ["t-1", "t-4"]


@pytest.mark.parametrize("body", [{}, {"items": None}, {"items": "all"}, [], {"detail": "no"}])
def test_a_page_without_items_is_refused(body: Any) -> None:
    # Else a proxy's JSON would look like an empty list, and a run that exists like one that does not.
    with pytest.raises(ValidationError):
        TaskPage.model_validate(body)


def test_a_page_survives_garbage_in_its_counts() -> None:
    page = AgentPage.model_validate(
        {"items": [{"id": "a-1"}], "total": "many", "total_pages": {}, "page": []}
    )
    assert (page.total, page.total_pages, page.page) == (None, None, None)
    assert page.items[0].id == "a-1"


@pytest.mark.parametrize(
    ("data", "task_id"),
    [
        ({"id": "t-1", "status": "completed"}, "t-1"),
        ({"id": "t-1", "status": 7, "tokens": "x"}, "t-1"),
        ({"id": 7}, None),
        ({"status": "completed"}, None),
        ("done", None),
        (None, None),
        ([], None),
    ],
)
def test_the_task_in_an_event(data: Any, task_id: str | None) -> None:
    task = StreamEvent("task_finished", data=data).task()
    assert (task.id if task else None) == task_id


def test_the_models_json_can_be_read_back() -> None:
    body = {"id": "t-1", "status": "running", "result": {"a": [1]}, "created_at": "2026-02-07T06:18:47"}
    task = Task.model_validate(body)
    again = Task.model_validate(json.loads(task.model_dump_json()))
    assert (again.status, again.result, again.created_at) == (task.status, task.result, task.created_at)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ({"created_at": "2026-02-07T06:18:00Z", "finished_at": "2026-02-07T06:18:10Z"}, 10.0),
        ({"created_at": "2026-02-07T06:18:00Z"}, None),
        ({"finished_at": "2026-02-07T06:18:00Z"}, None),
        ({"duration": 9, "created_at": "2026-02-07T06:18:00Z"}, None),
        ({"started_at": "2026-02-07T06:18:09Z", "finished_at": "2026-02-07T06:18:00Z"}, 0.0),
    ],
    ids=["null started_at", "goes on", "unknown start", "a field of that name", "clocks that disagree"],
)
def test_the_duration_of_a_run(times: dict[str, str], seconds: float | None) -> None:
    assert Task.model_validate({"id": "t-1", "status": "completed", **times}).duration == seconds
