"""
The queue of what is due: a timetable of items, and a ring in which agents take turns.

An item is a wait, which stands for a read of its task, or an agent, which stands for a page of its list. It
is *scheduled* for a time, then *queued* at its agent, then *taken*. The fields ``due``, ``token``, ``queued``
of an item and ``queue``, ``in_ring`` of an agent are written here only.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Mapping
from typing import Generic, TypeAlias

from airflow_provider_xpander.runs.polling.waiters import AgentQueue, T, Waiter

Item: TypeAlias = Waiter[T] | AgentQueue[T]

NEVER = float("inf")


class DueQueue(Generic[T]):
    """
    Tell which item comes next.

    :param agents: all agents, by id; their owner may add some at any time.
    """

    def __init__(self, agents: Mapping[str | None, AgentQueue[T]]) -> None:
        self._agents = agents
        self._ring: deque[AgentQueue[T]] = deque()
        self._timetable: list[tuple[float, int, Item[T], int]] = []
        self._number = itertools.count()
        self._bound = 1000

    @property
    def first_due(self) -> float:
        """The Unix second at which the next item is due; minus infinity if one is due already."""
        if self._ring:
            return -NEVER
        return self._timetable[0][0] if self._timetable else NEVER

    def schedule(self, item: Item[T], early: float, slack: float = 0.0) -> None:
        """
        Let an item be due at a time, instead of what was planned for it before.

        :param item: a wait or an agent.
        :param early: Unix seconds at which it is due if there is budget to spare.
        :param slack: seconds later that it is due otherwise.
        """
        item.due = early + slack
        item.token += 1
        heapq.heappush(self._timetable, (early, next(self._number), item, item.token))
        if len(self._timetable) > self._bound:
            # Entries of items that were scheduled again, or have gone, are still there.
            self._timetable = [entry for entry in self._timetable if _is_valid(entry[2], entry[3])]
            heapq.heapify(self._timetable)
            self._bound = 1000 + 2 * len(self._timetable)

    def unschedule(self, item: Item[T]) -> None:
        """
        Take an item off the timetable.

        :param item: a wait or an agent.
        """
        item.due = NEVER
        item.token += 1

    def queue_due(self, now: float, spare: bool) -> None:
        """
        Queue what is due.

        :param now: Unix seconds.
        :param spare: whether there is budget to spare; if not, an item that has slack waits for its end.
        """
        while self._timetable and self._timetable[0][0] <= now:
            _, _, item, token = heapq.heappop(self._timetable)
            if not _is_valid(item, token):
                continue
            if item.due > now and not spare:
                heapq.heappush(self._timetable, (item.due, next(self._number), item, token))
            else:
                self.queue(item)

    def queue(self, item: Item[T], *, first: bool = False) -> None:
        """
        Queue an item at its agent, whatever is planned for it.

        :param item: a wait or an agent.
        :param first: whether it comes before, rather than after, all else that is queued at this agent.
        """
        agent = self._agents[item.agent_id] if isinstance(item, Waiter) else item
        if not item.queued:
            item.queued = True
            if first:
                agent.queue.appendleft(item)
            else:
                agent.queue.append(item)
        self.end_turn(agent)

    def begin_turn(self) -> AgentQueue[T] | None:
        """Return the agent whose turn it is; None if nothing is due. :meth:`end_turn` has to follow."""
        if not self._ring:
            return None
        agent = self._ring.popleft()
        agent.in_ring = False
        return agent

    def take(self, agent: AgentQueue[T]) -> Item[T] | None:
        """
        Take the next item of an agent; nothing is planned for it then.

        :param agent: whose turn it is.
        """
        if not agent.queue:
            return None
        item = agent.queue.popleft()
        item.queued = False
        self.unschedule(item)
        return item

    def end_turn(self, agent: AgentQueue[T]) -> None:
        """
        Put an agent that has something queued at the end of the ring.

        :param agent: whose turn it was.
        """
        if agent.queue and not agent.in_ring:
            agent.in_ring = True
            self._ring.append(agent)


def _is_valid(item: Item[T], token: int) -> bool:
    return item.token == token and not (isinstance(item, Waiter) and item.gone)
