"""Requests of a poller, one after the other, against a simulated service in a time of its own."""

from __future__ import annotations

import random

import pytest
from simulated_service import POLL, START, Run, Simulation, crowd

from airflow_provider_xpander.runs.polling.list_order import Order
from airflow_provider_xpander.runs.polling.scheduler import LIST_RETRY
from airflow_provider_xpander.runs.polling.waiters import ReadPage, ReadTask, Waiter
from airflow_provider_xpander.runs.timing import CHECK_MOST, check_interval, look_interval
from airflow_provider_xpander.runs.watch import Watch


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
    # The time for such looks comes for all within an hour, for which the budget takes a little longer.
    assert simulation.delays()[0] < 2.2 * CHECK_MOST


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


@pytest.mark.parametrize("order", ["updated", "none"])
def test_a_list_that_shows_runs_late_is_read_again(order: str) -> None:
    simulation = Simulation(random.Random(2), order=order, lag=100.0)
    for index in range(300):
        simulation.start(Run(f"run-{index}", "a", START, START + 1200 + 6 * index))
    simulation.play(3300)
    assert len(simulation.found) == 300
    assert len(simulation.looks) < 300 * 8  # some five until the list is tried again, and a check or two


def test_a_list_is_read_again_although_nothing_was_in_it_for_a_time() -> None:
    """Continued threads are looked at by themselves; the runs that come later are in the list."""
    simulation = Simulation(random.Random(1))
    for index in range(3):
        thread = simulation.runs[f"own-{index}"] = Run(f"own-{index}", "a", START, START + 5000)
        watch = Watch(thread.id, POLL, since=START, newer_than=START - 100)
        simulation.coming.append((START, Waiter(watch, "a", START, START, None)))
    for index in range(20):
        simulation.start(Run(f"x-{index}", "a", START + 60, START + 120 + index), at=START + 61)
    simulation.play(1000)
    assert len(simulation.found) == 20
    assert simulation.delays()[-1] < 2 * POLL


def test_a_list_is_read_again_after_it_was_given_up_while_runs_were_lost() -> None:
    simulation = Simulation(random.Random(1), hidden={"lost"})
    simulation.start(Run("lost", "a", START, START + 8000))
    for index in range(30):
        simulation.start(Run(f"x-{index}", "a", START, START + 900 + index * 5))
    simulation.play(70)
    simulation.no_list = True
    simulation.play(200)
    simulation.no_list = False
    looks = len(simulation.looks)
    simulation.play(2700)
    assert simulation.delays()[-1] < 2 * POLL
    assert len(simulation.looks) - looks < 300  # a third of them at the one that is lost


@pytest.mark.parametrize(("number", "every"), [(20, 2.0), (100, 1.0)], ids=["few", "many"])
def test_a_verifying_round_that_is_long_does_not_end_the_list(number: int, every: float) -> None:
    """An agent that is busy for others has many pages of changes by the time that all of them are read."""
    simulation = Simulation(random.Random(1))
    for index in range(number):
        simulation.start(Run(f"o-{index}", "a", START - 5, START + 1e6))
    for index in range(int(7200 / every)):
        begins = START + index * every
        simulation.runs[f"x-{index}"] = Run(f"x-{index}", "a", begins, begins + 60)
    simulation.play(7100)
    assert len(simulation.asked) < 0.2 * number * 7100 / POLL


def test_two_waits_for_one_run_are_both_settled_in_time() -> None:
    simulation = Simulation(random.Random(1))
    for index in range(3):
        run = Run(f"t-{index}", "a", START - 300, START + 400)
        simulation.start(run)
        watch = Watch(run.id, POLL, since=START - 300, newer_than=START - 400)
        simulation.coming.insert(0, (START, Waiter(watch, "a", START - 300, START, None)))
    simulation.play(1000)
    assert simulation.pages > 0
    assert simulation.scheduler.waiting == 0
    assert simulation.delays()[-1] < 2 * POLL


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


@pytest.mark.parametrize(
    ("lasts", "begins", "pages"),
    [(0.5, 1.5, 20), (3.0, 4.0, 20), (60.0, 5.0, None)],
    ids=["at once", "within seconds", "for a minute"],
)
def test_the_first_round_waits_for_those_who_come_along(
    lasts: float, begins: float, pages: int | None
) -> None:
    simulation = Simulation(random.Random(7))
    for index in range(1000):
        at = START + lasts * index / 1000
        simulation.start(Run(f"run-{index}", "a", START - 300, START + 1e6), at=at)
    simulation.play(20 if pages else 6)
    first = next(moment for moment, action in simulation.asked if isinstance(action, ReadPage))
    assert first - START == pytest.approx(begins, abs=0.2)
    assert pages is None or simulation.pages == pages


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
    assert (
        sum(1 for now, action in simulation.asked if isinstance(action, ReadTask) and now < START + 930) < 60
    )
    late = [
        found - START - 900
        for task_id, found in simulation.found.items()
        if START + 300 <= simulation.runs[task_id].ends < START + 900
    ]
    assert max(late) < 2.5 * POLL


@pytest.mark.parametrize("begins", range(0, 60, 10))
@pytest.mark.parametrize("lasts", [30, 300])
def test_after_an_outage_at_whatever_moment_the_list_is_read(begins: int, lasts: int) -> None:
    down = (START + 315 + begins, START + 315 + begins + lasts)
    simulation = Simulation(random.Random(4), order="none", down=down)
    crowd(simulation, 600)
    simulation.play(1200)
    assert len(simulation.looks) < 100


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
        if isinstance(action, ReadTask) and action.waiter.watch.task_id == "lone":
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
