"""The answer of a run as data that XCom can carry: parsed if JSON was asked for, and harmless."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_xpander.api.errors import TEXT_LIMIT, XpanderError, printable
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.usage import seconds_of

# Airflow's serialisation gives these keys a meaning of its own: it refuses them or turns the value that holds
# them into an object. A "~" before such a key takes that meaning away; taking one "~" off restores it.
_RESERVED = re.compile(r"~*__(?:type|var|classname|version|data|id|cause)(?:__)?")
_FENCE = re.compile(r"^\s*```[\w-]*[ \t]*\r?\n(.*?)\r?\n?\s*```\s*$", re.DOTALL)
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


class XpanderAnswerError(XpanderError):
    """
    The run completed, but its answer is not the JSON that was asked for.

    :param task_id: the remote task.
    :param answer: the answer as it came.
    """

    def __init__(self, message: str, *, task_id: str, answer: Any) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.answer = answer


def read_answer(task: Task, *, wants_json: bool) -> Any:
    """
    Return the answer of a completed run, safe for XCom (:func:`xcom_safe`).

    :param task: the completed task.
    :param wants_json: whether the answer is to be parsed.
    :raises XpanderAnswerError: JSON was asked for, and the answer is none.
    """
    if not wants_json:
        return xcom_safe(task.result)
    if task.result is not None and not isinstance(task.result, str):
        return xcom_safe(task.result)  # seen from one live service (contract 4.1)
    try:
        return xcom_safe(parse_json(task.result or ""))
    except (ValueError, RecursionError):
        raise XpanderAnswerError(
            f"xpander task {task.id} completed, but its answer is not the JSON that was asked for. "
            f"It begins: {printable(task.result or '(empty)', TEXT_LIMIT)}",
            task_id=task.id,
            answer=task.result,
        ) from None


def parse_json(text: str) -> Any:
    """
    Parse a JSON answer, without the code fence or the reasoning before it that models add (contract 4.1).

    :param text: the ``result`` of a task.
    :raises ValueError: it is not JSON; NaN and Infinity are not.
    """
    try:
        return _strict(text)
    except ValueError:
        body = text.rpartition("</think>")[2]
        fenced = _FENCE.match(body)
        return _strict(fenced[1] if fenced else body)


def _strict(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def xcom_safe(value: Any) -> Any:
    """
    Make untrusted data safe to store: the reader of the XCom gets data, never an object or a failure.

    Keys with a meaning for Airflow get a ``~`` in front; integers beyond 64 bits, and numbers that are not
    finite, become strings; NUL characters and lone surrogates, which databases refuse, become U+FFFD.

    :param value: JSON data: None, bool, number, str, list or dict.
    """
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_safe_key(str(key)): xcom_safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [xcom_safe(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and not _INT_MIN <= value <= _INT_MAX:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _safe_key(key: str) -> str:
    safe: str = xcom_safe(key)
    return f"~{safe}" if _RESERVED.fullmatch(safe) else safe


def summarize(task: Task) -> dict[str, Any]:
    """
    Return what XCom ``xpander_task`` holds: a fixed list of fields, none of which can carry a secret.

    Times are ISO 8601 texts, ``duration`` is in seconds.
    """
    fields = {
        "id", "agent_id", "status", "title", "created_at", "started_at", "finished_at", "tokens",
        "is_manually_stopped", "used_mutating_tools", "agent_version", "llm_model_provider", "llm_model_name",
    }  # fmt: skip
    summary: dict[str, Any] = xcom_safe(task.model_dump(mode="json", include=fields))
    return {**summary, "duration": seconds_of(task)}
