"""What a run leaves in XCom: its answer, a summary, and the raw answer where it could not be read."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.answer import XpanderAnswerError, read_answer, summarize, xcom_safe
from airflow_provider_xpander.runs.outcome import failure

TASK_ID_KEY = "xpander_task_id"
SUMMARY_KEY = "xpander_task"
RAW_RESULT_KEY = "xpander_raw_result"


def publish_summary(ti: Any, task: Task) -> None:
    """Push the summary of a run, whatever its status."""
    ti.xcom_push(SUMMARY_KEY, summarize(task))


def publish(ti: Any, task: Task, *, wants_json: bool) -> Any:
    """
    Push what is to be kept of a run that has ended, and return its answer.

    :param ti: the task instance.
    :param task: the run, in a terminal status.
    :param wants_json: whether the answer is to be parsed.
    :raises XpanderTaskError: the run did not complete.
    :raises XpanderAnswerError: the answer is not the JSON that was asked for; it is kept in XCom.
    """
    publish_summary(ti, task)
    error = failure(task)
    if error is not None:
        raise error
    try:
        return read_answer(task, wants_json=wants_json)
    except XpanderAnswerError as unreadable:
        ti.xcom_push(RAW_RESULT_KEY, xcom_safe(unreadable.answer))
        raise
