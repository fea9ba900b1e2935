"""
Lists by status: an agent's tasks that have ended or are paused, read where the list of all tasks is long.

List Tasks takes one status a call (contract 2.5). A task that was seen executing is in one of these lists as
soon as that changes, and the many that still execute fill none of their pages. A task that was not seen
executing yet may change without being in any of them. It is new, so a list of all tasks created since it was
is short.

A task that has ended never leaves its list. Others come in while the list is read; a task that they move to
a later page is read twice. A paused task may go on and leave its list, which can hide another one for one
round. A task that was paused and is not in the list of paused ones any more is read by itself.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_xpander.api.routes import PAGE_SIZE
from airflow_provider_xpander.api.status import TERMINAL_STATUSES, TaskStatus, normalize_status

LISTED_STATUSES = (*sorted(TERMINAL_STATUSES), TaskStatus.PAUSED)
ACTIVE_STATUSES = frozenset({TaskStatus.PENDING, TaskStatus.EXECUTING})
SUSPENDED_ROUNDS = 120
"""Rounds without lists by status after they were no use: an hour, at the usual interval."""
ACTIVE_ALLOWED = 1
"""Active tasks that these lists may show in a round: one may be resumed while its page is made."""
LAG_ALLOWED = 60.0
"""Seconds by which lists by status may be behind the list of all tasks, clocks that differ included."""


@dataclass
class StatusRound:
    """
    One round through the lists by status, each to its end.

    :param began: Unix seconds.
    :param new: ids of the tasks that are to be seen in whatever status they are; a list of them comes first.
    :param paused: ids of the tasks that are to be seen paused, unless they go on.
    :param most_pages: pages after which the round is no use.
    :param fallback: the round to go on with if it is no use.
    """

    began: float
    new: Collection[str]
    paused: Collection[str]
    most_pages: int
    fallback: Any
    pages: int = 0
    """How many pages of the present list were read."""
    read: Counter[TaskStatus | None] = field(default_factory=Counter)
    """How many pages of each list were read; that of the new tasks is None."""
    has_shown: bool = False
    """Whether a list by status has shown a task."""
    active: int = 0
    """How many active tasks the lists by status have shown."""

    def __post_init__(self) -> None:
        self.missing = {*self.new, *self.paused}
        self._lists: deque[TaskStatus | None] = deque(LISTED_STATUSES)
        if self.new:
            self._lists.appendleft(None)

    @property
    def is_over(self) -> bool:
        """Whether all lists were read."""
        return not self._lists

    @property
    def status(self) -> TaskStatus | None:
        """The status of the present list; None for that of the new tasks."""
        return self._lists[0] if self._lists else None

    def take(self, ids: Iterable[str], statuses: Sequence[str | None], total_pages: int | None) -> bool:
        """
        Take a page, and tell whether the round is of use.

        More than ``ACTIVE_ALLOWED`` active tasks in the lists by status count as a filter that is ignored:
        where these lists are read, many tasks are active, and an ignored filter would show them all.

        :param ids: of the tasks of the page.
        :param statuses: as the service spells them.
        :param total_pages: how many pages the list has, if the service said so.
        """
        self.missing.difference_update(ids)
        if self.status is not None and statuses:
            self.has_shown = True
            self.active += sum(normalize_status(status) in ACTIVE_STATUSES for status in statuses)
            if self.active > ACTIVE_ALLOWED:
                return False
        self.pages += 1
        self.read[self.status] += 1
        if (
            not statuses
            or (total_pages is not None and self.pages >= total_pages)
            or (self.status is None and self.missing.isdisjoint(self.new))
        ):
            self._lists.popleft()
            self.pages = 0
        return self.is_over or self.read.total() < self.most_pages


class StatusLists:
    """What rounds have taught about the lists by status of one agent."""

    def __init__(self) -> None:
        self.is_proven = False
        """Whether a list by status has shown a task since they were last suspended."""
        self._pages: Mapping[TaskStatus | None, int] | None = None
        self._suspended_until = 0
        self._failures = 0
        self._shown_to = float("-inf")
        """Unix seconds at which the last round began."""

    def cost(self, rounds: int) -> float:
        """
        Return what a round is expected to take in requests, infinity if these lists are not to be read.

        :param rounds: how many rounds of whatever kind there were.
        """
        if self._pages is None or rounds < self._suspended_until:
            return float("inf")
        return sum(max(1, self._pages.get(status, 0)) for status in LISTED_STATUSES)

    def estimate(self, statuses: Mapping[str | None, int], share: float) -> None:
        """
        Learn from a round through the list of all tasks.

        :param statuses: how many rows of each there were, as the service spells them.
        :param share: of the list that was read.
        """
        rows: Counter[TaskStatus | None] = Counter()
        for status, number in statuses.items():
            rows[normalize_status(status)] += number
        self._pages = {status: -(-int(number / share) // PAGE_SIZE) for status, number in rows.items()}

    def finish(self, walk: StatusRound) -> None:
        """
        Learn from a round through these lists.

        :param walk: the round, which is over.
        """
        self._pages, self._shown_to, self._failures = walk.read, walk.began, 0
        self.is_proven |= walk.has_shown

    def note_failure(self, rounds: int) -> None:
        """
        Take note that a round has failed; the second in a row is a reason to do without.

        :param rounds: how many rounds of whatever kind there were.
        """
        self._failures += 1
        if self._failures >= 2:
            self.suspend(rounds)

    def suspend(self, rounds: int) -> None:
        """
        Do without these lists for some time: the service does not give them, or they take too much.

        :param rounds: how many rounds of whatever kind there were.
        """
        self._suspended_until, self._failures = rounds + SUSPENDED_ROUNDS, 0
        self._shown_to, self.is_proven = float("-inf"), False

    def is_overlooked(self, status: str | None, updated: float | None) -> bool:
        """
        Whether a row of the list of all tasks tells of a change that these lists should have shown.

        :param status: as the service spells it.
        :param updated: Unix seconds of the change, None if unknown.
        """
        overlooked = updated is not None and updated < self._shown_to - LAG_ALLOWED
        return overlooked and normalize_status(status) in LISTED_STATUSES
