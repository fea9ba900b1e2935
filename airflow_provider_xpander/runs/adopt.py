"""The decision of an attempt: to start a run, or to take over one that an earlier attempt has started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.identity import Mark, mark_of

Reattach = bool | Literal["same_request"]

LONG_AGO = datetime.min.replace(tzinfo=UTC)
"""Stands for an unknown time where the newest of several is chosen."""


@dataclass(frozen=True)
class Note:
    """
    What an attempt has noted down of its run.

    :param task_id: the run.
    :param digest: that of the mark that the run carries.
    """

    task_id: str
    digest: str


@dataclass(frozen=True)
class Start:
    """
    Start a new run.

    :param why: for the log, None if there is nothing to say.
    :param spare: runs that go on although nobody waits for them any more.
    """

    why: str | None = None
    spare: tuple[Task, ...] = ()


@dataclass(frozen=True)
class Adopt:
    """
    Take over a run.

    :param task: the run.
    :param warning: for the log, None if there is nothing to say.
    :param spare: runs that go on although nobody waits for them any more.
    """

    task: Task
    warning: str | None = None
    spare: tuple[Task, ...] = ()


def goes_on(task: Task) -> bool:
    """
    Whether a run has not ended.

    :param task: the run.
    """
    return not task.status.is_terminal


def is_usable(task: Task) -> bool:
    """
    Whether a run may be taken over: it goes on, or its answer is there.

    :param task: the run.
    """
    return goes_on(task) or task.status is TaskStatus.COMPLETED


def decide(found: Sequence[Task], mark: Mark, reattach: Reattach) -> Start | Adopt:
    """
    Decide what an attempt does about the runs that earlier attempts have started.

    A run that is alive or completed is taken over: completed before alive, because its answer is paid for,
    and the newest first. One that ended failed, error or stopped is not: it is started anew.

    :param found: runs that carry this identity, in any order and status.
    :param mark: of this attempt's request.
    :param reattach: ``True`` takes over whatever the request was, ``"same_request"`` only on an equal
        fingerprint, ``False`` never.
    """
    if reattach is False:
        return Start()
    alive = list(filter(goes_on, found))
    usable = [task for task in found if is_usable(task)]
    if reattach == "same_request":
        usable = [task for task in usable if not _differs(task, mark)]
    if not usable:
        return Start(_why_anew(found), tuple(alive))
    best = max(usable, key=lambda task: (task.status is TaskStatus.COMPLETED, task.created_at or LONG_AGO))
    spare = tuple(task for task in alive if task.id != best.id)
    if _differs(best, mark):
        return Adopt(
            best,
            f"xpander task {best.id} was started by an earlier attempt with another request, because the "
            f"request renders differently now. It is taken over all the same; to start a new run, clear the "
            f'task, and to compare requests, set reattach="same_request".',
            spare,
        )
    return Adopt(best, spare=spare)


def _differs(task: Task, mark: Mark) -> bool:
    """Whether the run is known to be of another request than this attempt's."""
    written = mark_of(task)
    return written is not None and written.fingerprint is not None and written.fingerprint != mark.fingerprint


def _why_anew(found: Sequence[Task]) -> str | None:
    if not found:
        return None
    last = max(found, key=lambda task: task.created_at or LONG_AGO)
    if is_usable(last):
        return (
            f"An earlier attempt's run, xpander task {last.id} ({last.status.value}), is of another request "
            f'(reattach="same_request"). A new run is started.'
        )
    mutated = ", after it has used tools that change things" if last.used_mutating_tools else ""
    return (
        f"An earlier attempt's run, xpander task {last.id}, {last.status.in_words}{mutated}. "
        "A new run is started."
    )
