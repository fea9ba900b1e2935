"""Tasks, lists and threads in the JSON of the service (contract 2.5, 2.8 and 4), pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.catalogue import AGENT_VERSION, MODEL_NAME, MODEL_PROVIDER
from airflow_provider_xpander.emulator.clock import timestamp
from airflow_provider_xpander.emulator.settings import ORGANIZATION_ID, Settings
from airflow_provider_xpander.emulator.tasks import EmulatedTask, Turn

Body = dict[str, Any]

_ECHOED = (
    "payload_extension", "source", "worker_id", "test_run_node_id", "triggering_agent_id", "title",
    "additional_context", "instructions_override", "expected_output", "output_schema", "events_streaming",
    "disable_attachment_injection", "return_metrics", "mcp_servers", "user_tokens", "user_oidc_token",
    "think_mode", "llm_reasoning_effort", "source_node_type",
)  # fmt: skip
_SLIM = ("id", "agent_id", "organization_id", "status", "result", "created_at", "finished_at", "source")
_LISTED = (
    "id", "agent_id", "organization_id", "status", "user_id", "parent_task_id", "triggering_agent_id",
    "created_at", "updated_at", "source_node_type", "result", "title",
)  # fmt: skip
# What a client needs to follow a run.
_NEVER_NULL = {
    "id", "agent_id", "organization_id", "input", "created_at", "status", "result", "updated_at",
    "finished_at", "title", "is_manually_stopped", "hitl_request", "pending_eca_request",
}  # fmt: skip
_OLD_NAMES = {"pending": "queued", "executing": "running", "stopped": "cancelled"}


def task_body(task: EmulatedTask, turn: Turn, now: float, settings: Settings) -> Body:
    """
    Return a task as Get Task and the invoke routes answer it, full or slim (C15).

    :param task: the task.
    :param turn: its turn that is shown.
    :param now: epoch seconds.
    :param settings: of the emulator.
    """
    body = _everything(task, turn, now, settings)
    return {key: body[key] for key in _SLIM} if settings.slim_bodies else body


def list_item(task: EmulatedTask, turn: Turn, now: float, settings: Settings) -> Body:
    """
    Return a task as lists answer it: lean, with an empty result until it is over.

    :param task: the task.
    :param turn: its turn that is shown.
    :param now: epoch seconds.
    :param settings: of the emulator.
    """
    body = _everything(task, turn, now, settings)
    item = {key: body[key] for key in _LISTED}
    if body["finished_at"] is None:
        item["result"] = ""
    if settings.list_status_names == "old":
        item["status"] = _OLD_NAMES.get(item["status"], item["status"])
    return item


def page_body(items: Sequence[Body], page: int, per_page: int) -> Body:
    """
    Wrap one page of a list.

    :param items: all items of the list.
    :param page: from 1.
    :param per_page: items on a page.
    """
    first = (page - 1) * per_page
    return {
        "items": list(items[first : first + per_page]),
        "total": len(items),
        "page": page,
        "per_page": per_page,
        "total_pages": -(-len(items) // per_page),
    }


def thread_body(task: EmulatedTask, now: float) -> list[Body]:
    """
    Return the messages of all turns in the order of time; a run that is not over has no answer yet.

    :param task: the task.
    :param now: epoch seconds.
    """
    messages: list[tuple[float, str, Any]] = []
    for turn in task.turns:
        messages += [(at, "user", text) for at, text in ((turn.started, turn.text), *turn.steered)]
        seen = turn.at(now)
        if seen.status is TaskStatus.COMPLETED and seen.finished_at is not None:
            messages.append((seen.finished_at, "assistant", seen.fields.get("result")))
    counts = {"user": 0, "assistant": 0}
    thread = []
    for at, role, content in sorted(messages, key=lambda message: message[0]):
        counts[role] += 1
        thread.append(
            {
                "id": f"{task.id}_{role}_{counts[role]}",
                "role": role,
                "content": content,
                "created_at": int(at),
            }
        )
    return thread


def end_fields(text: str, result: Any, wants_json: bool, how: Literal["string", "fenced", "object"]) -> Body:
    """
    Return the fields of the task when its run ends by itself.

    :param text: what the agent was asked; its length makes the tokens.
    :param result: the answer; what is not a string is an answer in JSON.
    :param wants_json: whether JSON was asked for.
    :param how: how an answer in JSON is carried (:class:`Settings`, ``json_results``).
    """
    if not isinstance(result, str | None):
        result = json.dumps(result, ensure_ascii=False)
        wants_json = True
    prompt_tokens, completion_tokens = 180 + len(text.split()), len((result or "").split())
    if wants_json and result is not None and how != "string":
        result = _carried(result, how)
    tokens = {
        "completion_tokens": completion_tokens,
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    return {"result": result, "tokens": tokens}


def _carried(result: str, how: Literal["fenced", "object"]) -> Any:
    try:
        data = json.loads(result)
    except ValueError:
        return result
    return data if how == "object" else f"```json\n{result}\n```"


def _everything(task: EmulatedTask, turn: Turn, now: float, settings: Settings) -> Body:
    asked, seen = turn.body, turn.at(now)
    user: Mapping[str, Any] = asked["input"]["user"] or {}
    body: Body = {
        "id": task.id,
        "agent_id": turn.target_id,
        "organization_id": ORGANIZATION_ID,
        "input": asked["input"],
        "status": seen.status.value,
        "internal_status": None,
        "last_executed_node_id": None,
        "agent_version": turn.version or AGENT_VERSION,
        "created_at": timestamp(task.created),
        "updated_at": timestamp(seen.updated_at),
        "started_at": None if settings.null_started_at else timestamp(seen.started_at),
        "paused_at": timestamp(seen.paused_at),
        "finished_at": timestamp(seen.finished_at),
        "result": None,
        # One value under the two names that the request and the lists have for it (contract section 4).
        "parent_execution": asked["parent_execution_id"],
        "parent_task_id": asked["parent_execution_id"],
        "sub_executions": [],
        "finished_sub_executions": [],
        "is_manually_stopped": False,
        "hitl_request": None,
        "pending_eca_request": None,
        "voice_id": None,
        "user_id": user.get("id") or user.get("email"),
        "is_orchestration": turn.kind == "workflow",
        "output_format": asked["output_format"] or ("json" if asked["output_schema"] else "text"),
        "used_mutating_tools": False,
        "is_continuous": False,
        "deep_planning": None,
        "execution_attempts": 1,
        "tokens": None,
        "llm_model_provider": asked["llm_model_provider"] or MODEL_PROVIDER,
        "llm_model_name": asked["llm_model_name"] or MODEL_NAME,
        # Keys that no schema of the REST API has: unknown ones are added all the time.
        "conversation_kind": "direct",
        "used_tools": [],
    }
    body |= {key: asked[key] for key in _ECHOED}
    body["source"] = asked["source"] or "api"
    body["source_node_type"] = asked["source_node_type"] or "sdk"
    body |= seen.fields
    if settings.hitl_request == "approval" and body["hitl_request"]:
        body["hitl_request"] = {
            "operation_id": body["hitl_request"].get("wait_node_id"),
            "content": "May the run go on?",
            "approved_by": None,
            "rejected_by": None,
            "title": "Approval needed",
            "description": None,
        }
    if settings.null_fields:
        body = {key: value if key in _NEVER_NULL else None for key, value in body.items()}
    return body | task.overrides
