"""
Following many runs of one agent through the lists of its tasks at rest: those that have ended, or are paused.

List Tasks takes one status a call (contract 2.5). A run that was seen executing turns up in one of these
lists when that changes, and the many that go on fill none of their pages. A run that was not seen executing
yet has news that they do not show; it is young, so that a list of all tasks created since is short.

Ended tasks stay ended: while their list is read, others only come in, and what they move to a later page is
read twice. Paused tasks may go on, which can hide another one for a round. A paused run that these lists do
not show any more is looked at by itself.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_xpander.api.status import TERMINAL_STATUSES, TaskStatus, normalize_status

PAGE_SIZE = 50
AT_REST = (*sorted(TERMINAL_STATUSES), TaskStatus.PAUSED)
GOING_ON = frozenset({TaskStatus.PENDING, TaskStatus.EXECUTING})
AGAIN = 120
"""Rounds without lists by status after they were no use: an hour, at the usual interval."""
STRAYS = 1
"""Tasks that go on which these lists may show in a round: one may be resumed while its page is made."""
OVERLOOKED = 60.0
"""Seconds by which lists by status may be behind the whole one, clocks that differ included."""


@dataclass
class RestingRound:
    """
    One walk through the lists of tasks at rest, each to its end.

    :param began: Unix seconds.
    :param young: the tasks that are to be seen in whatever status they are; a list of them is read first.
    :param paused: the tasks that are to be seen paused, or else go on.
    :param may_cost: pages after which it is no use.
    :param instead: the round to go on with if it is no use.
    """

    began: float
    young: Collection[str]
    paused: Collection[str]
    may_cost: int
    instead: Any
    pages: int = 0
    """How many pages of the list under way were read."""
    read: Counter[TaskStatus | None] = field(default_factory=Counter)
    """How many pages of each list were read; that of the young ones is None."""
    has_shown: bool = False
    """Whether a list by status has shown a task."""
    strays: int = 0
    """How many tasks that go on the lists of those at rest have shown."""

    def __post_init__(self) -> None:
        self.unseen = {*self.young, *self.paused}
        self._lists: deque[TaskStatus | None] = deque(AT_REST)
        if self.young:
            self._lists.appendleft(None)

    @property
    def is_over(self) -> bool:
        """Whether all lists were read."""
        return not self._lists

    @property
    def status(self) -> TaskStatus | None:
        """The status of the list under way; None for that of the young tasks."""
        return self._lists[0] if self._lists else None

    def take(self, ids: Iterable[str], statuses: Sequence[str | None], total_pages: int | None) -> bool:
        """
        Take a page, and tell whether the lists are of use.

        More tasks that go on in the lists of tasks at rest than ``STRAYS`` count as a filter that is ignored:
        where these lists are read, many go on, and an ignored filter would show them all.

        :param ids: of the tasks of the page.
        :param statuses: as the service spells them.
        :param total_pages: how many pages the list has, if the service said so.
        """
        self.unseen.difference_update(ids)
        if self.status is not None and statuses:
            self.has_shown = True
            self.strays += sum(normalize_status(status) in GOING_ON for status in statuses)
            if self.strays > STRAYS:
                return False
        self.pages += 1
        self.read[self.status] += 1
        if (
            not statuses
            or (total_pages is not None and self.pages >= total_pages)
            or (self.status is None and self.unseen.isdisjoint(self.young))
        ):
            self._lists.popleft()
            self.pages = 0
        return self.is_over or self.read.total() < self.may_cost


class Resting:
    """What is known about the lists of one agent's tasks at rest."""

    def __init__(self) -> None:
        self.is_proven = False
        """Whether a list by status has shown anything since they were last no use."""
        self._pages: Mapping[TaskStatus | None, int] | None = None
        self._useless_until = 0
        self._broken_off = 0
        self._shown_to = float("-inf")
        """Unix seconds at which the last round began."""

    def cost(self, rounds: int) -> float:
        """
        Return what the lists by status are expected to take in requests, infinity if they are not to be read.

        :param rounds: how many rounds of whatever kind there were.
        """
        if self._pages is None or rounds < self._useless_until:
            return float("inf")
        return sum(max(1, self._pages.get(status, 0)) for status in AT_REST)

    def estimate(self, statuses: Mapping[str | None, int], share: float) -> None:
        """
        Learn from a walk through the whole list.

        :param statuses: how many rows of each there were, as the service spells them.
        :param share: of the list that was read.
        """
        rows: Counter[TaskStatus | None] = Counter()
        for status, number in statuses.items():
            rows[normalize_status(status)] += number
        self._pages = {status: -(-int(number / share) // PAGE_SIZE) for status, number in rows.items()}

    def finish(self, walk: RestingRound) -> None:
        """Learn from a round that is over."""
        self._pages, self._shown_to, self._broken_off = walk.read, walk.began, 0
        self.is_proven |= walk.has_shown

    def break_off(self, rounds: int) -> None:
        """Take note that a round has failed; the second in a row is a reason to do without."""
        self._broken_off += 1
        if self._broken_off >= 2:
            self.give_up(rounds)

    def give_up(self, rounds: int) -> None:
        """Take note that the service does not give these lists, or that they take too much."""
        self._useless_until, self._broken_off, self._shown_to = rounds + AGAIN, 0, float("-inf")
        self.is_proven = False

    def is_overlooked(self, status: str | None, updated: float | None) -> bool:
        """Whether a row of the whole list tells of a change that these lists should have shown."""
        overlooked = updated is not None and updated < self._shown_to - OVERLOOKED
        return overlooked and normalize_status(status) in AT_REST
