"""The XCom values of a run: its answer or where it is, a summary, and the raw answer where it is invalid."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_xpander._compat import masked, push_past_backend
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.text import log_lines, printable, sentence
from airflow_provider_xpander.operators.links import LINK_KEY
from airflow_provider_xpander.runs.answer import (
    AnswerRules,
    XpanderAnswerError,
    XpanderAnswerInvalid,
    XpanderAnswerTooLarge,
    check_outputs,
    encode_answer,
    read_answer,
    summarize,
    summarize_turn,
)
from airflow_provider_xpander.runs.task_errors import failure
from airflow_provider_xpander.runs.xcom_safe import xcom_restore, xcom_safe

TASK_ID_KEY = "xpander_task_id"
WAVE_KEY = "xpander_wave"
"""The file of the wave of runs that a bulk task waits for (``bulk/ledger.py``)."""
SUMMARY_KEY = "xpander_task"
RAW_RESULT_KEY = "xpander_raw_result"
TURNS_KEY = "xpander_turns"
"""The turns that repair turns followed, for the sum of what a run has used."""

APPROVAL_KEY = "xpander_approval"
"""The answer that a person has to decide on, its code, and what was decided."""

__all__ = [
    "APPROVAL_KEY",
    "LINK_KEY",
    "RAW_RESULT_KEY",
    "SUMMARY_KEY",
    "TASK_ID_KEY",
    "TURNS_KEY",
    "WAVE_KEY",
    "xcom_restore",
]


def push_link(ti: Any, link: str) -> None:
    """
    Push the link of a run, where Airflow's UI finds it from then on.

    :param ti: the task instance.
    :param link: address of the run.
    """
    push_past_backend(ti, LINK_KEY, link)


def publish_summary(ti: Any, task: Task, earlier: Sequence[dict[str, Any]] = ()) -> None:
    """
    Push the summary of a run, whatever its status.

    :param ti: the task instance.
    :param task: the run.
    :param earlier: the turns before, which repair turns followed.
    """
    ti.xcom_push(SUMMARY_KEY, summarize(task, earlier))


def pull_approval(ti: Any) -> dict[str, Any]:
    """
    Return what this try of the task knows of the approval of its answer.

    :param ti: the task instance.
    """
    return ti.xcom_pull(task_ids=ti.task_id, key=APPROVAL_KEY, map_indexes=ti.map_index) or {}


def push_approval(ti: Any, kept: Mapping[str, Any]) -> None:
    """
    Push what a person needs to decide on an answer, and what was decided.

    :param ti: the task instance.
    :param kept: plain JSON; ``answer`` as it came.
    """
    ti.xcom_push(APPROVAL_KEY, {**kept, "answer": _shallow(kept.get("answer"))})


def add_to_summary(ti: Any, **more: Any) -> None:
    """
    Add to the summary of a run that is in XCom.

    :param ti: the task instance.
    :param more: plain JSON.
    """
    summary = ti.xcom_pull(task_ids=ti.task_id, key=SUMMARY_KEY, map_indexes=ti.map_index) or {}
    ti.xcom_push(SUMMARY_KEY, {**summary, **xcom_safe(more)})


def pull_turns(ti: Any) -> list[dict[str, Any]]:
    """
    Return the turns that this try of the task has had repaired, of which another process may know.

    :param ti: the task instance.
    """
    return ti.xcom_pull(task_ids=ti.task_id, key=TURNS_KEY, map_indexes=ti.map_index) or []


def push_turns(ti: Any, turns: Sequence[dict[str, Any]]) -> None:
    """
    Push the turns that this try of the task has had repaired, for the process that resumes it.

    :param ti: the task instance.
    :param turns: the turns, of which there may be none.
    """
    ti.xcom_push(TURNS_KEY, list(turns))


def turns_before(task: Task, turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Return the turns of a run before the one that its record shows.

    :param task: the run as it was read now.
    :param turns: those that were repaired.
    """
    now = summarize_turn(task)["finished_at"]
    # Where the service tells no end, nothing is left out: a turn too many ends the repair sooner.
    return [turn for turn in turns if now is None or turn["finished_at"] != now]


def publish(
    ti: Any,
    task: Task,
    rules: AnswerRules,
    *,
    log: Any,
    earlier: Sequence[dict[str, Any]] = (),
    repair_turn: int = 0,
    approve: Callable[[Any], Any] | None = None,
) -> Any:
    """
    Push what is to be kept of a run that has ended, and return its answer, or what refers to it.

    :param ti: the task instance.
    :param task: the run, in a terminal status.
    :param rules: what is wanted of the answer.
    :param log: where to say what was done.
    :param earlier: the turns before, which repair turns followed.
    :param repair_turn: which repair turn has given the answer; 0 for the run itself.
    :param approve: returns the answer that is handed on, once a person has approved one; None for any.
    :raises XpanderTaskError: the run did not complete.
    :raises XpanderAnswerError: the answer is not what was asked for, and is kept in XCom; or is too large.
    :raises XpanderError: the answer could not be written to ``result_path``.
    """
    publish_summary(ti, task, earlier)
    if task.status is not TaskStatus.COMPLETED:
        raise failure(task)
    try:
        answer = _answer(task, rules, log)
    except XpanderAnswerError as invalid:
        _keep_raw(ti, invalid, rules)
        raise
    if repair_turn:
        log.info("The answer of repair turn %d fits", repair_turn)
    return _carried(task, answer if approve is None else approve(answer), rules, log)


def checked(task: Task, rules: AnswerRules) -> Any:
    """
    Return an answer that a person has edited.

    :param task: the run, with the edited answer as its result.
    :param rules: what is wanted of it.
    :raises XpanderAnswerInvalid: it does not fit.
    """
    return _answer(task, replace(rules, on_invalid="fail"), None)


def _answer(task: Task, rules: AnswerRules, log: Any) -> Any:
    """Return the answer as it is wanted, or raw if that is allowed."""
    try:
        answer = read_answer(task, rules)
    except XpanderAnswerInvalid as invalid:
        if rules.on_invalid != "raw":
            raise
        log.warning('%s It is returned as it is (on_invalid="raw").', sentence(str(invalid)))
        answer = task.result
    into_xcom = rules.result_path is None or rules.max_xcom_bytes is not None
    if rules.multiple_outputs and into_xcom:
        check_outputs(task, answer)
    return answer


def _carried(task: Task, answer: Any, rules: AnswerRules, log: Any) -> Any:
    """Return the answer for XCom, or write it and return what refers to it."""
    safe = _shallow(answer)
    limit, place = rules.max_xcom_bytes, rules.result_path
    size = 0 if limit is None else len(json.dumps(safe))
    into_xcom = place is None if limit is None else size <= limit
    if into_xcom:
        log.info("The answer goes into XCom: %s (xpander task %s)", _beginning(answer), task.id)
        return safe
    if place is None:
        raise XpanderAnswerTooLarge(
            f"The answer has {size} bytes as JSON, more than max_xcom_bytes={limit}; with a result_path, it "
            f"would be written there. {_still_there(task)}",
            task_id=task.id,
            answer=answer,
        )
    from airflow_provider_xpander.storage import write_answer

    content, media_type = encode_answer(answer)
    try:
        reference = write_answer(place, content, media_type, task.id)
    except Exception as error:  # of whatever library reaches the place; the answer is paid for
        raise XpanderError(
            sentence(
                f"The answer ({len(content)} bytes) could not be written to "
                f"{place}: {type(error).__name__}: {printable(error, 300)}"
            )
            + f" {_still_there(task)}; a retry takes the run over and writes again, unless reattach=False."
        ) from error
    log.info(
        "The answer (%d bytes) is in %s: %s (xpander task %s)",
        len(content), reference["url"], _beginning(answer), task.id,
    )  # fmt: skip
    return reference


def _beginning(answer: Any) -> str:
    """Return the first line of an answer as a log shows it."""
    lines = log_lines(answer, masked)
    more = " ..." if len(lines) > 1 else ""
    return f"{lines[0]}{more}" if lines else "(empty)"


def _still_there(task: Task) -> str:
    return (
        f"It is paid for and stays readable: GET /v1/tasks/{task.id}, or XpanderHook().get_task({task.id!r})"
    )


def _keep_raw(ti: Any, invalid: XpanderAnswerError, rules: AnswerRules) -> None:
    raw = _shallow(invalid.answer)
    if rules.max_xcom_bytes is None or len(json.dumps(raw)) <= rules.max_xcom_bytes:
        ti.xcom_push(RAW_RESULT_KEY, raw)


def _shallow(answer: Any) -> Any:
    """Make an answer safe, as text where it is nested too deeply for XCom."""
    try:
        return xcom_safe(answer)
    except ValueError:
        pass
    try:
        return xcom_safe(json.dumps(answer))
    except RecursionError:
        return "(nested too deeply; the service has it)"
