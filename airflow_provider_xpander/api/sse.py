"""Envelopes of the events of an invoke stream, and the one :class:`StreamEvent` of all (contract 6, C20)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_xpander.api.models import StreamEvent
from airflow_provider_xpander.api.refusals import ERROR_KEYS, error_sentence
from airflow_provider_xpander.api.status import normalize_status
from airflow_provider_xpander.api.text import printable

log = logging.getLogger(__name__)

END_OF_STREAM = "[DONE]"
FINISHED = "task_finished"
_LEGACY = {"task_started": "task_created", "content_chunk": "chunk", "task_completed": FINISHED}
_ENVELOPE = {"type", "event", "task_id", "organization_id", "time", "identity", "data"}


def parse_event(data: str, name: str | None = None, *, quiet: bool = False) -> StreamEvent | None:
    """
    Read one Server-Sent Event.

    :param data: the event's data: JSON in all documented variants.
    :param name: the event's ``event:`` field, if the server sent one.
    :param quiet: whether nothing is logged of what is ignored.
    :return: None for what carries nothing: empty data, ``[DONE]``, and what is not a JSON object (logged).
    """
    text = data.strip()
    if not text or text == END_OF_STREAM:
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        _ignored(quiet, f"that is not JSON ({len(text)} characters)")
        return None
    if not isinstance(content, Mapping):
        _ignored(quiet, "that is not a JSON object")
        return None
    return _from_envelope(content, name, quiet)


def _from_envelope(content: Mapping[str, Any], name: str | None, quiet: bool) -> StreamEvent | None:
    sse_name = name if name and name != "message" else None
    label = content.get("type") or content.get("event") or sse_name
    if not isinstance(label, str):
        return _from_bare_task(content, quiet)
    kind = snake_case(label)
    kind = _LEGACY.get(kind, kind)
    if "data" in content:
        data = content["data"]
    else:  # the names of 2025 carry their fields at the top level
        data = {key: value for key, value in content.items() if key not in _ENVELOPE} or None
        if isinstance(data, dict) and set(data) <= {"content", "is_final"} and "content" in data:
            data = data["content"]
    inner_id = data.get("id") if kind.startswith("task_") and isinstance(data, Mapping) else None
    task_id = content.get("task_id") or inner_id
    return StreamEvent(kind, str(task_id) if task_id else None, data, content)


def _from_bare_task(content: Mapping[str, Any], quiet: bool) -> StreamEvent | None:
    if not content.get("id") or "status" not in content:
        if any(content.get(key) for key in ERROR_KEYS):
            return StreamEvent("error", None, error_sentence(content), content)
        _ignored(quiet, f"of unknown shape with the keys {printable(', '.join(content), 200)}")
        return None
    status = normalize_status(content["status"], finished=content.get("finished_at") is not None)
    kind = FINISHED if status.is_terminal else "task_updated"
    return StreamEvent(kind, str(content["id"]), content, content)


def _ignored(quiet: bool, which: str) -> None:
    if not quiet:
        log.warning("Ignored a stream event %s", which)


def snake_case(name: str) -> str:
    """
    Turn ``TaskFinished`` into ``task_finished``; what is in snake case already stays.

    :param name: the name of an event.
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()).replace("-", "_").lower()
