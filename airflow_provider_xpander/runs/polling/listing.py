"""
Rounds through the list of one agent's tasks: which pages to read, and when they have told enough.

The order of the list is not documented, so it is learned (``list_order.py``). It decides how far a round
reads:

* newest changes first: down to the last change that is known;
* newest tasks first: down to the oldest task that is waited for;
* no order: until each task that is waited for was seen.

Where that takes many pages, lists of only the tasks that have ended or are paused take less
(``status_lists.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_xpander.api.routes import PAGE_SIZE
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.polling.list_order import LearnedOrder, Order
from airflow_provider_xpander.runs.polling.status_lists import StatusLists, StatusRound

LAG = 10.0
"""Seconds by which a change may show later than others that happened after it."""
CREATED_MARGIN = 5.0
"""Seconds that a list reaches back further than to the oldest run that is waited for: clocks differ."""
VERIFY_EVERY = 20
"""Every so many rounds all tasks are listed, even if a part of the list is expected to tell as much."""
DECIDE_EVERY = 4
"""The same while that is not certain: pages fit both orders, or lists by status have shown nothing yet."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    A task of a list, as far as a poll needs it.

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
    """
    Make a row out of an item; what cannot be read counts as unknown.

    :param item: as the service gave it, with an id.
    """
    status = item.get("status")
    return Row(
        item["id"],
        None if status is None else str(status),
        unix(item.get("created_at")),
        unix(item.get("updated_at")),
        item,
    )


def unix(value: Any) -> float | None:
    """
    Read a time stamp as Unix seconds; None if it is none.

    :param value: ISO 8601; UTC where it does not say.
    """
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass
class _ListRound:
    """
    One round through the list of all tasks.

    :param whole: whether it reads until each task was seen.
    :param down_to: Unix seconds of the change, or of the creation, down to which it reads; None for no bound.
    :param missing: ids of the tasks that it has not shown yet.
    :param most_pages: pages after which reading each task by itself takes no more.
    """

    whole: bool
    down_to: float | None
    missing: set[str]
    most_pages: int
    newest: float | None = None
    pages: int = 0
    statuses: Counter[str | None] = field(default_factory=Counter)


class Listing:
    """What rounds have taught about the list of one agent, and the round under way."""

    def __init__(self) -> None:
        self.cost = 1
        """Requests that a round is expected to take: as many as the last one, of whichever kind."""
        self.rounds = 0
        self.gave_up = False
        """Whether the last round was ended because reading each task by itself takes no more."""
        self.was_whole = False
        """Whether the last round has read the list to its end, or until each task was seen."""
        self._status_lists = StatusLists()
        self._learned = LearnedOrder()
        self._known_to: float | None = None
        """All changes up to this Unix second were seen."""
        self._since_whole = 0
        self._whole_cost = 1
        self._round: _ListRound | StatusRound | None = None

    @property
    def order(self) -> Order:
        """The list's order, as far as it is known."""
        return self._learned.order

    @property
    def in_round(self) -> bool:
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
        self._round = _ListRound(whole, down_to, set(waiting), max(2, len(waiting)))

    @property
    def may_use_status_lists(self) -> bool:
        """Whether the round that has begun reads all tasks for want of an order, and need not."""
        return (
            not self._learned.fits_changes
            and self._since_whole < self._every
            and self._status_lists.cost(self.rounds) < self._whole_cost
        )

    def use_status_lists(
        self, new: Collection[str], paused: Collection[str], more: int, share: float, now: float
    ) -> None:
        """
        Let the round that has begun be one through lists by status, if that takes less.

        :param new: ids of the tasks that were not seen executing yet: lists by status do not tell enough.
        :param paused: ids of the tasks that were seen paused last.
        :param more: requests that such a round takes besides the lists.
        :param share: of the list of all tasks that the list of new ones is expected to be.
        :param now: Unix seconds.
        """
        whole = self._round
        cost = self._status_lists.cost(self.rounds) + more + share * self._whole_cost
        if isinstance(whole, _ListRound) and cost < self._whole_cost:
            self._round = StatusRound(now, new, paused, whole.most_pages, whole)

    @property
    def status(self) -> TaskStatus | None:
        """The status of the tasks that the page to read next is to show; None is any."""
        return self._round.status if isinstance(self._round, StatusRound) else None

    @property
    def reads_status_lists(self) -> bool:
        """Whether the round under way is one through lists by status."""
        return isinstance(self._round, StatusRound)

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
        if isinstance(walk, StatusRound):
            return self._take_by_status(walk, rows, total_pages)
        walk.pages += 1
        self._learned.take([row.updated for row in rows], [row.created for row in rows])
        if walk.pages == 1 and rows:
            walk.newest = max((row.updated for row in rows if row.updated is not None), default=None)
        walk.missing.difference_update(row.id for row in rows)
        walk.statuses.update(row.status for row in rows)
        if (
            not rows
            or (total_pages is not None and walk.pages >= total_pages)
            or (walk.whole and not walk.missing)
            or self._is_deep_enough(walk, rows)
        ):
            self._finish(walk, total_pages)
            return False
        if walk.pages < walk.most_pages:
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
        if failed and self.reads_status_lists:
            self._status_lists.note_failure(self.rounds)
            self._since_whole = VERIFY_EVERY
        self._round = None

    def read_all(self) -> None:
        """Go on with a round through the list of all tasks: lists by status are no use."""
        self._status_lists.suspend(self.rounds)
        if isinstance(self._round, StatusRound):
            self._round = self._round.fallback

    @property
    def missing(self) -> Set[str]:
        """The tasks that the round under way has not shown yet; it shrinks as the round takes pages."""
        return self._round.missing if self._round else frozenset()

    def distrust(self) -> None:
        """Take note that a round has not shown a change: lists by status, or the order, are not relied on."""
        if self.order is not Order.UPDATED:
            self._status_lists.suspend(self.rounds)
            return
        self._learned.distrust_changes()

    def is_overlooked(self, row: Row) -> bool:
        """
        Whether a row tells of a change that rounds before should have shown.

        :param row: of the round under way.
        """
        if self.order is not Order.UPDATED:
            by_status = self.reads_status_lists
            return not by_status and self._status_lists.is_overlooked(row.status, row.updated)
        return self._known_to is not None and row.updated is not None and row.updated < self._known_to - LAG

    @property
    def _every(self) -> int:
        known = self.order is Order.UPDATED or (
            self.order is not Order.UNKNOWN and self._status_lists.is_proven
        )
        return VERIFY_EVERY if known else DECIDE_EVERY

    def _take_by_status(self, walk: StatusRound, rows: Sequence[Row], total_pages: int | None) -> bool:
        if not walk.take([row.id for row in rows], [row.status for row in rows], total_pages):
            self.read_all()
            return True
        if not walk.is_over:
            return True
        self.cost, self.was_whole = walk.read.total(), False
        self._status_lists.finish(walk)
        self._round = None
        return False

    def _finish(self, walk: _ListRound, total_pages: int | None) -> None:
        if not self._only_verifies(walk):
            self.cost = walk.pages
        self.was_whole = walk.whole
        if walk.whole:
            self._since_whole, self._whole_cost = 0, walk.pages
            self._status_lists.estimate(walk.statuses, walk.pages / max(walk.pages, total_pages or 0))
        if walk.newest is not None:
            self._known_to = max(self._known_to or 0.0, walk.newest)
        self._round = None

    def _only_verifies(self, walk: _ListRound) -> bool:
        """Whether a part of the list would have done: what the round takes says nothing about the others."""
        return walk.whole and self.order is Order.UPDATED and self._known_to is not None

    def _is_deep_enough(self, walk: _ListRound, rows: Sequence[Row]) -> bool:
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
