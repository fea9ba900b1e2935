"""The errors of runs that failed, were stopped, are late or paused: what happened, and what to do."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander.api.errors import (
    XpanderTaskError,
    XpanderTaskFailed,
    XpanderTaskPaused,
    XpanderTaskStopped,
    XpanderTaskTimeout,
)
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.api.text import printable, sentence

HEADLINE = 300
"""Characters of a line that tells at a glance why a task fails."""
ADDRESS_LIMIT = 4000
"""Greatest length of a log-in address that is shown whole: with its state and scopes it is a long one."""


def failure(task: Task) -> XpanderTaskError:
    """
    Return the error of a run that has ended in another way than completed.

    The service has no field for the reason: on ``error`` it is in ``result`` (contract 4.1). A ``stopped``
    run was cancelled by somebody, or ended by the system, time-outs included (contract section 5).

    :param task: a task in a terminal status, but not completed.
    """
    reason = printable(task.result) if task.result else None
    known: dict[str, Any] = {"task_id": task.id, "status": task.status.value, "reason": reason}
    said = f": {reason}" if reason else ", and the service gave no reason"
    mutated = " It has used tools that change things." if task.used_mutating_tools else ""
    what = f"xpander task {task.id} {task.status.in_words}"
    if task.status is TaskStatus.STOPPED:
        by = "by somebody" if task.is_manually_stopped else "by the system, which includes its time-outs"
        return XpanderTaskStopped(f"{what} {by}.{mutated}", **known)
    return XpanderTaskFailed(sentence(f"{what}{said}") + mutated, **known)


def headline(error: Exception) -> str:
    """
    Return an error in one short line, with the reason first, because a log viewer cuts long lines.

    :param error: what a task fails with.
    """
    if isinstance(error, XpanderTaskFailed | XpanderTaskPaused) and error.reason and error.status:
        status = normalize_status(error.status).in_words
        return f"{printable(error.reason, HEADLINE)} (xpander task {error.task_id} {status})"
    task_id = getattr(error, "task_id", None)
    what = str(error).removeprefix(f"xpander task {task_id} ")
    if what != str(error):
        return f"The run {printable(what, HEADLINE)} (xpander task {task_id})"
    return printable(error, HEADLINE)


def paused(task: Task) -> XpanderTaskPaused:
    """
    Return the error of a run that is paused where ``on_paused="fail"`` was asked for.

    :param task: the paused run.
    """
    reason = pause_reason(task)
    return XpanderTaskPaused(
        sentence(f"xpander task {task.id} is paused: {reason}")
        + ' The run is left as it is (on_paused="fail").',
        task_id=task.id,
        status=task.status.value,
        reason=reason,
    )


def pause_reason(task: Task) -> str:
    """
    Return what a paused run waits for (contract 4.2): a login, a person, or only its own schedule.

    :param task: the paused run.
    """
    login = task.pending_eca_request
    if login is not None and (login.auth_url or login.connector_name):
        name = printable(login.connector_name or "a connector", 100)
        where = printable(login.auth_url or "the console", ADDRESS_LIMIT)
        return f"somebody has to log in to {name} at {where}"
    if task.hitl_request:
        node = task.hitl_request.get("wait_node_id")
        title = task.hitl_request.get("title")
        detail = f" ({printable(title, 100)})" if title else f" (node {printable(node, 100)})" if node else ""
        return f"a person has to answer{detail}"
    if task.deep_planning is not None and task.deep_planning.question_raised:
        return "the agent has a question about its plan"
    return "nobody is asked; it may go on by its own schedule"


def timed_out(
    task_id: str,
    status: str | None,
    seconds: float | None,
    stopped: bool | None,
    detail: str | None = None,
) -> XpanderTaskTimeout:
    """
    Return the error of a run that did not end in time.

    :param task_id: the remote task.
    :param status: its status when last seen, or None.
    :param seconds: how long was waited, or None if unknown.
    :param detail: what the run waited for, if it was paused.
    :param stopped: True: it was stopped; False: the stop failed; None: it was left running on purpose.
    """
    name = str(status) if status else None
    last = f"{name}: {detail}" if detail else name or "unknown"
    waited = f" within {seconds:.0f} s" if seconds is not None else " in time"
    fate = {
        True: "The run was stopped",
        False: f"Stopping it failed: stop it with POST /v1/tasks/{task_id}/stop or in the console",
        None: "The run goes on, as it was asked to",
    }[stopped]
    return XpanderTaskTimeout(
        f"xpander task {task_id} did not end{waited} (last status: {last}). {fate}.",
        task_id=task_id,
        status=name,
        reason="timeout",
    )
