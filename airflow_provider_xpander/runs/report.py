"""The log of a wait: status and progress when they change, what a paused run waits for, signs of life."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.heartbeat import Heartbeat
from airflow_provider_xpander.runs.outcome import pause_reason
from airflow_provider_xpander.runs.progress import Progress


class Log(Protocol):
    """The part of a logger that is needed; Airflow's is not always a standard one."""

    def info(self, message: str, /, *args: object) -> object:
        """Write a line."""


class StatusReport:
    """
    Write a line whenever a task's status or progress differs from the one before, and signs of life.

    :param log: where to.
    :param clock: gives Unix seconds.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._last: TaskStatus | None = None
        self._progress = Progress()
        self._heartbeat = Heartbeat(clock())
        self._task_id: str | None = None

    def __call__(self, task: Task) -> None:
        """Take note of an answer."""
        self._task_id = task.id
        progress = Progress.of(task)
        for news in progress.since(self._progress):
            self._log.info("xpander task %s %s", task.id, news)
        self._progress = progress.over(self._progress)
        if task.status is self._last:
            return
        self._last = task.status
        if task.status is TaskStatus.PAUSED:
            self._log.info("xpander task %s is paused: %s", task.id, pause_reason(task))
        else:
            self._log.info("xpander task %s is %s", task.id, task.status.value)

    def waiting(self, seconds: float) -> None:
        """Take note that the next look comes in so many seconds; say so from time to time."""
        if self._last is None:
            return  # nothing but failed looks so far, each of which is in the log
        line = self._heartbeat.line(self._clock(), self._last.value, seconds)
        if line:
            self._log.info("xpander task %s %s", self._task_id, line)
