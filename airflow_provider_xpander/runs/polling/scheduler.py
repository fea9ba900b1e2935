"""
The schedule of a poller: which request comes next for many waits on one connection, and when.

A request reads one task, or one page of an agent's list. This file decides; it neither waits nor asks.
``now`` is always in Unix seconds of a clock that never jumps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Generic

from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.runs.polling.due_queue import NEVER, DueQueue
from airflow_provider_xpander.runs.polling.listing import Row
from airflow_provider_xpander.runs.polling.waiters import Action, AgentQueue, ReadPage, ReadTask, T, Waiter
from airflow_provider_xpander.runs.timing import CHECK_MOST, Outage, check_interval, jittered

LIST_AGAIN = 600.0
"""Seconds without the list after it was no use."""
LIST_RETRY = 120.0
"""Seconds without the list after it has failed while other requests have not."""
LIST_FAILURES = 4
"""Failures in a row for that: to read each of thousands of tasks is the greater evil."""


class PollScheduler(Generic[T]):
    """
    Tell what to ask next. Agents take turns, and nothing is asked before it is due.

    :param rng: gives a float in [0, 1) for the jitter.
    """

    def __init__(self, rng: Callable[[], float] = random.random) -> None:
        self.waiting = 0
        self.in_flight = 0
        self.outage = Outage(rng)
        self._rng = rng
        self._agents: dict[str | None, AgentQueue[T]] = {}
        self._due = DueQueue(self._agents)

    @property
    def waiters(self) -> list[Waiter[T]]:
        """All waits."""
        return [waiter for agent in self._agents.values() for waiter in agent.waiters]

    def add(self, waiter: Waiter[T], now: float) -> None:
        """
        Take a wait in.

        :param waiter: the wait.
        :param now: Unix seconds.
        """
        agent = self._agents.setdefault(waiter.agent_id, AgentQueue(waiter.agent_id))
        agent.waiters_of.setdefault(waiter.watch.task_id, []).append(waiter)
        agent.joined_at = now
        self.waiting += 1
        # Spread, because those who come together would be checked together ever after.
        waiter.read_at = now - 0.5 * self._rng() * self._check_interval(agent, waiter)
        self._choose_mode(agent, now)
        interval = waiter.watch.interval(now)
        if agent.is_listed(waiter):
            self._want_round(agent, now + min(interval, waiter.watch.poll_interval), interval)
            self._due.schedule(waiter, waiter.read_at + self._check_interval(agent, waiter))
        else:
            self._due.schedule(waiter, now, interval)

    def remove(self, waiter: Waiter[T], now: float) -> None:
        """
        Drop a wait; one that was dropped already may come again.

        :param waiter: the wait.
        :param now: Unix seconds.
        """
        if waiter.gone:
            return
        waiter.gone = True
        self.waiting -= 1
        agent = self._agents[waiter.agent_id]
        same = agent.waiters_of[waiter.watch.task_id]
        same.remove(waiter)
        if not same:
            del agent.waiters_of[waiter.watch.task_id]
        self._choose_mode(agent, now)

    def set_agent(self, waiter: Waiter[T], agent_id: str, created: float | None, now: float) -> None:
        """
        Note whose run it is, after a read has told that.

        :param waiter: the wait, so far without an agent.
        :param agent_id: of the agent or workflow.
        :param created: Unix seconds at which the run was created, if known.
        :param now: Unix seconds.
        """
        self.remove(waiter, now)
        waiter.gone, waiter.agent_id, waiter.created = False, agent_id, created
        self.add(waiter, now)
        waiter.read_at = now

    def next_action(self, now: float, spare: bool) -> Action[T] | None:
        """
        Return what to ask now, or None: then ask again after :meth:`pause`.

        :param now: Unix seconds.
        :param spare: whether there is budget for reads that could wait.
        """
        if now < self.outage.quiet_until or (self.outage.is_on and self.in_flight):
            return None
        self._due.queue_due(now, spare)
        while (agent := self._due.begin_turn()) is not None:
            action = self._action_of(agent, now, spare)
            self._due.end_turn(agent)
            if action is not None:
                self.in_flight += 1
                return action
        return None

    def pause(self, now: float) -> float:
        """
        Return the seconds after which there may be something to ask.

        :param now: Unix seconds.
        """
        return max(0.0, self._due.first_due - now, self.outage.quiet_until - now)

    def next_poll(self, waiter: Waiter[T], now: float) -> float:
        """
        Return the seconds to the next request that may tell something about a run, as planned at present.

        :param waiter: the wait for it.
        :param now: Unix seconds.
        """
        agent = self._agents[waiter.agent_id]
        due = agent.due if agent.is_listed(waiter) else waiter.due
        return max(0.0, 0.0 if due == NEVER else due - now, self.outage.quiet_until - now)

    def poll_now(self, waiters: Sequence[Waiter[T]], now: float, *, by_list: bool = False) -> None:
        """
        Let tasks be read next, whatever was planned.

        :param waiters: the waits for them.
        :param now: Unix seconds.
        :param by_list: whether the list is read instead, where that takes less.
        """
        by_agent: dict[AgentQueue[T], list[Waiter[T]]] = {}
        for waiter in waiters:
            by_agent.setdefault(self._agents[waiter.agent_id], []).append(waiter)
        for agent, some in by_agent.items():
            listed = [waiter for waiter in some if by_list and agent.is_listed(waiter)]
            if len(listed) > agent.round_cost:
                self._want_round(agent, now, 0.0)
                some = [waiter for waiter in some if waiter.is_unlisted]
            for waiter in some:
                waiter.read_at = float("-inf")
                self._due.queue(waiter, first=True)

    def poll_again(self, waiter: Waiter[T], seconds: float, now: float) -> None:
        """
        Plan the next read of a task after one that has not ended the wait.

        :param waiter: the wait for it.
        :param seconds: to the next read, if there is budget to spare; else it comes an interval later.
        :param now: Unix seconds.
        """
        if waiter.gone:
            return
        waiter.read_at = now
        interval = jittered(waiter.watch.poll_interval, rng=self._rng)
        self._due.schedule(waiter, now + seconds, max(0.0, interval - seconds))
        agent = self._agents[waiter.agent_id]
        self._choose_mode(agent, now)
        if agent.listed and agent.retry_missing(now):
            self._want_round(agent, now, 0.0)

    def end_request(self, action: Action[T]) -> None:
        """
        Take note that a request is over, whatever came of it.

        :param action: what was asked.
        """
        self.in_flight -= 1
        if isinstance(action, ReadTask):
            action.waiter.in_flight = False
        else:
            action.agent.in_flight = False

    def repeat(self, action: Action[T]) -> None:
        """
        Ask the same again as soon as possible.

        :param action: what was asked.
        """
        if isinstance(action, ReadPage):
            if action.agent.waiters_of:
                self._due.queue(action.agent, first=True)
        elif not action.waiter.gone:
            self._due.queue(action.waiter, first=True)

    def note_reply(self, action: Action[T], now: float) -> None:
        """
        Take note of a reply: an outage is over, and a list that fails meanwhile is to blame itself.

        :param action: what was asked.
        :param now: Unix seconds.
        """
        in_outage = self.outage.is_on
        self.outage.end()
        agent = self._agents.get(action.waiter.agent_id) if isinstance(action, ReadTask) else None
        if agent is None or agent.failures < LIST_FAILURES:
            return
        if in_outage:
            agent.failures = LIST_FAILURES - 1  # it may have failed like all else: the next try tells
            self._due.schedule(agent, now)
        else:
            self._stop_listing(agent, now, LIST_RETRY)

    def take_page(
        self, agent: AgentQueue[T], rows: Sequence[Row], total: int | None, now: float
    ) -> list[tuple[Waiter[T], Row]]:
        """
        Take a page of a round; return the waits for which it has news.

        :param agent: whose list it is.
        :param rows: of the page.
        :param total: how many pages there are, if the service said so.
        :param now: Unix seconds.
        """
        agent.failures = 0
        news: list[tuple[Waiter[T], Row]] = []
        overlooked = False
        for row in rows:
            for waiter in agent.waiters_of.get(row.id, ()):
                if waiter.is_news(row):
                    changed = waiter.in_list_before and waiter.has_other_status(row)
                    overlooked |= changed and agent.listing.is_overlooked(row)
                    waiter.seen = (row.status, row.updated)
                    news.append((waiter, row))
                waiter.in_list_before, waiter.misses = True, 0
                waiter.created = waiter.created if row.created is None else row.created
        missing, by_status = agent.listing.missing, agent.listing.reads_status_lists
        if agent.listing.take(rows, total):
            self._due.queue(agent, first=True)
        elif agent.listing.gave_up:
            self._stop_listing(agent, now)
        else:
            for waiter in [waiter for task_id in missing for waiter in agent.waiters_of.get(task_id, ())]:
                if by_status and waiter.paused is not None:
                    self.poll_now([waiter], now)  # it was paused, and is not any more
                elif by_status or agent.listing.was_whole or not waiter.in_list_before:
                    agent.note_miss(waiter, now)
                    if waiter.is_unlisted:
                        self._due.schedule(waiter, now)
            self._plan_round(agent, now)
        if overlooked:
            agent.listing.distrust()
        return news

    def note_page_failure(self, action: ReadPage[T], *, useless: bool, now: float) -> None:
        """
        Take note that a page could not be read.

        :param action: what was asked.
        :param useless: whether there is no point in asking for it again soon.
        :param now: Unix seconds.
        """
        agent = action.agent
        if useless and action.status is not None:
            agent.listing.read_all()  # which may well be allowed
            self._due.queue(agent, first=True)
            return
        agent.failures += 1
        agent.listing.abandon(failed=True)
        if useless:
            self._stop_listing(agent, now)
            return
        pause = min(agent.shortest_interval, 2.0**agent.failures)
        self._due.schedule(agent, now + jittered(pause, rng=self._rng))
        if agent.failures >= LIST_FAILURES and agent.waiters_of:
            self.poll_now([next(agent.waiters)], now)  # tells whether it is the list or everything

    def _action_of(self, agent: AgentQueue[T], now: float, spare: bool) -> Action[T] | None:
        """Return what an agent asks in its turn."""
        while (item := self._due.take(agent)) is not None:
            if isinstance(item, AgentQueue):
                if agent.listed and not agent.in_flight and (agent.in_round or agent.in_list):
                    if agent.round_from <= now:
                        agent.in_flight = True
                        return agent.next_page(now)
                    self._due.schedule(agent, agent.round_from)
                continue
            if item.gone or item.in_flight:
                continue
            listed = agent.is_listed(item)
            if listed:
                at = item.read_at + self._check_interval(agent, item)
                if at <= now and not spare and now < at + CHECK_MOST:
                    at = now + item.watch.poll_interval
                if at > now:
                    self._due.schedule(item, at)
                    continue
            item.in_flight = True
            return ReadTask(item, Priority.CHECK if listed else Priority.POLL)
        return None

    def _plan_round(self, agent: AgentQueue[T], now: float) -> None:
        """Plan the next round after one that is over."""
        self._choose_mode(agent, now)
        in_list = agent.in_list
        if not agent.listed or not in_list:
            return
        slow = min(waiter.watch.poll_interval for waiter in in_list.values())
        # Soon after a run has begun only where a round is cheap.
        quick = slow
        if agent.round_cost <= 2:
            quick = min(waiter.watch.interval(now) for waiter in in_list.values())
        factor = jittered(1.0, 0.1, self._rng)
        self._due.schedule(agent, max(now, agent.round_began + quick * factor), (slow - quick) * factor)

    def _want_round(self, agent: AgentQueue[T], early: float, slack: float) -> None:
        """Let a round begin at a time, unless one is planned for an earlier time or under way."""
        if not agent.in_flight and not agent.in_round and early + slack < agent.due:
            self._due.schedule(agent, early, slack)

    def _stop_listing(self, agent: AgentQueue[T], now: float, seconds: float = LIST_AGAIN) -> None:
        agent.list_from, agent.failures, agent.listing.cost = now + seconds, 0, 1
        self._choose_mode(agent, now)

    def _choose_mode(self, agent: AgentQueue[T], now: float) -> None:
        """Decide between the list and each task; tasks that were in the list get a time of their own."""
        listed = agent.should_list(now)
        if listed == agent.listed:
            return
        agent.listed = listed
        for waiter in agent.waiters:
            if listed:
                waiter.misses = 0
            elif not waiter.is_unlisted:
                waiter.in_list_before = False
                self._due.schedule(waiter, now + self._rng() * waiter.watch.interval(now))
        if listed:
            agent.listed_at = now
            self._want_round(agent, now + agent.gathering, 0.0)
        else:
            agent.end_round()
            self._due.unschedule(agent)

    def _check_interval(self, agent: AgentQueue[T], waiter: Waiter[T]) -> float:
        return check_interval(len(agent.waiters_of), waiter.watch.poll_interval)
