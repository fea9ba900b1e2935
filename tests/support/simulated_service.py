"""A poller's schedule against a simulated service, in a time of its own."""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.runs.polling.listing import row_of, unix
from airflow_provider_xpander.runs.polling.scheduler import PollScheduler
from airflow_provider_xpander.runs.polling.waiters import Action, ReadPage, ReadTask, Waiter
from airflow_provider_xpander.runs.watch import Again, Over, Watch

START = 1_795_000_000.0
POLL = 30.0
LATENCY = 0.1


@dataclass
class Run:
    """
    One run of the simulated service; all times are Unix seconds.

    :param starts: until when it is pending.
    :param pauses: from when to when it is paused.
    :param status: how it ends.
    """

    id: str
    agent: str
    begins: float
    ends: float
    starts: float = 0.0
    pauses: tuple[float, float] = (0.0, 0.0)
    status: str = "completed"

    def state(self, now: float) -> tuple[str, float]:
        """Return the status, and since when."""
        if now >= self.ends:
            return self.status, self.ends
        if now < self.starts:
            return "pending", self.begins
        if self.pauses[0] <= now < self.pauses[1]:
            return "paused", self.pauses[0]
        begun = max(self.begins, self.starts)
        return "executing", self.pauses[1] if now >= self.pauses[1] > begun else begun

    def item(self, now: float) -> dict[str, Any]:
        """Return the task."""
        status, updated = self.state(now)
        return {
            "id": self.id,
            "agent_id": self.agent,
            "status": status,
            "created_at": stamp(self.begins),
            "updated_at": stamp(updated),
        }


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


@dataclass
class Simulation:
    """
    A poller's schedule, its budget and a service.

    :param order: what its lists show first.
    :param hidden: ids that no list shows.
    :param frozen: ids that lists show as they began.
    :param lag: seconds by which lists are behind.
    :param down: from when to when nothing answers.
    :param no_list: whether lists alone fail.
    :param by_status: whether lists of one status are given ("kept"), show all ("ignored"), show nothing
        ("empty"), are refused ("refused"), or fail ("fails").
    :param totals: whether lists tell how many pages they have.
    """

    rng: random.Random
    limits: tuple[int, int] = (0, 0)
    order: str = "updated"
    hidden: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    lag: float = 0.0
    down: tuple[float, float] = (0.0, 0.0)
    no_list: bool = False
    by_status: str = "kept"
    totals: bool = True
    runs: dict[str, Run] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)
    told: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """What each wait saw, when it changed."""
    asked: list[tuple[float, Any]] = field(default_factory=list)
    now: float = START

    def __post_init__(self) -> None:
        self.scheduler: PollScheduler[None] = PollScheduler(self.rng.random)
        self.governor = Governor(*self.limits, rng=self.rng.random)
        self.coming: list[tuple[float, Waiter[None]]] = []

    def start(self, run: Run, *, known: bool = True, at: float | None = None) -> None:
        """Let a run be waited for."""
        self.runs[run.id] = run
        at = self.now if at is None else at
        watch = Watch(run.id, POLL, since=run.begins)
        self.coming.append(
            (at, Waiter(watch, run.agent if known else None, run.begins if known else None, at, None))
        )

    def history(self, agent: str, number: int) -> None:
        """Let there be tasks that nobody waits for; they ended in another order than they began."""
        for index in range(number):
            begins = self.now - 1000 - self.rng.uniform(0, 500)
            run = Run(f"{agent}-old-{index}", agent, begins, begins + self.rng.uniform(1, 400))
            self.runs[run.id] = run

    def play(self, seconds: float) -> None:
        """Let the time pass until it is over or nobody waits."""
        end = self.now + seconds
        self.coming.sort(key=lambda pair: pair[0])
        while self.now < end and (self.scheduler.waiting or self.coming):
            while self.coming and self.coming[0][0] <= self.now:
                self.scheduler.add(self.coming.pop(0)[1], self.now)
            delay = self.governor.delay(Priority.POLL, self.now)
            action = None
            if delay <= 0:
                action = self.scheduler.next_action(self.now, self.governor.has_spare(self.now))
                delay = self.scheduler.pause(self.now)
            if action is None:
                delay = min(delay, self.coming[0][0] - self.now if self.coming else delay)
                self.now += min(max(delay, 0.001), end - self.now + 0.001)
                continue
            self.governor.sent(action.priority, self.now)
            self.asked.append((self.now, action))
            self.now += LATENCY
            self.answer(action)

    def answer(self, action: Action[None]) -> None:
        now = self.now
        self.scheduler.end_request(action)
        down = self.down[0] <= now < self.down[1]
        by_status = isinstance(action, ReadPage) and action.status is not None and self.by_status
        if by_status == "refused":
            self.scheduler.note_reply(action, now)
            self.scheduler.note_page_failure(action, useless=True, now=now)
            return
        if down or by_status == "fails" or (self.no_list and isinstance(action, ReadPage)):
            self.scheduler.outage.note_failure(POLL, now)
            if isinstance(action, ReadPage):
                self.scheduler.note_page_failure(action, useless=False, now=now)
            else:
                self.scheduler.poll_again(action.waiter, POLL, now)
            return
        self.scheduler.note_reply(action, now)
        if isinstance(action, ReadTask):
            item = self.runs[action.waiter.watch.task_id].item(now)
            action.waiter.seen = (item["status"], unix(item["updated_at"]))
            self.seen(action.waiter, item, own=True)
            return
        runs = self.listed(action)
        if by_status == "empty":
            runs = []
        elif by_status == "kept":
            runs = [run for run in runs if run.state(self.shown_at(run))[0] == action.status]
        page = runs[(action.number - 1) * 50 : action.number * 50]
        rows = [row_of(run.item(self.shown_at(run))) for run in page]
        total = -(-len(runs) // 50) if self.totals else None
        for waiter, row in self.scheduler.take_page(action.agent, rows, total, now):
            if waiter.is_unlisted:
                continue
            if row.status == "paused":
                self.scheduler.poll_now([waiter], now)
            else:
                self.seen(waiter, row.item, own=False)

    def shown_at(self, run: Run) -> float:
        """Return the time whose state of a run is listed."""
        return run.begins if run.id in self.frozen else self.now - self.lag

    def seen(self, waiter: Waiter[None], item: Mapping[str, Any], *, own: bool) -> None:
        told = self.told.setdefault(waiter.watch.task_id, [])
        if not told or told[-1][0] != item["status"]:
            told.append((item["status"], self.now))
        verdict = waiter.watch.after_task(Task.model_validate(item), self.now)
        if isinstance(verdict, Over):
            assert not waiter.gone, "found twice"
            self.scheduler.remove(waiter, self.now)
            self.found[waiter.watch.task_id] = self.now
        elif own and isinstance(verdict, Again):
            if waiter.agent_id is None:
                run = self.runs[waiter.watch.task_id]
                self.scheduler.set_agent(waiter, run.agent, run.begins, self.now)
            else:
                self.scheduler.poll_again(waiter, verdict.seconds, self.now)

    def listed(self, action: ReadPage[None]) -> list[Run]:
        at = self.now - self.lag
        runs = [
            run
            for run in self.runs.values()
            if run.agent == action.agent.id
            and action.from_date <= run.begins <= at
            and run.id not in self.hidden
        ]
        if self.order == "restless":
            self.rng.shuffle(runs)
        elif self.order == "none":
            runs.sort(key=lambda run: zlib.crc32(run.id.encode()))
        elif self.order == "created":
            runs.sort(key=lambda run: -run.begins)
        else:
            runs.sort(key=lambda run: -run.state(at)[1])
        return runs

    def delays(self) -> list[float]:
        """Return how late each end was found, sorted."""
        return sorted(found - self.runs[task_id].ends for task_id, found in self.found.items())

    @property
    def looks(self) -> list[str]:
        return [action.waiter.watch.task_id for _, action in self.asked if isinstance(action, ReadTask)]

    @property
    def pages(self) -> int:
        return sum(1 for _, action in self.asked if isinstance(action, ReadPage))


def crowd(simulation: Simulation, number: int, agents: int = 1, *, spread: float = 3.0) -> None:
    """Let many runs of an hour or less be waited for; they begin together."""
    for index in range(number):
        begins = simulation.now - simulation.rng.uniform(0, spread)
        ends = begins + simulation.rng.uniform(60, 3600)
        simulation.start(Run(f"run-{index}", f"agent-{index % agents}", begins, ends))
