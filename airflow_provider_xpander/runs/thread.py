"""The turns of a thread that several Airflow tasks may continue: whose each is, and the wait for its end."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.identity import mark_of
from airflow_provider_xpander.runs.watch import End, Over, Watch

THREAD_POLL = 10.0
"""Seconds between two looks at a thread that is busy."""
THREAD_PATIENCE = 3600.0
"""Seconds for which a busy thread is waited for where the author gives no time-out."""


class ThreadBusy(XpanderError):
    """
    The thread that is to be continued has a turn that goes on, and the process does not wait for its end.

    :param task: the thread, as last seen.
    :param until: Unix seconds up to which its end is to be waited for.
    """

    def __init__(self, task: Task, until: float) -> None:
        super().__init__(f"Thread {task.id} is busy.")
        self.task, self.until = task, until


@dataclass(frozen=True)
class Turn:
    """
    A turn of a thread, as it goes through XCom to the sensor that waits for its end.

    :param xpander_task_id: the id, which all turns of the thread share.
    :param digests: marks that the turn can carry (``Identity.digests``).
    :param newer_than: Unix seconds at which the turn before it ended, or None.
    """

    xpander_task_id: str
    digests: tuple[str, ...]
    newer_than: float | None = None

    def data(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self) | {"digests": list(self.digests)}


def read_turn(value: Any) -> Turn | None:
    """
    Read a turn from XCom.

    :param value: what :meth:`Turn.data` has given, also as JSON text, or anything else.
    :return: the turn, or None if it is none.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, Mapping):
        return None
    task_id, digests, newer_than = (value.get(name) for name in ("xpander_task_id", "digests", "newer_than"))
    if not isinstance(task_id, str) or not isinstance(digests, list | tuple):
        return None
    moment = float(newer_than) if isinstance(newer_than, int | float) else None
    return Turn(task_id, tuple(map(str, digests)), moment)


def is_foreign_turn(task: Task, digests: Collection[str], newer_than: float | None = None) -> bool:
    """
    Whether somebody else has continued a thread after the turn that is meant.

    :param task: the record; one that has lost its mark is not known to be anybody's.
    :param digests: marks of the turn that is meant (``Identity.digests``).
    :param newer_than: Unix seconds at which the turn before that one ended: a record that still shows it is
        only out of date.
    """
    mark = mark_of(task)
    if mark is None or mark.digest in digests:
        return False
    return not task.status.is_terminal or Watch(task.id, newer_than=newer_than).has_ended(task)


def foreign_turn(task: Task) -> XpanderError:
    """
    Return the error for an answer that is not returned, because it is another's.

    :param task: the record.
    """
    return XpanderError(
        f"Thread {task.id} was continued by somebody else before the end of this task's turn was seen, so "
        f"the answer that it shows now is not this task's. It is not returned. A retry waits until the "
        f"thread is free and asks again. Tasks that share a thread_id must not run at the same time."
    )


def thread_deadline(now: float, *, timeout: float | None, deadline: float | None) -> float:
    """
    Return the Unix seconds up to which a busy thread is waited for.

    :param now: Unix seconds.
    :param timeout: seconds that the author gives a run, which hold for the wait before it too, or None.
    :param deadline: Unix seconds at which the attempt has to be over, or None.
    """
    own = now + (THREAD_PATIENCE if timeout is None else timeout)
    return own if deadline is None else min(own, deadline)


def thread_error(thread_id: str, over: Over) -> XpanderError:
    """
    Return the error for a thread whose turn was not seen to end.

    :param thread_id: the thread.
    :param over: how the wait ended.
    """
    if over.error is not None:
        return over.error
    if over.end is End.PAUSED:
        return XpanderError(
            f"Thread {thread_id} has a turn that is paused, which has to go on or be stopped before the next "
            f'one. Nothing was started (on_paused="fail").'
        )
    return XpanderError(
        f"Thread {thread_id} was still busy when the time to wait for it was up. Nothing was started."
    )
