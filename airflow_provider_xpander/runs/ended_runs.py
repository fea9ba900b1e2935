"""
The runs that have ended since a moment: which pages of the list show them, and which of them are news.

A round reads the list of tasks far enough back for the reader that was away for the longest.
Each reader has a cursor of its own, so that one that joins later, or comes back, misses nothing and hears
nothing twice. All times are those of the service, so clocks need not agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.runs.identity import read_mark
from airflow_provider_xpander.runs.polling.list_order import LearnedOrder, Order
from airflow_provider_xpander.runs.polling.listing import Row

MARGIN = 120.0
"""Seconds that a round reads further back than needed: a change may show later than others after it."""
LONGEST_RUN = 86_400.0
"""Seconds from the start of a run to its end, where the list does not show newest changes first."""
LONGEST_AWAY = 7 * 86_400.0
"""Seconds that a reader may have been away and still hear of all that has ended meanwhile."""
MOST_PAGES = 400
"""Pages of a round at the most."""


@dataclass(frozen=True, slots=True)
class Ended:
    """
    A run that has ended.

    :param id: the task.
    :param agent_id: who has run it.
    :param status: how it has ended.
    :param title: with the mark, if an Airflow has started it.
    :param at: Unix seconds of its last change.
    """

    id: str
    agent_id: str
    status: TaskStatus
    title: str
    at: float

    @property
    def key(self) -> str:
        """Twelve digits for this end: a thread may end again, later."""
        return hashlib.sha256(f"{self.id} {self.at}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Wanted:
    """
    The runs that a reader wants to hear of.

    :param agent_id: who runs them.
    :param statuses: how they end.
    :param title_contains: a part of their title, in any case; None for all.
    :param include_own: whether runs count that an Airflow has started.
    """

    agent_id: str
    statuses: frozenset[TaskStatus]
    title_contains: str | None = None
    include_own: bool = False

    def fits(self, run: Ended) -> bool:
        """
        Whether a run is one of them.

        :param run: the run.
        """
        return (
            run.agent_id == self.agent_id
            and run.status in self.statuses
            and (self.title_contains or "").casefold() in run.title.casefold()
            and (self.include_own or read_mark(run.title) is None)
        )


@dataclass(frozen=True)
class Round:
    """
    What one round through the list has shown.

    :param number: of the round.
    :param agent_id: whose runs it has read; None for those of all.
    :param since: Unix seconds of the change down to which it was read.
    :param newest: Unix seconds of the newest change in it, or ``since`` if there was none.
    :param ended: the runs that have ended since.
    """

    number: int
    agent_id: str | None
    since: float
    newest: float
    ended: tuple[Ended, ...]


class Cursor:
    """
    How far one reader has read.

    :param since: Unix seconds of the newest change that it knows of; None before its first round.
    :param told: the ends near that moment that it was told of, by their keys, with their moments.
    """

    def __init__(self, since: float | None = None, told: Mapping[str, float] | None = None) -> None:
        self.since = since
        self._told = dict(told or {})

    @property
    def bound(self) -> float | None:
        """Unix seconds of the change down to which a round has to be read for it; None for any depth."""
        return None if self.since is None else self.since - MARGIN

    def take(self, round_: Round, wanted: Wanted) -> list[Ended]:
        """
        Return what is news in a round, oldest first. The first round only tells where to begin.

        :param round_: the round.
        :param wanted: the runs that count.
        """
        bound = self.bound
        if round_.agent_id not in (None, wanted.agent_id) or (bound is not None and round_.since > bound):
            return []  # it was begun for others, and does not show enough
        fitting = sorted(filter(wanted.fits, round_.ended), key=lambda run: run.at)
        news = (
            [] if bound is None else [run for run in fitting if run.at >= bound and run.key not in self._told]
        )
        self.since = round_.newest if self.since is None else max(self.since, round_.newest)
        self._told |= {run.key: run.at for run in fitting}
        self._told = {key: at for key, at in self._told.items() if at >= self.since - MARGIN}
        return news

    def data(self) -> dict[str, Any]:
        """Return the cursor as plain JSON."""
        return {"since": self.since, "told": self._told}

    @classmethod
    def of(cls, data: Any, now: float) -> Cursor:
        """
        Read a cursor that was kept; a new one if it is none.

        :param data: plain JSON of :meth:`data`, or anything else.
        :param now: Unix seconds.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("since"), int | float):
            return cls()
        told = data.get("told")
        pairs = told.items() if isinstance(told, Mapping) else ()
        known = {str(key): at for key, at in pairs if isinstance(at, int | float)}
        return cls(max(data["since"], now - LONGEST_AWAY), known)


@dataclass
class RoundReader:
    """Reads rounds, page after page, and learns the order of the list, which is not documented."""

    number: int = 0
    pages: int = 0
    agent_id: str | None = None
    """Whose runs are to be listed; None for those of all."""
    since: float | None = None
    created_from: float | None = None
    """Unix seconds of the creation from which on tasks are to be listed; None for all."""
    _ended: dict[str, Ended] = field(default_factory=dict)
    _newest: float | None = None
    _learned: LearnedOrder = field(default_factory=LearnedOrder)

    def begin(self, bounds: Iterable[float | None], agents: Collection[str], now: float) -> None:
        """
        Begin a round.

        :param bounds: of the readers' cursors.
        :param agents: whose runs they want to hear of.
        :param now: Unix seconds.
        """
        self.agent_id = next(iter(agents)) if len(agents) == 1 else None
        self.since = min((bound for bound in bounds if bound is not None), default=None)
        known = self._learned.order is Order.UPDATED
        self.created_from = None if known else (now if self.since is None else self.since) - LONGEST_RUN
        self.number += 1
        self.pages = 0
        self._ended, self._newest = {}, None

    def take(self, rows: Sequence[Row], total_pages: int | None) -> bool:
        """
        Take a page, and tell whether the round goes on.

        :param rows: of the page.
        :param total_pages: how many pages there are, if the service said so.
        """
        self.pages += 1
        self._learned.take([row.updated for row in rows], [row.created for row in rows])
        moments = [moment for moment in map(_moment, rows) if moment is not None]
        self._newest = max([*moments, *([] if self._newest is None else [self._newest])], default=None)
        for row in rows:
            status, at = normalize_status(row.status), _moment(row)
            if status.is_terminal and at is not None:
                agent = str(row.item.get("agent_id") or self.agent_id or "")
                self._ended[row.id] = Ended(row.id, agent, status, str(row.item.get("title") or ""), at)
        if not rows or self.pages >= MOST_PAGES:
            return False
        if total_pages is not None and self.pages >= total_pages:
            return False
        bound = self.since if self.since is not None else (self._newest or 0.0) - MARGIN
        is_past = self._learned.order is Order.UPDATED and bool(moments) and min(moments) < bound
        return not is_past

    def finish(self) -> Round:
        """Return what the round has shown."""
        newest = self._newest if self._newest is not None else self.since or 0.0
        since = self.since if self.since is not None else newest - MARGIN
        ended = tuple(run for run in self._ended.values() if run.at >= since)
        return Round(self.number, self.agent_id, since, newest, ended)


def _moment(row: Row) -> float | None:
    return row.created if row.updated is None else row.updated
