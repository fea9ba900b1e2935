"""Who is next: what is due comes first, and among agents that all have something due, each in its turn."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable

from airflow_provider_xpander.runs.polling.waiters import Agent, Waiter

Item = Waiter | Agent
"""A wait, which stands for a look at its run, or an agent, which stands for a round through its list."""


class Turns:
    """A timetable of items, and a ring of the agents that have some that are due."""

    def __init__(self) -> None:
        self._ring: deque[Agent] = deque()
        self._heap: list[tuple[float, int, Item, int]] = []
        self._number = itertools.count()
        self._bound = 1000

    @property
    def first_due(self) -> float:
        """The time at which the next item is due; minus infinity if one is due already."""
        if self._ring:
            return float("-inf")
        return self._heap[0][0] if self._heap else float("inf")

    def schedule(self, item: Item, early: float, slack: float = 0.0) -> None:
        """Let an item be due at ``early`` if there is budget to spare, ``slack`` seconds later else."""
        item.due = early + slack
        item.token += 1
        heapq.heappush(self._heap, (early, next(self._number), item, item.token))
        if len(self._heap) > self._bound:
            # What was planned anew or has gone has left entries behind.
            self._heap = [entry for entry in self._heap if _is_valid(entry[2], entry[3])]
            heapq.heapify(self._heap)
            self._bound = 1000 + 2 * len(self._heap)

    def wake(self, now: float, spare: bool, agent_of: Callable[[Waiter], Agent]) -> None:
        """Queue what is due; without budget to spare, what is early waits for its due time."""
        while self._heap and self._heap[0][0] <= now:
            _, _, item, token = heapq.heappop(self._heap)
            if not _is_valid(item, token):
                continue
            if item.due > now and not spare:
                heapq.heappush(self._heap, (item.due, next(self._number), item, token))
            else:
                self.queue(agent_of(item) if isinstance(item, Waiter) else item, item)

    def queue(self, agent: Agent, item: Item, *, front: bool = False) -> None:
        """Let an item be next among those of its agent, or the last of those that are due."""
        if not item.queued:
            item.queued = True
            if front:
                agent.ready.appendleft(item)
            else:
                agent.ready.append(item)
        self.rejoin(agent)

    def next_agent(self) -> Agent | None:
        """Take the agent whose turn it is out of the ring; None if nothing is due."""
        if not self._ring:
            return None
        agent = self._ring.popleft()
        agent.in_ring = False
        return agent

    def rejoin(self, agent: Agent) -> None:
        """Let an agent that has something due wait for its turn."""
        if agent.ready and not agent.in_ring:
            agent.in_ring = True
            self._ring.append(agent)


def _is_valid(item: Item, token: int) -> bool:
    return item.token == token and not (isinstance(item, Waiter) and item.gone)
