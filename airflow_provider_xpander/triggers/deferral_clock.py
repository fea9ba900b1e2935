"""The moments that a worker has set for a trigger, by the clock of the triggerer: the two may differ."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from airflow_provider_xpander.runs.timing import backstop, clock_shift


def shift_of(trigger: Any) -> float:
    """
    Return what to add to the moments in a trigger's arguments, to have them by the clock of this process.

    :param trigger: has ``deferred_at`` and ``deadline`` by the worker's clock.
    """
    if trigger.deferred_at is None:
        return 0.0
    earliest = latest = None
    limit = backstop(trigger.deadline, trigger.deferred_at)
    # Set by the triggerer of Airflow 3: the API server has counted the limit from the deferral, by its clock.
    ends: datetime | None = getattr(trigger, "timeout_after", None)
    if ends is not None and limit is not None:
        earliest = latest = _seconds(ends - limit)
    else:
        # Airflow 2: when the scheduler has queued the task, by its clock.
        queued: datetime | None = getattr(trigger.task_instance, "queued_dttm", None)
        earliest = None if queued is None else _seconds(queued)
    return clock_shift(trigger.deferred_at, time.time(), earliest, latest)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def brought_here(trigger: Any, moment: float | None) -> float | None:
    """
    Return a moment of a trigger's arguments by the clock of this process.

    :param trigger: has ``deferred_at`` and ``deadline`` by the worker's clock.
    :param moment: Unix seconds by the worker's clock, or None.
    """
    return None if moment is None else moment + shift_of(trigger)
