"""The log of a wait: a line when the status changes, and what a paused run waits for."""

from __future__ import annotations

from typing import Protocol

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.outcome import pause_reason


class Log(Protocol):
    """The part of a logger that is needed; Airflow's is not always a standard one."""

    def info(self, message: str, /, *args: object) -> object:
        """Write a line."""


class StatusReport:
    """
    Write one line whenever a task's status differs from the one before.

    :param log: where to.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: TaskStatus | None = None

    def __call__(self, task: Task) -> None:
        """Take note of an answer."""
        if task.status is self._last:
            return
        self._last = task.status
        if task.status is TaskStatus.PAUSED:
            self._log.info("xpander task %s is paused: %s", task.id, pause_reason(task))
        else:
            self._log.info("xpander task %s is %s", task.id, task.status.value)
