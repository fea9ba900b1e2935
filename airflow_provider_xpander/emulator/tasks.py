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
