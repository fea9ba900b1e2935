"""
What a poller asks next, for many waits on one connection: one run, or a page of an agent's list.

It decides; it neither waits nor asks. ``now`` is always in Unix seconds of a clock that never jumps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from airflow_provider_xpander.api.retry import jittered
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.runs.polling.due_queue import Turns
from airflow_provider_xpander.runs.polling.listing import Row
from airflow_provider_xpander.runs.polling.waiters import Action, Agent, Look, ReadPage, Waiter
from airflow_provider_xpander.runs.timing import CHECK_MOST, check_interval

LIST_AGAIN = 600.0
"""Seconds without the list after it was no use."""
LIST_RETRY = 120.0
"""Seconds without the list after it has failed while other requests have not."""
LIST_FAILURES = 4
"""Failures in a row for that: to look at each of thousands of runs is the greater evil."""
OUTAGE_FROM = 3
"""Failures in a row, of whatever kind, after which only one request at a time tries whether it is over."""
OUTAGE_STEP = 2.0
"""Seconds to the next try in an outage; doubled for each further one, up to the interval."""


class Plan:
    """
    Whom to look at next. Agents take turns, and nothing is asked before it is due.

    :param rng: gives a float in [0, 1) for the jitter.
    """

    def __init__(self, rng: Callable[[], float] = random.random) -> None:
        self.waiting = 0
        self.flying = 0
        self.failures = 0
        self._quiet_until = float("-inf")
        self._rng = rng
        self._agents: dict[str | None, Agent] = {}
        self._turns = Turns()

    @property
    def waiters(self) -> list[Waiter]:
        """All waits."""
        return [waiter for agent in self._agents.values() for waiter in agent.waiters]

    def add(self, waiter: Waiter, now: float) -> None:
        """Take a wait in."""
        agent = self._agents.setdefault(waiter.agent_id, Agent(waiter.agent_id))
        agent.tasks.setdefault(waiter.watch.task_id, []).append(waiter)
        agent.joined = now
        self.waiting += 1
        # Spread, because those who come together would be checked together ever after.
        waiter.looked_at = now - 0.5 * self._rng() * self._check_interval(agent, waiter)
        self._set_mode(agent, now)
        interval = waiter.watch.interval(now)
        if agent.is_listed(waiter):
            self._want_round(agent, now, now + min(interval, waiter.watch.poll_interval), interval)
            self._turns.schedule(waiter, waiter.looked_at + self._check_interval(agent, waiter))
        else:
            self._turns.schedule(waiter, now, interval)

    def remove(self, waiter: Waiter, now: float) -> None:
        """Forget a wait."""
        if waiter.gone:
            return
        waiter.gone = True
        self.waiting -= 1
        agent = self._agents[waiter.agent_id]
        same = agent.tasks[waiter.watch.task_id]
        same.remove(waiter)
        if not same:
            del agent.tasks[waiter.watch.task_id]
        self._set_mode(agent, now)

    def move(self, waiter: Waiter, agent_id: str, created: float | None, now: float) -> None:
        """Note whose run it is, once that is known."""
        self.remove(waiter, now)
        waiter.gone, waiter.agent_id, waiter.created = False, agent_id, created
        self.add(waiter, now)
        waiter.looked_at = now

    @property
    def in_outage(self) -> bool:
        """Whether nothing was answered for some time."""
        return self.failures >= OUTAGE_FROM

    def next(self, now: float, spare: bool) -> Action | None:
        """
        Return what to ask now, or None: then ask again after :meth:`pause`.

        :param spare: whether there is budget for looks that could wait.
        """
        if now < self._quiet_until or (self.in_outage and self.flying):
            return None
        self._turns.wake(now, spare, lambda waiter: self._agents[waiter.agent_id])
        while (agent := self._turns.next_agent()) is not None:
            action = self._of(agent, now, spare)
            self._turns.rejoin(agent)
            if action is not None:
                self.flying += 1
                return action
        return None

    def pause(self, now: float) -> float:
        """Return the seconds after which there may be something to ask."""
        return max(0.0, self._turns.first_due - now, self._quiet_until - now)

    def next_look(self, waiter: Waiter, now: float) -> float:
        """Return the seconds to the next look at a run, as planned at present."""
        agent = self._agents[waiter.agent_id]
        due = agent.due if agent.is_listed(waiter) else waiter.due
        return max(0.0, 0.0 if due == float("inf") else due - now, self._quiet_until - now)

    def hurry(self, waiters: Sequence[Waiter], now: float, *, by_list: bool = False) -> None:
        """
        Look at runs next, whatever was planned.

        :param by_list: through the list, where that takes less.
        """
        by_agent: dict[str | None, list[Waiter]] = {}
        for waiter in waiters:
            by_agent.setdefault(waiter.agent_id, []).append(waiter)
        for agent_id, some in by_agent.items():
            agent = self._agents[agent_id]
            listed = [waiter for waiter in some if by_list and agent.is_listed(waiter)]
            if len(listed) > agent.listing.cost:
                self._want_round(agent, now, now, 0.0)
                some = [waiter for waiter in some if waiter.is_own]
            for waiter in some:
                waiter.looked_at = float("-inf")
                self._turns.queue(agent, waiter, front=True)

    def looked(self, waiter: Waiter, seconds: float, now: float) -> None:
        """
        Take note of a look that has not ended the wait.

        :param seconds: to the next one, if there is budget to spare; else it comes an interval later.
        """
        if waiter.gone:
            return
        waiter.looked_at = now
        interval = jittered(waiter.watch.poll_interval, rng=self._rng)
        self._turns.schedule(waiter, now + seconds, max(0.0, interval - seconds))
        agent = self._agents[waiter.agent_id]
        self._set_mode(agent, now)
        if agent.listed and agent.give_chance(now):
            self._want_round(agent, now, now, 0.0)

    def landed(self, action: Action) -> None:
        """Take note that a request is over, however."""
        self.flying -= 1
        if isinstance(action, Look):
            action.waiter.flying = False
        else:
            action.agent.flying = False

    def put_back(self, action: Action) -> None:
        """Ask the same again as soon as possible."""
        if isinstance(action, ReadPage):
            if action.agent.tasks:
                self._turns.queue(action.agent, action.agent, front=True)
        elif not action.waiter.gone:
            self._turns.queue(self._agents[action.waiter.agent_id], action.waiter, front=True)

    def answered(self, action: Action, now: float) -> None:
        """Take note of an answer: an outage is over, and what fails while this goes well is to blame."""
        in_outage = self.in_outage
        self.failures, self._quiet_until = 0, float("-inf")
        agent = self._agents.get(action.waiter.agent_id) if isinstance(action, Look) else None
        if agent is None or agent.failures < LIST_FAILURES:
            return
        if in_outage:
            agent.failures = LIST_FAILURES - 1  # it may have failed like all else: the next try tells
            self._turns.schedule(agent, now)
        else:
            self._give_list_up(agent, now, LIST_RETRY)

    def failed(self, interval: float, now: float) -> bool:
        """
        Take note that nothing, or nonsense, was answered; return whether that is an outage.

        :param interval: the longest time to the next try.
        """
        self.failures += 1
        if not self.in_outage:
            return False
        step = OUTAGE_STEP * 2.0 ** min(self.failures - OUTAGE_FROM, 20)
        self._quiet_until = now + jittered(min(step, interval), rng=self._rng)
        return True

    def took_page(
        self, agent: Agent, rows: Sequence[Row], total: int | None, now: float
    ) -> list[tuple[Waiter, Row]]:
        """Take a page of a round; return the waits for which it has news."""
        agent.failures = 0
        news: list[tuple[Waiter, Row]] = []
        overlooked = False
        for row in rows:
            for waiter in agent.tasks.get(row.id, ()):
                if waiter.has_news(row):
                    overlooked |= waiter.sighted and waiter.differs(row) and agent.listing.is_overlooked(row)
                    waiter.last = (row.status, row.updated)
                    news.append((waiter, row))
                waiter.sighted, waiter.misses = True, 0
                waiter.created = waiter.created if row.created is None else row.created
        unseen, resting = agent.listing.unseen, agent.listing.is_resting
        if agent.listing.take(rows, total):
            self._turns.queue(agent, agent, front=True)
        elif agent.listing.gave_up:
            self._give_list_up(agent, now)
        else:
            for waiter in [waiter for task_id in unseen for waiter in agent.tasks.get(task_id, ())]:
                if resting and waiter.paused is not None:
                    self.hurry([waiter], now)  # it was paused, and is not any more
                elif resting or agent.listing.was_whole or not waiter.sighted:
                    agent.missed(waiter, now)
                    if waiter.is_own:
                        self._turns.schedule(waiter, now)
            self._next_round(agent, now)
        if overlooked:
            agent.listing.distrust()
        return news

    def page_failed(self, action: ReadPage, *, useless: bool, now: float) -> None:
        """
        Take note that a page could not be read.

        :param useless: whether there is no point in asking for it again soon.
        """
        agent = action.agent
        if useless and action.status is not None:
            agent.listing.read_whole()  # which may well be allowed
            self._turns.queue(agent, agent, front=True)
            return
        agent.failures += 1
        agent.listing.abandon(failed=True)
        if useless:
            self._give_list_up(agent, now)
            return
        pause = min(agent.quickest, 2.0**agent.failures)
        self._turns.schedule(agent, now + jittered(pause, rng=self._rng))
        if agent.failures >= LIST_FAILURES and agent.tasks:
            self.hurry([next(agent.waiters)], now)  # tells whether it is the list or everything

    def _of(self, agent: Agent, now: float, spare: bool) -> Action | None:
        """Return what an agent asks in its turn."""
        while agent.ready:
            item = agent.ready.popleft()
            item.queued = False
            if isinstance(item, Agent):
                agent.due = float("inf")
                if agent.listed and not agent.flying and (agent.listing.is_walking or agent.in_list):
                    if agent.gathered_at <= now:
                        return self._page_of(agent, now)
                    self._turns.schedule(agent, agent.gathered_at)
                continue
            if item.gone or item.flying:
                continue
            listed = agent.is_listed(item)
            if listed:
                at = item.looked_at + self._check_interval(agent, item)
                if at <= now and not spare and now < at + CHECK_MOST:
                    at = now + item.watch.poll_interval
                if at > now:
                    self._turns.schedule(item, at)
                    continue
            item.flying = True
            return Look(item, Priority.CHECK if listed else Priority.POLL)
        return None

    def _page_of(self, agent: Agent, now: float) -> ReadPage:
        if not agent.listing.is_walking:
            agent.begin_round(now)
        agent.flying = True
        return agent.page

    def _next_round(self, agent: Agent, now: float) -> None:
        self._set_mode(agent, now)
        in_list = agent.in_list
        if not agent.listed or not in_list:
            return
        slow = min(waiter.watch.poll_interval for waiter in in_list.values())
        # Quick looks only where they are cheap.
        quick = slow
        if agent.listing.cost <= 2:
            quick = min(waiter.watch.interval(now) for waiter in in_list.values())
        factor = jittered(1.0, 0.1, self._rng)
        agent.due = float("inf")
        self._turns.schedule(agent, max(now, agent.began + quick * factor), (slow - quick) * factor)

    def _want_round(self, agent: Agent, now: float, early: float, slack: float) -> None:
        if agent.flying or agent.listing.is_walking:
            return
        if early + slack < agent.due:
            self._turns.schedule(agent, early, slack)

    def _give_list_up(self, agent: Agent, now: float, seconds: float = LIST_AGAIN) -> None:
        agent.list_from, agent.failures, agent.listing.cost = now + seconds, 0, 1
        self._set_mode(agent, now)

    def _set_mode(self, agent: Agent, now: float) -> None:
        """Decide between the list and each run; runs that were in the list get a time of their own."""
        listed = agent.should_list(now)
        if listed == agent.listed:
            return
        agent.listed = listed
        for waiter in agent.waiters:
            if listed:
                waiter.misses = 0
            elif not waiter.is_own:
                waiter.sighted = False
                self._turns.schedule(waiter, now + self._rng() * waiter.watch.interval(now))
        if listed:
            agent.listed_at = now
            self._want_round(agent, now, now + agent.gathering, 0.0)
        else:
            agent.listing.abandon()
            agent.due = float("inf")
            agent.token += 1

    def _check_interval(self, agent: Agent, waiter: Waiter) -> float:
        return check_interval(len(agent.tasks), waiter.watch.poll_interval)
