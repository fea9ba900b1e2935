"""Waves of runs: how many may be started now, when enough of them have ended, and what limits forbid."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_xpander.bulk.state import State

SHARE = 0.8
"""Share of the runs in flight whose end makes a resume worth it, while there is more to ask."""
FIRST_RUNS = 5
"""Runs that are started before it is known what one costs, where tokens are limited."""
LOST_GRACE = 60.0
"""Seconds after a lost submit in which a run may still show; then its rows are asked about again."""

VAIN = 100
"""Runs in a row without a good answer after which an attempt gives up: not the rows are bad, the agent is."""


@dataclass(frozen=True)
class Limits:
    """
    What the author allows.

    :param max_in_flight: runs that are under way at a time.
    :param max_runs: runs in all, repeats and repair turns among them; None for no limit.
    :param max_total_tokens: tokens in all; None for no limit.
    """

    max_in_flight: int = 50
    max_runs: int | None = None
    max_total_tokens: int | None = None

    def runs_left(self, state: State) -> float:
        """
        Return how many more runs may be started, whatever is under way.

        :param state: of the task.
        """
        left = math.inf
        if self.max_runs is not None:
            unknown = sum(one.is_lost and not one.unwanted for one in state.flight)
            left = self.max_runs - state.spent.started - unknown
        if self.max_total_tokens is not None:
            left = min(left, self._runs_of_tokens(state, self.max_total_tokens))
        return max(0, left)

    def _runs_of_tokens(self, state: State, most: int) -> int:
        ended = state.spent.started - len(state.task_ids)
        if state.spent.total_tokens >= most:
            return 0
        if ended <= 0 or not state.spent.total_tokens:
            return FIRST_RUNS - len(state.flight)
        each = state.spent.total_tokens / ended
        return int((most - state.spent.total_tokens) / each) - len(state.flight)

    def room(self, state: State) -> int:
        """
        Return how many runs may be started now.

        :param state: of the task.
        """
        return int(max(0, min(self.max_in_flight - len(state.flight), self.runs_left(state))))

    def exceeded(self, state: State) -> str | None:
        """
        Return the limit that ends the task although there are rows to ask about, or None.

        :param state: of the task.
        """
        if state.flight or not state.has_more or self.runs_left(state) >= 1:
            return None
        if self.max_runs is not None and state.spent.started >= self.max_runs:
            return f"max_runs={self.max_runs}"
        return f"max_total_tokens={self.max_total_tokens}"


def enough(state: State, *, more: bool) -> int:
    """
    Return how many runs in flight have to have ended to make a resume worth it.

    :param state: of the task.
    :param more: whether there is more to ask when they have.
    """
    known = sum(one.goes_on for one in state.flight)
    if any(one.ended or one.unwanted for one in state.flight):
        return known + 1  # there was no budget to read or stop some: that is what is waited for
    return max(1, math.ceil(known * SHARE)) if more else max(1, known)


def lost_until(state: State) -> float | None:
    """
    Return the Unix second at which it is time to look again for the runs whose submit was lost, or None.

    :param state: of the task.
    """
    lost = [one.at + LOST_GRACE for one in state.flight if one.is_lost]
    return min(lost) if lost else None
