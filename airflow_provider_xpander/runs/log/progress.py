"""How far a run has come, as its task tells it: what is new since the last look, and all of it in short."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_provider_xpander.api.errors import printable
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.log.stream_log import plan_steps

_NAME = 100


@dataclass(frozen=True)
class Progress:
    """
    What a task tells of its progress (contract section 4); None where it tells nothing.

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
        """Read it out of a task, full or slim."""
        finished = len(task.finished_sub_executions or ())
        subs = max(finished, len(task.sub_executions or ()))
        steps = plan_steps(task.deep_planning.tasks) if task.deep_planning else {}
        return cls(
            printable(task.last_executed_node_id, _NAME) if task.last_executed_node_id else None,
            printable(task.internal_status, _NAME) if task.internal_status else None,
            (finished, subs) if subs else None,
            (sum(steps.values()), len(steps)) if steps else None,
        )

    def since(self, before: Progress) -> list[str]:
        """Return what differs from an earlier look, in words; what is not told any more is no news."""
        news = []
        if self.node and self.node != before.node:
            news.append(f"has executed node {self.node}")
        if self.said and self.said != before.said:
            news.append(f"says {self.said!r}")
        if self.subs and self.subs != before.subs:
            news.append(f"has finished {self.subs[0]} of {self.subs[1]} sub-runs")
        if self.steps and self.steps != before.steps:
            news.append(f"has done {self.steps[0]} of {self.steps[1]} steps of its plan")
        return news

    def over(self, before: Progress) -> Progress:
        """Return what is known after a later look, which may tell less than an earlier one."""
        return Progress(
            self.node or before.node,
            self.said or before.said,
            self.subs or before.subs,
            self.steps or before.steps,
        )


NO_PROGRESS = Progress()
"""That of a task that tells nothing about it, as in a list."""


def recap(task: Task) -> str:
    """
    Tell in one line what a wait elsewhere has seen of a run: when its status changed, and how far it came.

    It is made of the task's own times, so that it holds whatever has become of who waited.

    :param task: the run.
    """
    times = [
        ("created", task.created_at),
        ("executing", task.started_at),
        ("last paused", task.paused_at),
        (task.status.value, task.finished_at),
    ]
    course = [f"{what} {_clock(when)}" for what, when in times if when is not None]
    return "; ".join([", ".join(course) or task.status.value, *Progress.of(task).since(NO_PROGRESS)])


def _clock(when: datetime) -> str:
    try:
        return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:  # at either end of the calendar
        return when.isoformat()
