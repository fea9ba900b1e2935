"""Who waits, gathered by the agent that runs it, and what can be asked for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.runs.polling.listing import CREATED_MARGIN, Listing, Row
from airflow_provider_xpander.runs.watch import Watch

LIST_FROM = 3
"""Runs of one agent from which on its list is read instead of each run."""
GATHER = 1.0
"""Seconds without a further wait after which the first round of an agent begins: many come together."""
GATHERINGS = 5
"""Times as long as that the first round waits for them at the most."""
MISSES = 2
"""Rounds that may pass without showing a run; then it is looked at by itself."""
CHANCE_FIRST = 120.0
"""Seconds after which such runs are looked for in the list once more: it may only have lagged."""
CHANCE_MOST = 3600.0
"""The same, at the most; it is doubled each time."""
UNKNOWN_AGE = 3600.0
"""Seconds before the wait for it that a run is taken to have been created, if that is unknown."""


@dataclass(slots=True, eq=False)
class Waiter:
    """
    One wait.

    :param watch: decides about it.
    :param agent_id: of the agent or workflow, if known.
    :param created: Unix seconds at which the run was created, if known.
    :param began: Unix seconds at which the wait began.
    :param tag: whatever the owner of the plan wants to keep with it.
    """

    watch: Watch
    agent_id: str | None
    created: float | None
    began: float
    tag: Any = None
    gone: bool = False
    queued: bool = False
    flying: bool = False
    sighted: bool = False
    misses: int = 0
    looked_at: float = 0.0
    last: tuple[str | None, float | None] | None = None
    due: float = 0.0
    token: int = 0

    @property
    def is_own(self) -> bool:
        """Whether no list can settle it: a turn of an older thread, or a run that the list does not show."""
        return self.agent_id is None or self.watch.newer_than is not None or self.misses >= MISSES

    @property
    def earliest(self) -> float:
        """Unix seconds before which the run was not created."""
        return self.began - UNKNOWN_AGE if self.created is None else self.created

    @property
    def paused(self) -> bool | None:
        """
        Whether the run is paused, rather than executing, as last seen.

        None if it was neither, or if no list has shown it, or the last whole one has not: then lists of tasks
        at rest do not tell enough about it.
        """
        if self.last is None or not self.sighted or self.misses:
            return None
        status = normalize_status(self.last[0])
        return status is TaskStatus.PAUSED if status in (TaskStatus.PAUSED, TaskStatus.EXECUTING) else None

    def has_news(self, row: Row) -> bool:
        """Whether a row tells something, rather than what is known or older than that."""
        if self.last is None:
            return True
        known = self.last[1]
        stale = known is not None and row.updated is not None and row.updated < known
        return not stale and (row.status, row.updated) != self.last

    def differs(self, row: Row) -> bool:
        """Whether a row tells of another status than the one last seen, and not only another word for it."""
        return self.last is None or normalize_status(self.last[0]) is not normalize_status(row.status)


def since(waiters: Iterable[Waiter]) -> float:
    """Return the creation from which on a list has to show tasks for some waits; infinity for none."""
    return min((waiter.earliest for waiter in waiters), default=float("inf")) - CREATED_MARGIN


@dataclass(eq=False)
class Agent:
    """The waits for runs of one agent, and its list."""

    id: str | None
    tasks: dict[str, list[Waiter]] = field(default_factory=dict)
    listing: Listing = field(default_factory=Listing)
    ready: deque[Waiter | Agent] = field(default_factory=deque)
    listed: bool = False
    list_from: float = float("-inf")
    failures: int = 0
    listed_at: float = float("-inf")
    joined: float = float("-inf")
    began: float = float("-inf")
    from_date: float = 0.0
    young_from: float = 0.0
    chance_at: float = float("inf")
    chance_after: float = CHANCE_FIRST
    in_ring: bool = False
    queued: bool = False
    flying: bool = False
    due: float = float("inf")
    token: int = 0

    @property
    def waiters(self) -> Iterator[Waiter]:
        """All waits."""
        return (waiter for same in self.tasks.values() for waiter in same)

    @property
    def slowest(self) -> float:
        """The longest of their intervals."""
        return max((waiter.watch.poll_interval for waiter in self.waiters), default=0.0)

    @property
    def quickest(self) -> float:
        """The shortest of their intervals."""
        return min((waiter.watch.poll_interval for waiter in self.waiters), default=0.0)

    @property
    def gathering(self) -> float:
        """Seconds for which others are waited for that may come along."""
        return min(GATHER, self.quickest / 4)

    @property
    def gathered_at(self) -> float:
        """Unix seconds from which on a round may begin; only the first one waits for others to come along."""
        if self.listing.rounds:
            return float("-inf")
        return min(self.joined + self.gathering, self.listed_at + GATHERINGS * self.gathering)

    @property
    def in_list(self) -> dict[str, Waiter]:
        """One wait for each run that the list may settle."""
        return {
            task_id: waiter for task_id, same in self.tasks.items() for waiter in same if not waiter.is_own
        }

    def begin_round(self, now: float) -> None:
        """Begin a round through the whole list, or those of tasks at rest, whichever takes less."""
        in_list = self.in_list
        self.began, self.due = now, float("inf")
        self.listing.begin(
            {task_id: waiter.created for task_id, waiter in in_list.items()},
            [waiter.created for waiter in in_list.values() if not waiter.sighted],
        )
        self.from_date = since(in_list.values())
        if not self.listing.may_rest:
            return
        seen = [(waiter, waiter.paused) for waiter in in_list.values()]
        young = [waiter for waiter, paused in seen if paused is None]
        self.young_from = since(young)
        self.listing.rest(
            {waiter.watch.task_id for waiter in young},
            {waiter.watch.task_id for waiter, paused in seen if paused},
            # Looks at those that a walk through the whole list might show again.
            sum(waiter.misses >= MISSES for waiter in self.waiters),
            (now - self.young_from) / (now - self.from_date) if young else 0.0,
            now,
        )

    @property
    def page(self) -> ReadPage:
        """The page that the round under way reads next."""
        listing = self.listing
        young = listing.is_resting and listing.status is None
        created = self.young_from if young else self.from_date
        return ReadPage(self, listing.page, created, listing.status)

    def missed(self, waiter: Waiter, now: float) -> None:
        """Take note that a round has not shown a run that it should have shown."""
        waiter.misses += 1
        if waiter.misses >= MISSES:
            self.chance_at = min(self.chance_at, now + self.chance_after)

    def give_chance(self, now: float) -> bool:
        """Let the runs that lists have not shown be looked for there once more, if it is time."""
        if now < self.chance_at:
            return False
        self.chance_at, self.chance_after = float("inf"), min(2 * self.chance_after, CHANCE_MOST)
        for waiter in self.waiters:
            if waiter.misses >= MISSES:
                waiter.misses, waiter.sighted = MISSES - 1, False
        return True

    def should_list(self, now: float) -> bool:
        """Whether reading the list takes less than looking at each run."""
        many = len(self.tasks) >= max(LIST_FROM, self.listing.cost + 1)
        return many and self.id is not None and now >= self.list_from

    def is_listed(self, waiter: Waiter) -> bool:
        """Whether the list is read for this wait."""
        return self.listed and not waiter.is_own


@dataclass(frozen=True)
class Look:
    """Read one task."""

    waiter: Waiter
    priority: Priority


@dataclass(frozen=True)
class ReadPage:
    """
    Read one page of an agent's list.

    :param from_date: Unix seconds; only tasks that were created since are needed.
    :param status: only tasks in this one are needed; None is any.
    """

    agent: Agent
    number: int
    from_date: float
    status: TaskStatus | None = None
    priority: Priority = Priority.POLL


Action = Look | ReadPage
