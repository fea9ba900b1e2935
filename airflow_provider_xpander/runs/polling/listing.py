"""
Following many runs of one agent through its list: which pages to read, and when they have told enough.

The order of the list is undocumented and so learned (``list_order.py``). Where it shows newest changes first,
the pages down to the last known change tell all; where it shows newest tasks first, those down to the oldest
run that is waited for; else all pages are read, until each run was seen. Where those are many, lists of only
the tasks that have ended or are paused mostly do (``runs/polling/status_lists.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.polling.list_order import LearnedOrder, Order
from airflow_provider_xpander.runs.polling.status_lists import PAGE_SIZE, Resting, RestingRound

LAG = 10.0
"""Seconds by which a change may show later than others that happened after it."""
CREATED_MARGIN = 5.0
"""Seconds before the oldest run that is waited for was created, from which on tasks are asked for."""
VERIFY_EVERY = 20
"""Every so many rounds the whole list is read although a part would do, as far as is known."""
DECIDE_EVERY = 4
"""The same while that is not known yet: pages fit both orders, or lists by status have shown nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    A task of a list, as far as a poll looks at it.

    :param id: the task.
    :param status: as the service spells it.
    :param created: Unix seconds, None if unknown.
    :param updated: Unix seconds, None if unknown.
    :param item: the whole item.
    """

    id: str
    status: str | None
    created: float | None
    updated: float | None
    item: Mapping[str, Any] = field(repr=False)


def row_of(item: Mapping[str, Any]) -> Row:
    """Make a row out of an item; what cannot be read counts as unknown."""
    status = item.get("status")
    return Row(
        item["id"],
        None if status is None else str(status),
        unix(item.get("created_at")),
        unix(item.get("updated_at")),
        item,
    )


def unix(value: Any) -> float | None:
    """Read a time stamp as Unix seconds; naive is UTC, what is none is None."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass
class _Round:
    """One walk through the pages."""

    whole: bool
    down_to: float | None
    unseen: set[str]
    newest: float | None = None
    pages: int = 0
    may_cost: int = 2
    statuses: Counter[str | None] = field(default_factory=Counter)


class Listing:
    """
    What is known about the list of one agent.

    ``cost`` is what a round is expected to take in requests: as many as the last one, of whichever kind.
    """

    def __init__(self) -> None:
        self.cost = 1
        self.rounds = 0
        self.gave_up = False
        """Whether the last round was ended because looking at each run by itself costs no more."""
        self.was_whole = False
        """Whether the last round has read the list to its end, or to the last run that is waited for."""
        self.resting = Resting()
        self._learned = LearnedOrder()
        self._known_to: float | None = None
        """All changes up to this Unix second were seen."""
        self._since_whole = 0
        self._whole_cost = 1
        self._round: _Round | RestingRound | None = None

    @property
    def order(self) -> Order:
        """The list's order, as far as it is known."""
        return self._learned.order

    @property
    def is_walking(self) -> bool:
        """Whether a round is under way."""
        return self._round is not None

    def begin(self, waiting: Mapping[str, float | None], new: Sequence[float | None]) -> None:
        """
        Begin a round.

        :param waiting: the tasks that are waited for, with their creation in Unix seconds, if known.
        :param new: the creation of those among them that no round has shown yet.
        """
        self.rounds += 1
        self.gave_up = False
        whole = self._known_to is None or not self._learned.fits_changes
        self._since_whole += 1
        all_pages = -(-len(waiting) // PAGE_SIZE)
        if self.order is Order.UNKNOWN and all_pages <= 2:
            whole = True
        if self._since_whole >= self._every:
            whole = True
        down_to = self._known_to
        if not whole:
            if any(moment is None for moment in new):
                whole = True
            elif new:
                down_to = min(down_to or 0.0, *(moment for moment in new if moment is not None))
        if self.order is Order.CREATED:
            down_to = min((moment or 0.0 for moment in waiting.values()), default=None)
        elif whole:
            down_to = None
        self._round = _Round(whole, down_to, set(waiting), may_cost=max(2, len(waiting)))

    @property
    def may_rest(self) -> bool:
        """Whether the round that has begun reads all for want of an order, and need not."""
        return (
            not self._learned.fits_changes
            and self._since_whole < self._every
            and self.resting.cost(self.rounds) < self._whole_cost
        )

    def rest(
        self, young: Collection[str], paused: Collection[str], more: int, share: float, now: float
    ) -> None:
        """
        Let the round that has begun be one through the lists of tasks at rest, if that takes less.

        :param young: the tasks that these lists do not tell enough about: they were not seen going on yet.
        :param paused: the tasks that were seen paused last.
        :param more: requests that it takes more than the lists.
        :param share: of the whole list that the list of young tasks is expected to be.
        :param now: Unix seconds.
        """
        whole = self._round
        cost = self.resting.cost(self.rounds) + more + share * self._whole_cost
        if isinstance(whole, _Round) and cost < self._whole_cost:
            self._round = RestingRound(now, young, paused, whole.may_cost, whole)

    @property
    def status(self) -> TaskStatus | None:
        """The status of the tasks that the page to read next is to show; None is any."""
        return self._round.status if isinstance(self._round, RestingRound) else None

    @property
    def is_resting(self) -> bool:
        """Whether the round under way is one through the lists of tasks at rest."""
        return isinstance(self._round, RestingRound)

    @property
    def page(self) -> int:
        """The page to read next, from 1."""
        return self._round.pages + 1 if self._round else 1

    def take(self, rows: Sequence[Row], total_pages: int | None) -> bool:
        """
        Take a page, and tell whether the round goes on.

        :param rows: of the page.
        :param total_pages: how many pages there are, if the service said so.
        """
        walk = self._round
        if walk is None:
            return False
        if isinstance(walk, RestingRound):
            return self._take_resting(walk, rows, total_pages)
        walk.pages += 1
        self._learned.take([row.updated for row in rows], [row.created for row in rows])
        if walk.pages == 1 and rows:
            walk.newest = max((row.updated for row in rows if row.updated is not None), default=None)
        walk.unseen.difference_update(row.id for row in rows)
        walk.statuses.update(row.status for row in rows)
        if (
            not rows
            or (total_pages is not None and walk.pages >= total_pages)
            or (walk.whole and not walk.unseen)
            or self._is_deep_enough(walk, rows)
        ):
            self._finish(walk, total_pages)
            return False
        if walk.pages < walk.may_cost:
            return True
        if self._only_verifies(walk):
            self._since_whole, self.was_whole = 0, False
        else:
            self.gave_up = True
        self._round = None
        return False

    def abandon(self, *, failed: bool = False) -> None:
        """
        End a round: what it should have shown is still to be seen.

        :param failed: whether a page could not be read.
        """
        if failed and self.is_resting:
            self.resting.break_off(self.rounds)
            self._since_whole = VERIFY_EVERY
        self._round = None

    def read_whole(self) -> None:
        """Go on with a walk through the whole list: the lists of tasks at rest are no use."""
        self.resting.give_up(self.rounds)
        if isinstance(self._round, RestingRound):
            self._round = self._round.instead

    @property
    def unseen(self) -> Set[str]:
        """The tasks that the round under way has not shown yet; it shrinks as the round takes pages."""
        return self._round.unseen if self._round else frozenset()

    def distrust(self) -> None:
        """Take note that a change was not where it should have been: do not rely on what has hidden it."""
        if self.order is not Order.UPDATED:
            self.resting.give_up(self.rounds)
            return
        self._learned.distrust_changes()

    def is_overlooked(self, row: Row) -> bool:
        """Whether a row tells of a change that rounds before should have shown."""
        if self.order is not Order.UPDATED:
            return not self.is_resting and self.resting.is_overlooked(row.status, row.updated)
        return self._known_to is not None and row.updated is not None and row.updated < self._known_to - LAG

    @property
    def _every(self) -> int:
        known = self.order is Order.UPDATED or (self.order is not Order.UNKNOWN and self.resting.is_proven)
        return VERIFY_EVERY if known else DECIDE_EVERY

    def _take_resting(self, walk: RestingRound, rows: Sequence[Row], total_pages: int | None) -> bool:
        if not walk.take([row.id for row in rows], [row.status for row in rows], total_pages):
            self.read_whole()
            return True
        if not walk.is_over:
            return True
        self.cost, self.was_whole = walk.read.total(), False
        self.resting.finish(walk)
        self._round = None
        return False

    def _finish(self, walk: _Round, total_pages: int | None) -> None:
        if not self._only_verifies(walk):
            self.cost = walk.pages
        self.was_whole = walk.whole
        if walk.whole:
            self._since_whole, self._whole_cost = 0, walk.pages
            self.resting.estimate(walk.statuses, walk.pages / max(walk.pages, total_pages or 0))
        if walk.newest is not None:
            self._known_to = max(self._known_to or 0.0, walk.newest)
        self._round = None

    def _only_verifies(self, walk: _Round) -> bool:
        """Whether a part of the list would have done: what the round takes says nothing about the others."""
        return walk.whole and self.order is Order.UPDATED and self._known_to is not None

    def _is_deep_enough(self, walk: _Round, rows: Sequence[Row]) -> bool:
        if walk.down_to is None:
            return False
        if self.order is Order.CREATED:
            times = [row.created for row in rows]
        elif walk.whole or self.order is Order.NONE:
            return False
        else:
            times = [row.updated for row in rows]
        known = [time for time in times if time is not None]
        return len(known) == len(times) and bool(known) and min(known) < walk.down_to - LAG
