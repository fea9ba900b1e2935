"""The events of an invoke stream and their envelopes, old and new (contract section 6), pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.schedule import Step, Told
from airflow_provider_xpander.emulator.settings import ORGANIZATION_ID, Settings

COMMENT = ": heartbeat"
DONE = "[DONE]"


@dataclass(frozen=True)
class Event:
    """One event; ``data`` is a task object, a string, or what its type has (contract 6.3); ``by`` whom."""

    type: str
    task_id: str
    data: Any = None
    by: str = "Emulated agent"


def handshake(task_id: str, settings: Settings) -> list[Event]:
    """
    Return what comes before the first step of a run.

    :param task_id: id of the task.
    :param settings: of the emulator.
    """
    return [Event("connected", task_id)] if settings.stream_connected else []


def events_of_step(
    body: Mapping[str, Any],
    step: Step,
    story: Sequence[Told],
    *,
    first: bool,
    working: bool,
    settings: Settings,
) -> list[Event]:
    """
    Return the events of one step of a run.

    :param body: the task as it is at that step.
    :param step: the step.
    :param story: all that the run tells.
    :param first: whether it is the first step, the one that creates the task.
    :param working: whether it is the first step at which the agent works.
    :param settings: of the emulator.
    """
    task_id, status = body["id"], step.status
    if step.told is not None:
        return [_event_of(step.told, task_id)]
    if first:
        return [Event("task_created", task_id, body)]
    if not status.is_terminal:
        events = [Event("task_updated", task_id, body)]
        return events + _work(task_id, settings) if working and not story else events
    events = []
    told_already = any(told.type == "chunk" and not told.by for told in story)
    if status is TaskStatus.COMPLETED and isinstance(body["result"], str) and not told_already:
        events = [Event("chunk", task_id, piece) for piece in _pieces(body["result"])]
    if settings.stream_finish != "absent":
        events.append(Event("task_finished", task_id, _finish_data(body, settings)))
    return events


def encode(event: Event, time: str, number: int, settings: Settings) -> bytes | None:
    """
    Write an event for the wire, or return None if the envelope of the settings has no place for it.

    :param event: the event.
    :param time: when it happened, ISO 8601.
    :param number: its place in the stream, for ``id:`` lines.
    :param settings: of the emulator.
    """
    if settings.stream_thoughts == "object" and event.type == "think":
        event = replace(event, data=_thought(event.data))
    payload = _envelope(event, time, settings)
    if payload is None:
        return None
    lines = [COMMENT, ""] if settings.stream_comments else []
    if settings.stream_ids:
        lines.append(f"id: {number}")
    lines.append(f"data: {json.dumps(payload, ensure_ascii=False)}")
    return frame(lines, settings)


def frame(lines: list[str], settings: Settings) -> bytes:
    """
    Join the lines of an event and end it with a blank line.

    :param lines: without line ends.
    :param settings: of the emulator.
    """
    newline = "\r\n" if settings.stream_crlf else "\n"
    return newline.join([*lines, "", ""]).encode()


def _event_of(told: Told, task_id: str) -> Event:
    """Make an event of what is told; a sub-agent's task has an id of its own."""
    if not told.by:
        return Event(told.type, task_id, told.data)
    foreign = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{task_id} {told.by}"))
    about_task = "task_" in told.type and isinstance(told.data, Mapping)
    data = {"id": foreign, "agent_id": told.by, **told.data} if about_task else told.data
    return Event(told.type, foreign, data, told.by)


def _thought(text: Any) -> dict[str, Any]:
    thought = {"title": "Think", "thought": text, "confidence": 0.9}
    return {
        "request_id": "req-0",
        "operation_id": "op-think",
        "tool_name": "think",
        "payload": {"input": thought},
    }


def _work(task_id: str, settings: Settings) -> list[Event]:
    call = {
        "request_id": "req-1",
        "operation_id": "op-1",
        "tool_call_id": "call-1",
        "graph_node_id": "node-1",
        "tool_name": "search_tickets",
        "payload": {"query": "similar tickets"},
        "reasoning": {"title": "Look for precedents", "description": "Similar tickets may exist."},
    }
    events = [
        Event("think", task_id, "I look for similar tickets first."),
        Event("tool_call_request", task_id, call),
        Event("tool_call_result", task_id, {**call, "result": {"found": 2}, "is_error": False}),
    ]
    if settings.stream_sub_agent:
        # Also a task_finished: a client must finish on its own task's only (contract 6.3).
        foreign = str(uuid.uuid5(uuid.NAMESPACE_URL, task_id))
        done = {"id": foreign, "status": "completed", "result": "from the sub-agent"}
        events += [
            Event("sub_agent_trigger", task_id, {"agent_id": "echo", "query": "help", "files": []}),
            Event("sub_task_created", foreign, {"id": foreign, "status": "pending"}),
            Event("task_finished", foreign, done),
            Event("sub_task_finished", foreign, done),
        ]
    return events


def _pieces(text: str, count: int = 3) -> list[str]:
    size = max(1, -(-len(text) // count))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _finish_data(body: Mapping[str, Any], settings: Settings) -> Any:
    if settings.stream_finish == "string":
        return body["result"] or ""
    if settings.stream_finish == "trimmed":
        return {**body, "result": None, "_result_truncated": True}
    return body


def _envelope(event: Event, time: str, settings: Settings) -> Mapping[str, Any] | None:
    match settings.stream_envelope:
        case "event":
            return {"event": event.type, "data": event.data}
        case "bare":
            return event.data if isinstance(event.data, Mapping) and "status" in event.data else None
        case "legacy":
            return _legacy(event, time)
        case "camel":
            name = "".join(part.title() for part in event.type.split("_"))
        case _:
            name = event.type
    return {
        "type": name,
        "task_id": event.task_id,
        "organization_id": ORGANIZATION_ID,
        "time": time,
        "data": event.data,
        "identity": {"name": event.by, "icon": None},
    }


def _legacy(event: Event, time: str) -> Mapping[str, Any] | None:
    """Return the event under its name of 2025, with its fields beside the name (C20)."""
    if event.type == "task_created":
        return {"type": "task_started", "task_id": event.task_id, "timestamp": time}
    if event.type == "chunk":
        return {"type": "content_chunk", "content": event.data, "is_final": False}
    if event.type != "task_finished":
        return None
    data = event.data if isinstance(event.data, Mapping) else {"status": "completed", "result": event.data}
    if data["status"] == "completed":
        return {"type": "task_completed", "task_id": event.task_id, "result": data["result"]}
    return {"type": "error", "task_id": event.task_id, "error": data["result"] or data["status"]}
