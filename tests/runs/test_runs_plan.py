"""What a poller asks next, against a simulated service in a time of its own."""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.runs.interval import CHECK_MOST, check_interval, look_interval
from airflow_provider_xpander.runs.listing import Order, row_of
from airflow_provider_xpander.runs.plan import LIST_RETRY, Plan
from airflow_provider_xpander.runs.waiting import Look, ReadPage, Waiter
from airflow_provider_xpander.runs.watch import Again, Over, Watch

START = 1_795_000_000.0
POLL = 30.0
LATENCY = 0.1


@dataclass
class Run:
    """One run of the simulated service; ``ends`` and ``begins`` are Unix seconds."""

    id: str
    agent: str
    begins: float
    ends: float

    def item(self, now: float) -> dict[str, Any]:
        updated, status = self.begins, "executing"
        if now >= self.ends:
            updated, status = self.ends, "completed"
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
    A poller's plan, its budget and a service.

    :param order: what its lists show first.
    :param hidden: ids that no list shows.
    :param frozen: ids that lists show as they began.
    :param lag: seconds by which lists are behind.
    :param down: from when to when nothing answers.
    :param no_list: whether lists alone fail.
    """

    rng: random.Random
    limits: tuple[int, int] = (0, 0)
    order: str = "updated"
    hidden: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    lag: float = 0.0
    down: tuple[float, float] = (0.0, 0.0)
    no_list: bool = False
    runs: dict[str, Run] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)
    asked: list[tuple[float, Any]] = field(default_factory=list)
    now: float = START

    def __post_init__(self) -> None:
        self.plan = Plan(self.rng.random)
        self.governor = Governor(*self.limits, rng=self.rng.random)
        self.coming: list[tuple[float, Waiter]] = []

    def start(self, run: Run, *, known: bool = True, at: float | None = None) -> None:
        """Let a run be waited for."""
        self.runs[run.id] = run
        at = self.now if at is None else at
        watch = Watch(run.id, POLL, since=run.begins)
        self.coming.append(
            (at, Waiter(watch, run.agent if known else None, run.begins if known else None, at))
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
        while self.now < end and (self.plan.waiting or self.coming):
            while self.coming and self.coming[0][0] <= self.now:
                self.plan.add(self.coming.pop(0)[1], self.now)
            delay = self.governor.delay(Priority.POLL, self.now)
            action = None
            if delay <= 0:
                action = self.plan.next(self.now, self.governor.has_spare(self.now))
                delay = self.plan.pause(self.now)
            if action is None:
                delay = min(delay, self.coming[0][0] - self.now if self.coming else delay)
                self.now += min(max(delay, 0.001), end - self.now + 0.001)
                continue
            self.governor.sent(action.priority, self.now)
            self.asked.append((self.now, action))
            self.now += LATENCY
            self.answer(action)

    def answer(self, action: Look | ReadPage) -> None:
        now = self.now
        self.plan.landed(action)
        down = self.down[0] <= now < self.down[1]
        if down or (self.no_list and isinstance(action, ReadPage)):
            self.plan.failed(POLL, now)
            if isinstance(action, ReadPage):
                self.plan.page_failed(action.agent, useless=False, now=now)
            else:
                self.plan.looked(action.waiter, POLL, now)
            return
        self.plan.answered(action, now)
        if isinstance(action, Look):
            self.seen(action.waiter, self.runs[action.waiter.watch.task_id].item(now), own=True)
            return
        runs = self.listed(action)
        shown = runs[(action.number - 1) * 50 : action.number * 50]
        rows = [row_of(run.item(run.begins if run.id in self.frozen else now - self.lag)) for run in shown]
        for waiter, row in self.plan.took_page(action.agent, rows, -(-len(runs) // 50), now):
            if not waiter.is_own:
                self.seen(waiter, row.item, own=False)

    def seen(self, waiter: Waiter, item: Mapping[str, Any], *, own: bool) -> None:
        verdict = waiter.watch.after_task(Task.model_validate(item), self.now)
        if isinstance(verdict, Over):
            self.plan.remove(waiter, self.now)
            assert waiter.watch.task_id not in self.found, "found twice"
            self.found[waiter.watch.task_id] = self.now
        elif own and isinstance(verdict, Again):
            if waiter.agent_id is None:
                run = self.runs[waiter.watch.task_id]
                self.plan.move(waiter, run.agent, run.begins, self.now)
            else:
                self.plan.looked(waiter, verdict.seconds, self.now)

    def listed(self, action: ReadPage) -> list[Run]:
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
            runs.sort(key=lambda run: -run.ends if run.ends <= at else -run.begins)
        return runs

    def delays(self) -> list[float]:
        """Return how late each end was found, sorted."""
        return sorted(found - self.runs[task_id].ends for task_id, found in self.found.items())

    @property
    def looks(self) -> list[str]:
        return [action.waiter.watch.task_id for _, action in self.asked if isinstance(action, Look)]

    @property
    def pages(self) -> int:
        return sum(1 for _, action in self.asked if isinstance(action, ReadPage))


def crowd(simulation: Simulation, number: int, agents: int = 1, *, spread: float = 3.0) -> None:
    """Let many runs of an hour or less be waited for; they begin together."""
    for index in range(number):
        begins = simulation.now - simulation.rng.uniform(0, spread)
        ends = begins + simulation.rng.uniform(60, 3600)
        simulation.start(Run(f"run-{index}", f"agent-{index % agents}", begins, ends))


@pytest.mark.parametrize(("order", "share"), [("updated", 0.01), ("created", 0.05), ("none", 0.05)])
def test_a_thousand_runs_of_one_agent_cost_little_and_are_found_in_time(order: str, share: float) -> None:
    simulation = Simulation(random.Random(1), order=order)
    simulation.history("agent-0", 30)
    crowd(simulation, 1000)
    simulation.play(3700)
    assert len(simulation.found) == 1000
    one_by_one = sum((run.ends - START) / POLL for run in simulation.runs.values() if run.ends > START)
    assert len(simulation.asked) < share * one_by_one, (len(simulation.asked), one_by_one)
    delays = simulation.delays()
    assert delays[949] < 1.2 * POLL
    if order != "updated":
        assert delays[-1] < 2 * POLL


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_list_is_learned(seed: int) -> None:
    for order, expected in (("updated", Order.UPDATED), ("created", Order.CREATED), ("none", Order.NONE)):
        simulation = Simulation(random.Random(seed), order=order)
        simulation.history("agent-0", 30)
        crowd(simulation, 120)
        simulation.play(600)
        agent = next(action.agent for _, action in simulation.asked if isinstance(action, ReadPage))
        assert agent.listing.order is expected


@pytest.mark.parametrize("order", ["updated", "none"])
def test_runs_that_the_list_never_shows_are_looked_at_by_themselves(order: str) -> None:
    simulation = Simulation(random.Random(1), order=order, hidden={"run-7", "run-40"})
    crowd(simulation, 60)
    simulation.play(3700)
    assert len(simulation.found) == 60
    assert max(simulation.delays()) < 3 * POLL
    for task_id in ("run-7", "run-40"):
        waited = simulation.runs[task_id].ends - START
        assert simulation.looks.count(task_id) > 0.5 * waited / POLL


def test_a_row_that_never_changes_strands_no_run() -> None:
    simulation = Simulation(random.Random(1), frozen={"run-7", "run-40"})
    crowd(simulation, 60)
    simulation.play(3 * CHECK_MOST)
    assert len(simulation.found) == 60
    assert max(simulation.delays()) < check_interval(60, POLL) + 2 * POLL


def test_also_within_the_limits_a_row_that_never_changes_strands_no_run() -> None:
    simulation = Simulation(random.Random(1), frozen={"run-7"}, limits=(100, 1000))
    for index in range(1000):
        ends = simulation.now + (600 if index == 7 else 1e6)
        simulation.start(Run(f"run-{index}", "a", simulation.now - 1, ends))
    simulation.play(3 * CHECK_MOST)
    assert list(simulation.found) == ["run-7"]
    assert simulation.delays()[0] < 2 * CHECK_MOST


@pytest.mark.parametrize("lag", [8.0, 45.0])
def test_a_list_that_lags_makes_ends_late_by_no_more_than_its_lag(lag: float) -> None:
    simulation = Simulation(random.Random(2), lag=lag)
    simulation.history("agent-0", 30)
    crowd(simulation, 300)
    simulation.play(3800)
    assert len(simulation.found) == 300
    delays = simulation.delays()
    assert delays[284] < lag + 2.2 * POLL
    assert delays[-1] < lag + 25 * POLL  # the next time that the whole list is read


def test_an_order_that_changes_is_noticed() -> None:
    simulation = Simulation(random.Random(3))
    simulation.history("agent-0", 30)
    crowd(simulation, 300)
    simulation.play(900)
    simulation.order = "none"
    simulation.play(2900)
    assert len(simulation.found) == 300
    assert simulation.delays()[-1] < 25 * POLL


def test_a_list_that_is_full_of_others_is_not_read() -> None:
    """Looking at each of a few runs takes less than thousands of rows in no order."""
    simulation = Simulation(random.Random(4), order="none")
    for index in range(5):
        simulation.start(Run(f"run-{index}", "a", simulation.now - 301, simulation.now + 3000))
    for index in range(2000):
        simulation.runs[f"x-{index}"] = Run(f"x-{index}", "a", simulation.now - 1, simulation.now)
    simulation.play(550)
    assert simulation.pages <= 6
    assert simulation.looks.count("run-0") > 10


def test_few_runs_are_looked_at_by_themselves() -> None:
    simulation = Simulation(random.Random(4))
    crowd(simulation, 2)
    simulation.play(3700)
    assert simulation.pages == 0
    assert max(simulation.delays()) < 1.3 * POLL


def test_runs_of_unknown_agents_join_the_others_after_one_look() -> None:
    simulation = Simulation(random.Random(4))
    for index in range(50):
        ends = simulation.now + simulation.rng.uniform(60, 1000)
        simulation.start(Run(f"run-{index}", "a", simulation.now - 1, ends), known=False)
    simulation.play(1100)
    assert len(simulation.found) == 50
    assert len(simulation.looks) < 120


def test_a_list_that_fails_is_given_up_for_a_while_and_tried_again() -> None:
    simulation = Simulation(random.Random(4), no_list=True)
    crowd(simulation, 20)
    simulation.play(3700)
    assert len(simulation.found) == 20
    assert max(simulation.delays()) < 3 * POLL
    rounds = [now for now, action in simulation.asked if isinstance(action, ReadPage)]
    assert 8 <= len(rounds) <= 150
    assert max(rounds) - START > 10 * LIST_RETRY


def test_an_outage_is_no_reason_to_give_the_list_up_or_to_ask_much() -> None:
    simulation = Simulation(random.Random(4), down=(START + 300, START + 900))
    simulation.history("agent-0", 30)
    crowd(simulation, 300)
    simulation.play(3700)
    assert len(simulation.found) == 300
    during = [now for now, _ in simulation.asked if START + 300 <= now < START + 900]
    assert len(during) < 40
    assert sum(1 for now, action in simulation.asked if isinstance(action, Look) and now < START + 930) < 60
    late = [
        found - START - 900
        for task_id, found in simulation.found.items()
        if START + 300 <= simulation.runs[task_id].ends < START + 900
    ]
    assert max(late) < 2.5 * POLL


def test_the_budget_stretches_the_interval_and_nothing_else() -> None:
    simulation = Simulation(random.Random(5), limits=(100, 1000))
    for index in range(60):
        simulation.start(Run(f"run-{index}", f"agent-{index}", simulation.now, simulation.now + 1e6))
    simulation.play(4 * 3600)
    moments = [now for now, _ in simulation.asked]
    for start in moments[::10]:
        assert sum(1 for now in moments if start <= now < start + 3600) <= 880
    counts = [simulation.looks.count(f"run-{index}") for index in range(60)]
    assert min(counts) > 0.7 * max(counts), "none is starved"


def test_an_agent_with_many_runs_does_not_crowd_out_one_with_few() -> None:
    simulation = Simulation(random.Random(5), limits=(100, 1000), hidden={f"run-{i}" for i in range(300)})
    for index in range(300):  # none of which its list shows
        simulation.start(Run(f"run-{index}", "big", simulation.now, simulation.now + 1e6))
    simulation.start(Run("lone", "small", simulation.now, simulation.now + 1e6))
    simulation.play(2 * 3600)
    assert simulation.looks.count("lone") > 100
    last = 0.0
    for now, action in simulation.asked:
        if isinstance(action, Look) and action.waiter.watch.task_id == "lone":
            assert now - (last or now) < 5 * POLL
            last = now


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_each_run_is_found_once_and_in_time(seed: int) -> None:
    rng = random.Random(100 + seed)
    simulation = Simulation(
        rng,
        order=rng.choice(["updated", "created", "none", "restless"]),
        limits=rng.choice([(0, 0), (100, 1000), (100, 0)]),
        lag=rng.choice([0.0, 5.0, 40.0]),
        down=rng.choice([(0.0, 0.0), (START + 500, START + 800)]),
        hidden={f"run-{index}" for index in range(400) if rng.random() < 0.02},
    )
    for index in range(400):
        begins = START + rng.uniform(-10, 1500)
        run = Run(
            f"run-{index}",
            f"agent-{rng.choice([0, 0, 0, 1, 2, 3 + index])}",
            begins,
            begins + rng.uniform(1, 1200),
        )
        simulation.start(run, known=rng.random() < 0.9, at=max(START, begins + 1))
    simulation.play(9000)
    assert len(simulation.found) == 400
    if not any(simulation.limits):
        assert simulation.delays()[380] < simulation.lag + 300 + 3 * POLL
    assert simulation.delays()[-1] < CHECK_MOST + 300


@pytest.mark.parametrize("poll", [1.0, 30.0, 600.0])
def test_intervals_are_bounded(poll: float) -> None:
    for age in (0.0, 1.0, 10.0, 60.0, 120.0, 1e4):
        assert min(5.0, poll) <= look_interval(age, poll) <= poll
    for number in (1, 50, 1000, 5000, 10**6):
        assert max(600.0, 20 * poll) <= check_interval(number, poll) <= max(CHECK_MOST, 20 * poll)
