"""The log of a wait: status and progress when they change, what a paused run waits for, signs of life."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.runs.links import task_link
from airflow_provider_xpander.runs.log.heartbeat import next_sign, sign_of_life
from airflow_provider_xpander.runs.log.progress import NO_PROGRESS, Progress
from airflow_provider_xpander.runs.pausing import pause_of
from airflow_provider_xpander.runs.task_errors import pause_reason


class Log(Protocol):
    """The part of a logger that is needed; Airflow's is not always a standard one."""

    def info(self, message: str, /, *args: object) -> object:
        """Write a line."""


class StatusReport:
    """
    Write a line whenever a task's status or progress differs from the one before, and signs of life.

    :param log: where to.
    :param settings: those of the connection, for the link to a paused run.
    :param asked: the pause that was told already (``runs/pausing.py``).
    :param told: the status that was told already.
    :param clock: gives Unix seconds.
    """

    def __init__(
        self,
        log: Log,
        settings: Settings | None = None,
        asked: str | None = None,
        told: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._settings = settings
        self._clock = clock
        self._last = TaskStatus.PAUSED if asked else normalize_status(told) if told else None
        self._pause = asked
        self._progress = NO_PROGRESS
        self._began = clock()
        self._next_sign = next_sign(0.0)
        self._task_id: str | None = None

    def __call__(self, task: Task) -> None:
        """Take note of an answer."""
        self._task_id = task.id
        progress = Progress.of(task)
        if progress not in (self._progress, NO_PROGRESS):
            for news in progress.since(self._progress):
                self._log.info("xpander task %s %s", task.id, news)
            self._progress = progress.over(self._progress)
        pause = pause_of(task)
        if task.status is self._last and pause == self._pause:
            return
        self._last, self._pause = task.status, pause
        if pause is not None:
            self._log.info("xpander task %s is paused: %s", task.id, pause_reason(task))
            if self._settings is not None:
                # A line of its own, with nothing behind it: Airflow's log viewer cuts long ones, and makes
                # a bracket part of the link.
                link = task_link(self._settings, task_id=task.id, agent_id=task.agent_id)
                self._log.info("The paused run in the console: %s", link)
        else:
            self._log.info("xpander task %s is %s", task.id, task.status.value)

    def waiting(self, seconds: float) -> None:
        """Take note that the next look comes in so many seconds; say so from time to time."""
        waited = self._clock() - self._began
        # Nothing but failed looks so far: each of them is in the log.
        if self._task_id is None or self._last is None or waited < self._next_sign:
            return
        self._next_sign = next_sign(waited)
        self._log.info("%s", sign_of_life(self._task_id, self._last.value, waited, seconds, None))


def told_of(task: Task) -> str | None:
    """
    Return the status of a run that goes on, once a log has told it.

    :return: None if there is none to rely on: it was not answered, or is that of a turn that has ended.
    """
    if task.raw_status is None or task.status.is_terminal:
        return None
    return task.status.value
