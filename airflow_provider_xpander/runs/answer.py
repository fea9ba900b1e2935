"""The answer of a run: parsed if JSON was asked for, checked if there is a schema; and what is kept of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_xpander.api.errors import XpanderError, XpanderValidationError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.text import TEXT_LIMIT, printable, sentence
from airflow_provider_xpander.runs.json_text import parse_json
from airflow_provider_xpander.runs.schema import AnswerSchema, NotConforming
from airflow_provider_xpander.runs.xcom_safe import clean_text, xcom_safe

OnInvalid = Literal["fail", "raw", "repair"]

# Airflow 3 puts the key of an XCom into a URL as it is: "../other_task/return_value" would be another task's
# XCom, "xpander_link?" our own. Databases take a blank at the end for nothing, and keep 512 characters.
_OUTPUT_KEY = re.compile(r"(?!\.{1,2}$)[^\s/?#%\\](?:[^/?#%\\\x00-\x1f\x7f]{0,509}[^\s/?#%\\])?")


class XpanderAnswerError(XpanderError):
    """
    The run completed, but its answer cannot be handed on.

    :param message: what is wrong, and what to do.
    :param task_id: the remote task.
    :param answer: the answer as it came.
    """

    def __init__(self, message: str, *, task_id: str, answer: Any) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.answer = answer


class XpanderAnswerInvalid(XpanderAnswerError):
    """
    The answer is not the JSON that was asked for, or does not match ``output_schema``.

    :param message: what is wrong, and what to do.
    :param task_id: id of the run.
    :param answer: the answer as it came.
    :param problems: where, what was expected and what came, each fit for a log line.
    """

    def __init__(self, message: str, *, task_id: str, answer: Any, problems: Sequence[str]) -> None:
        super().__init__(message, task_id=task_id, answer=answer)
        self.problems = tuple(problems)

    def but(self, more: str) -> XpanderAnswerInvalid:
        """
        Return the same error with a further sentence.

        :param more: the sentence.
        """
        return XpanderAnswerInvalid(
            f"{sentence(str(self))} {more}",
            task_id=self.task_id,
            answer=self.answer,
            problems=self.problems,
        )


class XpanderAskedAgain(XpanderAnswerInvalid):
    """The answer fits, but a person wants another; ``problems`` is what the person has said to the agent."""


class XpanderAnswerTooLarge(XpanderAnswerError):
    """The answer is larger than ``max_xcom_bytes``, and there is no ``result_path``."""


def _no_schema() -> AnswerSchema | None:
    return None


@dataclass(frozen=True)
class AnswerRules:
    """
    What the author wants of an answer.

    :param wants_json: whether it is to be parsed.
    :param schema: gives what it has to match, or None; called when it is needed, because it may import.
    :param on_invalid: what becomes of an answer that is not what was asked for.
    :param result_path: URL of the file that it is written to, or None.
    :param max_xcom_bytes: bytes of JSON above which it is not put into XCom, or None for no limit.
    :param multiple_outputs: whether Airflow makes an XCom of each of its keys.
    """

    wants_json: bool = False
    schema: Callable[[], AnswerSchema | None] = _no_schema
    on_invalid: OnInvalid = "fail"
    result_path: str | None = None
    max_xcom_bytes: int | None = None
    multiple_outputs: bool = False


def read_answer(task: Task, rules: AnswerRules) -> Any:
    """
    Return the answer of a completed run: JSON data, as untrusted as the agent is.

    :param task: the completed task.
    :param rules: what is wanted of it.
    :raises XpanderAnswerInvalid: it is not what was asked for.
    :raises XpanderAnswerError: it cannot be checked, or is nested too deeply.
    """
    answer = task.result
    try:
        if not rules.wants_json:
            xcom_safe(answer)
            return answer
        # An object instead of a string was seen from one live service (contract 4.1).
        data = parse_json(answer or "") if isinstance(answer, str | None) else answer
        xcom_safe(data)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else printable(error, 200)
        raise XpanderAnswerInvalid(
            f"xpander task {task.id} completed, but its answer is not the JSON that was asked for ({said}). "
            f"It begins: {printable(answer or '(empty)', TEXT_LIMIT)}",
            task_id=task.id,
            answer=answer,
            problems=[f"$: expected JSON, got something else ({said})"],
        ) from None
    try:
        schema = rules.schema()
        return data if schema is None else schema.conform(data)
    except XpanderValidationError as error:
        raise XpanderAnswerError(
            f"xpander task {task.id} completed, but its answer cannot be checked. {error}",
            task_id=task.id,
            answer=answer,
        ) from error
    except NotConforming as error:
        raise XpanderAnswerInvalid(
            f"xpander task {task.id} completed, but its answer does not match output_schema: {error}",
            task_id=task.id,
            answer=answer,
            problems=error.problems,
        ) from None


def check_outputs(task: Task, answer: Any) -> None:
    """
    See that Airflow can make an XCom of each key of an answer (``multiple_outputs=True``).

    Names under which this provider writes into XCom are no problem: ``xcom_safe`` puts a ``~`` in front.

    :param task: the completed task.
    :param answer: what is to be returned.
    :raises XpanderAnswerInvalid: it is no object, or a key cannot be that of an XCom.
    """
    if answer is None:
        return  # Airflow makes no XCom of it at all
    if not isinstance(answer, Mapping):
        problems = [f"$: expected an object, got a value of type {type(answer).__name__}"]
    else:
        bad = [str(key) for key in answer if not _OUTPUT_KEY.fullmatch(clean_text(str(key)))]
        problems = [f"$: the key {printable(repr(key), 100)} cannot be that of an XCom" for key in bad[:10]]
    if problems:
        raise XpanderAnswerInvalid(
            f"xpander task {task.id} completed, but its answer is nothing for multiple_outputs=True: "
            f"{'; '.join(problems)}",
            task_id=task.id,
            answer=task.result,
            problems=problems,
        )


def encode_answer(answer: Any) -> tuple[bytes, str]:
    """
    Return the content of the file that an answer is written to, and its media type.

    :param answer: as it was read: a text, or JSON data.
    """
    if isinstance(answer, str):
        return answer.encode("utf-8", "replace"), "text/plain; charset=utf-8"
    try:
        text = json.dumps(answer, ensure_ascii=False, allow_nan=False)
        return text.encode(), "application/json"
    except UnicodeEncodeError:  # lone surrogates, which only escapes can carry
        return json.dumps(answer, allow_nan=False).encode(), "application/json"
    except ValueError:  # numbers that are not finite
        return json.dumps(xcom_safe(answer)).encode(), "application/json"


def summarize(task: Task, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """
    Return what XCom ``xpander_task`` holds: a fixed list of fields, none of which can carry a secret.

    Times are ISO 8601 texts, ``duration`` is in seconds. After a repair, ``tokens`` is the sum over
    ``turns``, which lists each.

    :param task: the run.
    :param earlier: the turns before, as :func:`summarize_turn` describes them.
    """
    fields = {
        "id", "agent_id", "status", "title", "created_at", "started_at", "finished_at", "tokens",
        "is_manually_stopped", "used_mutating_tools", "agent_version", "llm_model_provider", "llm_model_name",
    }  # fmt: skip
    summary: dict[str, Any] = xcom_safe(task.model_dump(mode="json", include=fields))
    summary["duration"] = task.duration
    if earlier:
        turns = [*earlier, summarize_turn(task)]
        summary |= {"turns": turns, "tokens": _added_up([turn["tokens"] for turn in turns])}
    return summary


def summarize_turn(task: Task) -> dict[str, Any]:
    """
    Return what the summary has of one turn of a thread: plain JSON, nothing secret, no content.

    :param task: the run as of this turn.
    """
    turn: dict[str, Any] = xcom_safe(
        task.model_dump(mode="json", include={"status", "finished_at", "tokens", "llm_model_name"})
    )
    return turn


def _added_up(tokens: Sequence[dict[str, Any] | None]) -> dict[str, int] | None:
    known = [one for one in tokens if one]
    total: dict[str, int] = {}
    for one in known:
        for name, count in one.items():
            if isinstance(count, int):
                total[name] = total.get(name, 0) + count
    return {name: total.get(name) for name in known[0]} if known else None  # type: ignore[misc]
