"""A run as a test sees it, and runs in words, for messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_xpander.emulator import Emulator
from airflow_provider_xpander.emulator.tasks import Turn

_TEXT = 80


@dataclass(frozen=True)
class Run:
    """
    A run that was started, which a real service would have billed.

    :param id: of the task; turns of one thread share it.
    :param target_id: the agent or workflow.
    :param text: what it was asked.
    :param request: the whole request.
    """

    id: str
    target_id: str
    text: str
    request: Mapping[str, Any] = field(repr=False)
    _emulator: Emulator = field(repr=False, compare=False)
    _turn: Turn = field(repr=False, compare=False)

    @property
    def status(self) -> str:
        """The status now, as the API spells it."""
        return self._turn.at(self._emulator.now()).status.value

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._turn.at(self._emulator.now()).status.is_terminal

    @property
    def answer(self) -> Any:
        """How it ends if nothing comes in between."""
        return self._turn.end.get("result")

    @property
    def stops(self) -> int:
        """How often it was asked to stop."""
        return self._emulator.stops(self.id)

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        shown = text if len(text) <= _TEXT else f"{text[:_TEXT]}..."
        return f"{self.target_id} {self.status}: {shown!r} (task {self.id})"


def listed(runs: Iterable[Run]) -> str:
    """
    Return runs in words, one a line.

    :param runs: the runs.
    """
    return "".join(f"\n  {number}. {run}" for number, run in enumerate(runs, start=1)) or " none"
