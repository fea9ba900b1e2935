"""Status of a remote task: seven official values, and every other spelling that was ever documented."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Any

from airflow_provider_xpander.api.text import printable

log = logging.getLogger(__name__)


class TaskStatus(StrEnum):
    """Status of a task as the API spells it (contract section 5)."""

    PENDING = "pending"
    EXECUTING = "executing"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    ERROR = "error"
    STOPPED = "stopped"

    @property
    def is_terminal(self) -> bool:
        """Whether the run is over: ``completed``, ``failed``, ``error`` and ``stopped`` are."""
        return self in TERMINAL_STATUSES

    @property
    def in_words(self) -> str:
        """The end of a sentence about a run, such as "is executing" or "failed"."""
        return _IN_WORDS.get(self, f"is {self.value}")


TERMINAL_STATUSES = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.ERROR, TaskStatus.STOPPED})

_IN_WORDS = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.ERROR: "ended with an error",
    TaskStatus.STOPPED: "was stopped",
}

# Spellings of old pages, of the console and of the SDK (contract section 5, "Normalisation").
_SYNONYMS = {
    TaskStatus.PENDING: ("queued", "created", "scheduled"),
    TaskStatus.EXECUTING: ("running", "in_progress", "started", "processing"),
    TaskStatus.PAUSED: ("waiting", "waiting_for_approval", "suspended"),
    TaskStatus.COMPLETED: ("complete", "success", "succeeded", "done", "finished"),
    TaskStatus.FAILED: ("failure",),
    TaskStatus.ERROR: ("errored",),
    TaskStatus.STOPPED: ("cancelled", "canceled", "aborted", "terminated"),
}
_BY_NAME = {status.value: status for status in TaskStatus} | {
    synonym: status for status, synonyms in _SYNONYMS.items() for synonym in synonyms
}
_warned: set[str] = set()


def normalize_status(raw: Any, *, finished: bool = False) -> TaskStatus:
    """
    Map whatever the service wrote into the status field to one of the seven values.

    A missing status means ``pending``. An unknown word is a run that goes on (``executing``), or a failed
    one if the task already has a ``finished_at``; it is logged once per process (contract section 5).

    :param raw: the value of the status field: a string in any case, or None.
    :param finished: whether the task carries a ``finished_at``.
    """
    if raw is None:
        return TaskStatus.PENDING
    if isinstance(raw, str) and raw in _BY_NAME:
        return _BY_NAME[raw]  # thousands of times in a row, so not the long way
    name = str(raw).strip().casefold().replace("-", "_").replace(" ", "_")
    if not name:
        return TaskStatus.PENDING
    known = _BY_NAME.get(name)
    if known is not None:
        return known
    status = TaskStatus.FAILED if finished else TaskStatus.EXECUTING
    if name not in _warned:
        _warned.add(name)
        log.warning(
            "xpander.ai answered an unknown task status %r; it is read as %r",
            printable(name, 100),
            status.value,
        )
    return status
