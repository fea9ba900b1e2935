"""Tasks as the emulator keeps them: an id, which is the thread's too, and one turn for each message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.schedule import Behaviour, Plan, Snapshot, snapshot

Kind = Literal["agent", "workflow"]


@dataclass
class Turn:
    """
    One run: an accepted invoke request and its course. It is what the service bills.

    :param body: the request as the service read it, with every field.
    :param end: fields of the task when the run ends by itself.
    :param started: when it was submitted, in epoch seconds.
    :param size: bytes of the request and of the answer, about.
    :param steered: further messages that it was told while it ran (C4): epoch seconds, and the text.
    """

    task_id: str
    kind: Kind
    target_id: str
    version: str | None
    body: Mapping[str, Any]
    behaviour: Behaviour
    end: Mapping[str, Any]
    started: float
    plan: Plan
    size: int = 0
    steered: list[tuple[float, str]] = field(default_factory=list)

    def at(self, now: float) -> Snapshot:
        """
        Return what the run looks like.

        :param now: epoch seconds.
        """
        return snapshot(self.plan, now)

    @property
    def text(self) -> str:
        """What the user wrote."""
        return str(self.body["input"]["text"] or "")


@dataclass
class EmulatedTask:
    """
    A task of the emulator.

    :param created: when its first turn was submitted, in epoch seconds.
    :param stops: how often a stop request for it was carried out.
    :param overrides: fields that replace what would be answered, set by tests.
    """

    id: str
    created: float
    turns: list[Turn] = field(default_factory=list)
    stops: int = 0
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> Turn:
        """The latest turn."""
        return self.turns[-1]

    def visible(self, now: float, stale_seconds: float) -> Turn:
        """
        Return the turn that reads show; after a follow-up this may be the one before (contract 2.3).

        :param now: epoch seconds.
        :param stale_seconds: for so long the turn before is shown.
        """
        if len(self.turns) > 1 and now - self.last.started < stale_seconds:
            return self.turns[-2]
        return self.last

    def status(self, now: float) -> TaskStatus:
        """
        Return the status of the latest turn.

        :param now: epoch seconds.
        """
        return self.last.at(now).status


class Runs(list[Turn]):
    """
    Every run that was started, oldest first; if there are too many, the first that ended are forgotten.

    :param tasks: all tasks by id. A task goes with its last run.
    """

    def __init__(self, tasks: dict[str, EmulatedTask]) -> None:
        super().__init__()
        self._tasks = tasks
        self._bytes = 0
        self._crowded = (0.0, 0.0)

    def keep(self, turn: Turn, now: float, count: int, size: int) -> None:
        """
        Add a run, and forget some where there are too many.

        :param turn: the new run.
        :param now: epoch seconds.
        :param count: so many runs are kept; it may be a tenth more until the oldest are dropped at once.
        :param size: so many bytes of requests and answers are kept, or a tenth more.
        """
        self.append(turn)
        self._bytes += turn.size
        # What goes on stays. Where that alone is too much, not each new run is a reason to look again.
        if len(self) > max(count * 1.1, self._crowded[0]) or self._bytes > max(size * 1.1, self._crowded[1]):
            self._forget(now, count, size)
            self._crowded = (len(self) * 1.1, self._bytes * 1.1)

    def clear(self) -> None:
        """Forget all runs."""
        super().clear()
        self._bytes, self._crowded = 0, (0.0, 0.0)

    def _forget(self, now: float, count: int, size: int) -> None:
        left, gone = len(self), set()
        for turn in self:
            if left <= count and self._bytes <= size:
                break
            if turn.at(now).status.is_terminal:
                gone.add(id(turn))
                left, self._bytes = left - 1, self._bytes - turn.size
        self[:] = [turn for turn in self if id(turn) not in gone]
        for task in list(self._tasks.values()):
            task.turns = [turn for turn in task.turns if id(turn) not in gone]
            if not task.turns:
                del self._tasks[task.id]
