"""The waits, each with what its task was last seen like, gathered by the agent that runs the tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.runs.polling.listing import CREATED_MARGIN, Listing, Row
from airflow_provider_xpander.runs.watch import Watch

T = TypeVar("T")

LIST_FROM = 3
"""Tasks of one agent from which on its list is read instead of each task."""
GATHER = 1.0
"""Seconds without a further wait after which the first round of an agent begins: many come together."""
GATHERINGS = 5
"""The first round waits for them at most this many times as long."""
MISSES = 2
"""Rounds that may pass without showing a task; then it is read by itself."""
RETRY_MISSING = 120.0
"""Seconds after which such tasks are looked for in the list once more: it may only have lagged."""
RETRY_MISSING_MOST = 3600.0
"""The same, at the most; it is doubled each time."""
UNKNOWN_AGE = 3600.0
"""A run whose creation is unknown counts as created so many seconds before the wait for it began."""


@dataclass(slots=True, eq=False)
class Waiter(Generic[T]):
    """
    One wait for a task.

    :param watch: decides whether the wait is over.
    :param agent_id: of the agent or workflow, if known.
    :param created: Unix seconds at which the run was created, if known.
    :param began: Unix seconds at which the wait began.
    :param owner: who waits; nothing in ``runs/`` looks at it.
    :param gone: whether the wait is over, or nobody waits any more.
    :param queued: whether a read is queued; ``due_queue.py`` alone writes this, ``due`` and ``token``.
    :param in_flight: whether a read of the task is under way.
    :param in_list_before: whether a round has shown the task.
    :param misses: rounds in a row that should have shown the task and have not.
    :param read_at: Unix seconds at which the task was last read by itself.
    :param seen: its status, as the service spells it, and the Unix second of its last change, as last seen.
    :param due: Unix seconds for which the next read is planned.
    :param token: number of the plan; an entry of the timetable with another one is void.
    """

    watch: Watch
    agent_id: str | None
    created: float | None
    began: float
    owner: T
    gone: bool = False
    queued: bool = False
    in_flight: bool = False
    in_list_before: bool = False
    misses: int = 0
    read_at: float = 0.0
    seen: tuple[str | None, float | None] | None = None
    due: float = 0.0
    token: int = 0

    @property
    def is_unlisted(self) -> bool:
        """Whether no list can end it: a turn of an older thread, or a task that the list does not show."""
        return self.agent_id is None or self.watch.newer_than is not None or self.misses >= MISSES

    @property
    def earliest(self) -> float:
        """Unix seconds before which the run was not created."""
        return self.began - UNKNOWN_AGE if self.created is None else self.created

    @property
    def paused(self) -> bool | None:
        """
        Whether the run is paused, rather than executing, as last seen.

        None if it was neither, or if no list has shown it, or the last whole one has not: then lists by
        status do not tell enough about it.
        """
        if self.seen is None or not self.in_list_before or self.misses:
            return None
        status = normalize_status(self.seen[0])
        return status is TaskStatus.PAUSED if status in (TaskStatus.PAUSED, TaskStatus.EXECUTING) else None

    def is_news(self, row: Row) -> bool:
        """
        Whether a row differs from what was last seen, and is not older than that.

        :param row: of the task.
        """
        if self.seen is None:
            return True
        known = self.seen[1]
        stale = known is not None and row.updated is not None and row.updated < known
        return not stale and (row.status, row.updated) != self.seen

    def has_other_status(self, row: Row) -> bool:
        """
        Whether a row has another status than was last seen, rather than another word for the same.

        :param row: of the task.
        """
        return self.seen is None or normalize_status(self.seen[0]) is not normalize_status(row.status)


def created_since(waiters: Iterable[Waiter[T]]) -> float:
    """
    Return the Unix second from which on a list has to show created tasks; infinity for no waits.

    :param waiters: the waits whose tasks it has to show.
    """
    return min((waiter.earliest for waiter in waiters), default=float("inf")) - CREATED_MARGIN


@dataclass(eq=False)
class AgentQueue(Generic[T]):
    """
    The waits for tasks of one agent, what is queued for them, and the agent's list.

    :param id: of the agent or workflow; None gathers the waits for tasks of unknown agents.
    :param waiters_of: the waits for each task.
    :param queue: what is due. ``due_queue.py`` alone writes it, ``in_ring``, ``queued``, ``due``, ``token``.
    :param listed: whether the list is read instead of each task.
    :param list_from: Unix seconds before which the list is not read.
    :param failures: pages in a row that could not be read.
    :param listed_at: Unix seconds at which it was decided to read the list.
    :param joined_at: Unix seconds at which the last wait was added.
    :param round_began: Unix seconds.
    :param from_date: Unix seconds of the creation from which on the round reads tasks.
    :param new_from: the same for its list of tasks that were not seen executing yet.
    :param retry_missing_at: Unix seconds at which tasks that rounds have missed are looked for again.
    :param retry_missing_after: seconds to the time after that.
    :param in_ring: whether it waits for its turn.
    :param in_flight: whether a page of the list is being read.
    """

    id: str | None
    waiters_of: dict[str, list[Waiter[T]]] = field(default_factory=dict)
    queue: deque[Waiter[T] | AgentQueue[T]] = field(default_factory=deque)
    listed: bool = False
    list_from: float = float("-inf")
    failures: int = 0
    listed_at: float = float("-inf")
    joined_at: float = float("-inf")
    round_began: float = float("-inf")
    from_date: float = 0.0
    new_from: float = 0.0
    retry_missing_at: float = float("inf")
    retry_missing_after: float = RETRY_MISSING
    in_ring: bool = False
    queued: bool = False
    in_flight: bool = False
    due: float = float("inf")
    token: int = 0
    _listing: Listing | None = None

    @property
    def listing(self) -> Listing:
        """The list, made when it is first read: one or two waits need none."""
        if self._listing is None:
            self._listing = Listing()
        return self._listing

    @property
    def in_round(self) -> bool:
        """Whether a round through the list is under way."""
        return self._listing is not None and self._listing.in_round

    @property
    def round_cost(self) -> int:
        """Requests that a round through the list is expected to take."""
        return 1 if self._listing is None else self._listing.cost

    @property
    def waiters(self) -> Iterator[Waiter[T]]:
        """All waits."""
        return (waiter for same in self.waiters_of.values() for waiter in same)

    @property
    def longest_interval(self) -> float:
        """The longest poll interval of its waits, in seconds."""
        return max((waiter.watch.poll_interval for waiter in self.waiters), default=0.0)

    @property
    def shortest_interval(self) -> float:
        """The shortest poll interval of its waits, in seconds."""
        return min((waiter.watch.poll_interval for waiter in self.waiters), default=0.0)

    @property
    def gathering(self) -> float:
        """Seconds that the first round waits for a further wait."""
        return min(GATHER, self.shortest_interval / 4)

    @property
    def round_from(self) -> float:
        """Unix seconds from which on a round may begin; only the first one waits for others to come along."""
        if self._listing is not None and self._listing.rounds:
            return float("-inf")
        return min(self.joined_at + self.gathering, self.listed_at + GATHERINGS * self.gathering)

    @property
    def in_list(self) -> dict[str, Waiter[T]]:
        """One wait for each task whose wait the list may end."""
        return {
            task_id: waiter
            for task_id, same in self.waiters_of.items()
            for waiter in same
            if not waiter.is_unlisted
        }

    def _begin_round(self, now: float) -> None:
        """Begin a round through the list of all tasks, or through lists by status, whichever takes less."""
        in_list = self.in_list
        self.round_began = now
        self.listing.begin(
            {task_id: waiter.created for task_id, waiter in in_list.items()},
            [waiter.created for waiter in in_list.values() if not waiter.in_list_before],
        )
        self.from_date = created_since(in_list.values())
        if not self.listing.may_use_status_lists:
            return
        paused = [(waiter, waiter.paused) for waiter in in_list.values()]
        new = [waiter for waiter, is_paused in paused if is_paused is None]
        self.new_from = created_since(new)
        self.listing.use_status_lists(
            {waiter.watch.task_id for waiter in new},
            {waiter.watch.task_id for waiter, is_paused in paused if is_paused},
            # Reads of single tasks that the list of all tasks might show again.
            sum(waiter.misses >= MISSES for waiter in self.waiters),
            (now - self.new_from) / (now - self.from_date) if new else 0.0,
            now,
        )

    def end_round(self) -> None:
        """Let the round under way, if any, end without a result."""
        if self._listing is not None:
            self._listing.abandon()

    def next_page(self, now: float) -> ReadPage[T]:
        """
        Return the page to read next, of a new round if none is under way.

        :param now: Unix seconds.
        """
        if not self.in_round:
            self._begin_round(now)
        listing = self.listing
        new_only = listing.reads_status_lists and listing.status is None
        created = self.new_from if new_only else self.from_date
        return ReadPage(self, listing.page, created, listing.status)

    def note_miss(self, waiter: Waiter[T], now: float) -> None:
        """
        Take note that a round has not shown a task that it should have shown.

        :param waiter: the wait for it.
        :param now: Unix seconds.
        """
        waiter.misses += 1
        if waiter.misses >= MISSES:
            self.retry_missing_at = min(self.retry_missing_at, now + self.retry_missing_after)

    def retry_missing(self, now: float) -> bool:
        """
        Let the tasks that rounds have missed be looked for in the list once more; return whether it is time.

        :param now: Unix seconds.
        """
        if now < self.retry_missing_at:
            return False
        self.retry_missing_at = float("inf")
        self.retry_missing_after = min(2 * self.retry_missing_after, RETRY_MISSING_MOST)
        for waiter in self.waiters:
            if waiter.misses >= MISSES:
                waiter.misses, waiter.in_list_before = MISSES - 1, False
        return True

    def should_list(self, now: float) -> bool:
        """
        Whether a round through the list takes less than a read of each task.

        :param now: Unix seconds.
        """
        many = len(self.waiters_of) >= max(LIST_FROM, self.round_cost + 1)
        return many and self.id is not None and now >= self.list_from

    def is_listed(self, waiter: Waiter[T]) -> bool:
        """
        Whether the list is read for a wait.

        :param waiter: one of its waits.
        """
        return self.listed and not waiter.is_unlisted


@dataclass(frozen=True)
class ReadTask(Generic[T]):
    """
    Read one task.

    :param waiter: the wait for it.
    :param priority: of the request.
    """

    waiter: Waiter[T]
    priority: Priority

    @property
    def longest_interval(self) -> float:
        """Seconds that those who wait for it wait between two polls at the most."""
        return self.waiter.watch.poll_interval


@dataclass(frozen=True)
class ReadPage(Generic[T]):
    """
    Read one page of an agent's list.

    :param agent: whose list.
    :param number: of the page, from 1.
    :param from_date: Unix seconds; only tasks that were created since are needed.
    :param status: only tasks in this one are needed; None is any.
    :param priority: of the request.
    """

    agent: AgentQueue[T]
    number: int
    from_date: float
    status: TaskStatus | None = None
    priority: Priority = Priority.POLL

    @property
    def longest_interval(self) -> float:
        """Seconds that those who wait for it wait between two polls at the most."""
        return self.agent.longest_interval


Action: TypeAlias = ReadTask[T] | ReadPage[T]
