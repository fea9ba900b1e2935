"""The wait for a run: what is waited for, what the author wants, and how it goes on in the triggerer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from airflow_provider_xpander._compat import TaskDeferred
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.answer import AnswerRules
from airflow_provider_xpander.runs.log.status_log import told_of
from airflow_provider_xpander.runs.stop_policy import OnKill
from airflow_provider_xpander.runs.watch import BACKSTOP, OnPaused
from airflow_provider_xpander.telemetry import Invocation


@dataclass(frozen=True)
class Options:
    """
    What the author wants of the wait and its end, as operator and sensor have it among their parameters.

    :param xpander_conn_id: id of the Airflow connection.
    :param invocation: what was asked for by a run, for metrics and traces.
    :param rules: what is wanted of the answer of a run.
    :param poll_interval: seconds between two looks at the run.
    :param deferrable: whether to wait in the triggerer.
    :param on_paused: whether a paused run is waited for, fails the task, or a person is asked.
    :param on_stopped: ``fail`` or ``skip`` the task when the run was stopped.
    :param on_kill_action: what becomes of a run whose Airflow task is gone.
    :param timeout: seconds from the submit within which the run has to end, for messages; None for no limit.
    """

    xpander_conn_id: str
    invocation: Callable[[Task], Invocation]
    rules: Callable[[Task], AnswerRules]
    poll_interval: float
    deferrable: bool
    on_paused: OnPaused = "wait"
    on_stopped: str = "fail"
    on_kill_action: OnKill = "leave"
    timeout: float | None = None


@dataclass(frozen=True)
class Wait:
    """
    What is waited for.

    :param task_id: the run.
    :param agent_id: the agent or workflow that runs it, None if it is not known.
    :param run_deadline: Unix seconds at which the run has to have ended, or None.
    :param newer_than: Unix seconds; an end as old as that is of an earlier turn of the thread.
    :param asked: the pause that a person was asked about already.
    """

    task_id: str
    agent_id: str | None = None
    run_deadline: float | None = None
    newer_than: float | None = None
    asked: str | None = None

    def trigger_arguments(self, options: Options, task: Task) -> dict[str, Any]:
        """
        Return the arguments of the trigger, plain JSON.

        :param options: what the author wants.
        :param task: the run as it was seen last.
        """
        return {
            "xpander_task_id": self.task_id,
            "agent_id": self.agent_id,
            "xpander_conn_id": options.xpander_conn_id,
            "poll_interval": options.poll_interval,
            "deadline": self.run_deadline,
            "on_paused": options.on_paused,
            "on_kill_action": options.on_kill_action,
            "newer_than": self.newer_than,
            "created": task.created_at.timestamp() if task.created_at else None,
            "asked": self.asked,
            "told": told_of(task),
        }

    def defer(self, trigger: Any, method: str, **more: Any) -> NoReturn:
        """
        Defer; Airflow's own limit lies behind the deadline, because it asks nobody.

        :param trigger: what waits in the triggerer.
        :param method: name of the method that resumes.
        :param more: what that method is given besides.
        :raises TaskDeferred: always.
        """
        deadline = self.run_deadline
        left = None if deadline is None else max(1.0, deadline - time.time() + BACKSTOP)
        raise TaskDeferred(
            trigger=trigger,
            method_name=method,
            kwargs={"newer_than": self.newer_than, "deadline": deadline, **more},
            timeout=None if left is None else timedelta(seconds=left),
        )
