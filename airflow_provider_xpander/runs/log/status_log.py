"""The log of a wait: status and progress when they change, what a paused run waits for, signs of life."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.task_errors import pause_reason

FIRST_SIGN = 300.0
"""Seconds from the beginning of a wait to its first sign of life."""
LONGEST_INTERVAL = 3600.0
"""The longest time in seconds between two signs of life; the interval doubles up to that."""
_NAME_LIMIT = 100


class Log(Protocol):
    """The part of a logger that is needed; Airflow's is not always a standard one."""

    def info(self, message: str, /, *args: object) -> object:
        """
        Write a line.

        :param message: with ``%`` places.
        :param args: what goes there.
        """

    def warning(self, message: str, /, *args: object) -> object:
        """
        Write a line for what a person should not miss.

        :param message: with ``%`` places.
        :param args: what goes there.
        """


class StatusReport:
    """
    Write a line whenever a task's status or progress differs from the one before, and signs of life.

    :param log: where to.
    :param settings: those of the connection, for the link to a paused run.
    :param asked: the pause that is in the log already (``Task.pause``).
    :param told: the status that is in the log already.
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
        """
        Write what is new.

        :param task: the run as it was read.
        """
        self._task_id = task.id
        progress = Progress.of(task)
        if progress not in (self._progress, NO_PROGRESS):
            for change in progress.changes_since(self._progress):
                self._log.info("xpander task %s %s", task.id, change)
            self._progress = progress.or_else(self._progress)
        pause = task.pause
        if task.status is self._last and pause == self._pause:
            return
        self._last, self._pause = task.status, pause
        if pause is not None:
            # A warning, because a person may have to do something.
            self._log.warning("xpander task %s is paused: %s", task.id, pause_reason(task))
            if self._settings is not None:
                # A line of its own that ends with the link: Airflow's log viewer cuts long lines, and takes a
                # bracket behind a link for a part of it.
                link = self._settings.task_link(task_id=task.id, agent_id=task.agent_id)
                self._log.info("The paused run in the console: %s", link)
        else:
            self._log.info("xpander task %s %s", task.id, task.status.in_words)

    def waiting(self, seconds: float) -> None:
        """
        Write a sign of life if it is time for one.

        :param seconds: until the next look.
        """
        waited = self._clock() - self._began
        # Nothing but failed looks so far: each of them is in the log.
        if self._task_id is None or self._last is None or waited < self._next_sign:
            return
        self._next_sign = next_sign(waited)
        self._log.info("%s", sign_of_life(self._task_id, self._last.value, waited, seconds, None))


def told_of(task: Task) -> str | None:
    """
    Return the status that a :class:`StatusReport` has logged last, which whoever waits on need not repeat.

    :param task: the run as it was logged.
    :return: None if there is none to rely on: the service gave none, or it is that of a turn that has ended.
    """
    if task.raw_status is None or task.status.is_terminal:
        return None
    return task.status.value


def next_sign(waited: float) -> float:
    """
    Return the seconds from the beginning of a wait to the next of its signs of life.

    :param waited: seconds from its beginning until now.
    """
    moment = interval = FIRST_SIGN
    while moment <= waited:
        interval = min(LONGEST_INTERVAL, 2 * interval)
        moment += interval
    return moment


def sign_of_life(
    task_id: str, status: str | None, waited: float, next_look: float, trouble: str | None
) -> str:
    """
    Return the line that says that a wait goes on.

    :param task_id: the remote task.
    :param status: as last seen, None if it never was.
    :param waited: seconds so far.
    :param next_look: seconds to the next look.
    :param trouble: why the last look failed, if it did.
    """
    state = f"is {status}" if status else "was not seen yet"
    failed = f"; the last look failed: {trouble}" if trouble else ""
    return f"xpander task {task_id} {state} after {_span(waited)}; next look in {_span(next_look)}{failed}"


@dataclass(frozen=True)
class Progress:
    """
    The progress that a task tells (contract section 4); None where it tells nothing.

    :param node: the last node of a workflow that was executed.
    :param said: ``internal_status``, a free text of the customer's code.
    :param subs: how many sub-runs have finished, and how many there are.
    :param steps: how many steps of the plan are done, and how many there are.
    """

    node: str | None = None
    said: str | None = None
    subs: tuple[int, int] | None = None
    steps: tuple[int, int] | None = None

    @classmethod
    def of(cls, task: Task) -> Progress:
        """
        Read the progress of a task.

        :param task: the run, full or slim.
        """
        finished = len(task.finished_sub_executions or ())
        subs = max(finished, len(task.sub_executions or ()))
        steps = plan_steps(task.deep_planning.tasks) if task.deep_planning else {}
        return cls(
            printable(task.last_executed_node_id, _NAME_LIMIT) if task.last_executed_node_id else None,
            printable(task.internal_status, _NAME_LIMIT) if task.internal_status else None,
            (finished, subs) if subs else None,
            (sum(steps.values()), len(steps)) if steps else None,
        )

    def changes_since(self, before: Progress) -> list[str]:
        """
        Return the differences to an earlier look, in words. What is no longer told is no difference.

        :param before: the progress as of the earlier look.
        """
        changes = []
        if self.node and self.node != before.node:
            changes.append(f"has executed node {self.node}")
        if self.said and self.said != before.said:
            changes.append(f"says {self.said!r}")
        if self.subs and self.subs != before.subs:
            changes.append(f"has finished {self.subs[0]} of {self.subs[1]} sub-runs")
        if self.steps and self.steps != before.steps:
            changes.append(f"has done {self.steps[0]} of {self.steps[1]} steps of its plan")
        return changes

    def or_else(self, before: Progress) -> Progress:
        """
        Return this progress, completed by an earlier look where this one tells less.

        :param before: the progress as of the earlier look.
        """
        return Progress(
            self.node or before.node,
            self.said or before.said,
            self.subs or before.subs,
            self.steps or before.steps,
        )


NO_PROGRESS = Progress()
"""The progress of a task that tells nothing about it, as in a list."""


def plan_steps(tasks: Any) -> dict[str, bool]:
    """
    Return the steps of a plan by title, and whether each is done.

    :param tasks: ``tasks`` of a ``DeepPlanning`` object (contract section 4).
    """
    if not isinstance(tasks, list):
        return {}
    steps = [step for step in tasks if isinstance(step, Mapping)]
    return {str(step.get("title") or step.get("id")): bool(step.get("completed")) for step in steps}


def account(task: Task, *, repair_turn: int = 0) -> str:
    """
    Return one line about a run that has ended: how, after how long, and what it has used.

    :param task: a task in a terminal status.
    :param repair_turn: which repair turn of the run this was; 0 for the run itself.
    """
    parts = [f"Repair turn {repair_turn}:"] if repair_turn else []
    parts += [f"xpander task {task.id} {task.status.in_words}"]
    if task.duration is not None:
        parts.append(f"after {task.duration:.1f} s")
    if task.tokens is not None and task.tokens.total_tokens is not None:
        parts.append(f"with {task.tokens.total_tokens} tokens")
    if task.llm_model_name:
        parts.append(f"of {printable(task.llm_model_name, 100)}")
    return " ".join(parts)


def recap(task: Task) -> str:
    """
    Return one line about the course of a run: when its status changed, and how far it came.

    It is made of the task's own times. So it does not depend on who has waited for the run.

    :param task: the run.
    """
    times = [
        ("created", task.created_at),
        ("executing", task.started_at),
        ("last paused", task.paused_at),
        (task.status.value, task.finished_at),
    ]
    course = [f"{what} {_clock(when)}" for what, when in times if when is not None]
    progress = Progress.of(task).changes_since(NO_PROGRESS)
    return "; ".join([", ".join(course) or task.status.value, *progress])


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _clock(when: datetime) -> str:
    try:
        return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:  # at either end of the calendar
        return when.isoformat()
