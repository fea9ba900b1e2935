"""Rounds through the lists of tasks that have ended or are paused, where the whole list is in no order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from simulated_service import POLL, START, Run, Simulation, crowd

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.polling.list_order import Order
from airflow_provider_xpander.runs.polling.listing import VERIFY_EVERY, Listing, Row
from airflow_provider_xpander.runs.polling.status_lists import (
    LAG_ALLOWED,
    LISTED_STATUSES,
    SUSPENDED_ROUNDS,
    StatusLists,
    StatusRound,
)
from airflow_provider_xpander.runs.polling.waiters import Action, ReadPage, ReadTask

COMPLETED = TaskStatus.COMPLETED


def a_round(**given: Any) -> StatusRound:
    return StatusRound(
        **{"began": START, "new": (), "paused": (), "most_pages": 100, "fallback": None} | given
    )


def through(walk: StatusRound, pages: dict[str, list[tuple[list[str], int | None]]]) -> list[str]:
    """Let a round read the pages of each status; return what it asked for."""
    asked = []
    while not walk.is_over:
        status = str(walk.status)
        statuses, total = pages.get(status, [([], 0)])[walk.pages]
        asked.append(f"{status} {walk.pages + 1}")
        if not walk.take([f"{status}-{len(asked)}" for _ in statuses], statuses, total):
            return [*asked, "no use"]
    return asked


SOME, MORE = ["completed"] * 50, ["completed"] * 3


@pytest.mark.parametrize(
    ("pages", "asked"),
    [
        pytest.param({}, ["completed 1"], id="nothing has ended"),
        pytest.param({"completed": [(SOME, 2), (MORE, 2)]}, ["completed 1", "completed 2"], id="two pages"),
        pytest.param(
            {"completed": [(MORE, None), ([], None)]}, ["completed 1", "completed 2"], id="no total"
        ),
        pytest.param({"completed": [(["done"], 1)]}, ["completed 1"], id="another word"),
        pytest.param(
            {"completed": [(["pending", "running"], 1)]}, ["completed 1", "no use"], id="ignored filter"
        ),
        pytest.param({"completed": [(["completed", "running"], 1)]}, ["completed 1"], id="one was resumed"),
        pytest.param(
            {"completed": [(["completed", "pending"], 2), (["executing"], 2)]},
            ["completed 1", "completed 2", "no use"],
            id="ignored, as the second page shows",
        ),
    ],
)
def test_each_list_is_read_to_its_end_unless_it_shows_what_goes_on(
    pages: dict[str, list[tuple[list[str], int | None]]], asked: list[str]
) -> None:
    others = [f"{status} 1" for status in LISTED_STATUSES if status is not COMPLETED]
    got = through(a_round(), pages)
    assert got == (asked if "no use" in asked else asked + others)


def test_a_paused_task_may_end_while_the_page_is_made() -> None:
    assert "no use" not in through(a_round(), {"paused": [(["paused", "stopped"], 1)]})


def test_young_tasks_are_read_first_until_all_were_seen() -> None:
    walk = a_round(new={"y"}, paused={"p"})
    assert walk.status is None
    assert walk.take(["x"], ["executing"], 3)
    assert (walk.status, walk.pages) == (None, 1)
    assert walk.take(["y"], ["pending"], 3)
    assert (walk.status, walk.pages) == (LISTED_STATUSES[0], 0)
    assert walk.missing == {"p"}


def test_a_round_of_as_many_pages_as_there_are_waits_is_no_use() -> None:
    asked = through(a_round(most_pages=3), {"completed": [(SOME, 9)] * 9})
    assert asked == ["completed 1", "completed 2", "completed 3", "no use"]


def test_what_a_round_costs_is_known_from_the_whole_list_and_then_from_the_last_round() -> None:
    lists = StatusLists()
    assert lists.cost(1) == float("inf"), "before the whole list was read"
    lists.estimate({"executing": 900, "completed": 60, "failed": 1, "stopped": 40}, 1.0)
    assert lists.cost(2) == 2 + 1 + 1 + 1 + 1
    lists.estimate({"executing": 450, "completed": 60}, 0.5)  # of half of the list
    assert lists.cost(2) == 3 + 1 + 1 + 1 + 1
    walk = a_round()
    through(walk, {"completed": [(SOME, 7)] * 7})
    lists.finish(walk)
    assert lists.cost(3) == 7 + 1 + 1 + 1 + 1


def test_lists_that_are_no_use_are_tried_again_much_later() -> None:
    lists = StatusLists()
    lists.estimate({}, 1.0)
    lists.suspend(10)
    assert lists.cost(10 + SUSPENDED_ROUNDS - 1) == float("inf")
    assert lists.cost(10 + SUSPENDED_ROUNDS) == len(LISTED_STATUSES)


def test_two_rounds_that_fail_in_a_row_are_a_reason_to_do_without() -> None:
    lists = StatusLists()
    lists.estimate({}, 1.0)
    for _ in range(3):
        lists.note_failure(5)
        assert lists.cost(6) < float("inf")
        lists.finish(a_round())
    lists.note_failure(7)
    lists.note_failure(8)
    assert lists.cost(9) == float("inf")


@pytest.mark.parametrize(
    ("status", "updated", "overlooked"),
    [
        ("completed", START - LAG_ALLOWED - 1, True),
        ("success", START - LAG_ALLOWED - 1, True),
        ("paused", START - LAG_ALLOWED - 1, True),
        ("completed", START - LAG_ALLOWED + 1, False),
        ("executing", START - LAG_ALLOWED - 1, False),
        ("completed", None, False),
    ],
)
def test_what_ended_well_before_the_last_round_should_have_been_shown(
    status: str, updated: float | None, overlooked: bool
) -> None:
    lists = StatusLists()
    assert not lists.is_overlooked(status, updated)
    lists.finish(a_round())
    assert lists.is_overlooked(status, updated) is overlooked


def filtered(simulation: Simulation) -> list[float]:
    """Return when lists by status were asked for."""
    return [
        now for now, action in simulation.asked if isinstance(action, ReadPage) and action.status is not None
    ]


def a_thousand(**given: Any) -> Simulation:
    """An hour of a thousand runs in lists of no order."""
    simulation = Simulation(random.Random(1), **{"order": "none"} | given)
    simulation.history("agent-0", 30)
    crowd(simulation, 1000)
    simulation.play(3700)
    assert len(simulation.found) == 1000
    return simulation


@pytest.mark.parametrize("order", ["none", "created"])
@pytest.mark.parametrize("totals", [True, False])
def test_lists_of_ended_tasks_take_less_than_the_whole_list(order: str, totals: bool) -> None:
    whole = a_thousand(order=order, by_status="refused")
    simulation = a_thousand(order=order, totals=totals)
    assert len(simulation.asked) < 0.8 * len(whole.asked)
    early = [sum(now < START + 600 for now, _ in some.asked) for some in (simulation, whole)]
    assert early[0] < 0.6 * early[1], "while most runs go on"
    delays = simulation.delays()
    assert delays[949] < 1.2 * POLL
    assert delays[-1] < 2.2 * POLL


def test_lists_of_ended_tasks_tell_nothing_about_the_whole_one() -> None:
    rng = random.Random(1)
    moments = [START + index for index in range(400)]
    rng.shuffle(moments)
    rows = [Row(f"run-{at}", "executing", at, at, {}) for at in moments]
    waiting: dict[str, float | None] = {row.id: row.created for row in rows}
    listing = Listing()

    def read_whole() -> None:
        listing.begin(waiting, [])
        for number in range(8):
            listing.take(rows[number * 50 : number * 50 + 50], 8)

    read_whole()
    assert (listing.order, listing.was_whole, listing.cost) == (Order.NONE, True, 8)
    listing.begin(waiting, [])
    assert listing.may_use_status_lists
    listing.use_status_lists((), (), 0, 0.0, START + 1000)
    for number in range(6):
        later = [START + 900 - number * 50 - index for index in range(50)]
        assert listing.status is COMPLETED
        assert listing.take([Row(f"old-{at}", "completed", -at, at, {}) for at in later], 6)
    while listing.in_round:
        listing.take([], 0)
    assert (listing.order, listing.was_whole, listing.cost) == (Order.NONE, False, 10)
    listing.begin(waiting, [])
    assert not listing.may_use_status_lists, "it would cost ten, and the whole list eight"
    assert listing.page == 1


@pytest.mark.parametrize(("by_status", "most"), [("ignored", 1), ("refused", 1), ("fails", 2)])
def test_without_lists_by_status_the_whole_list_is_read(by_status: str, most: int) -> None:
    simulation = a_thousand(by_status=by_status)
    assert len(filtered(simulation)) <= most
    assert simulation.delays()[949] < 1.2 * POLL
    assert simulation.delays()[-1] < 2.2 * POLL
    assert len(simulation.looks) < 130


def test_an_outage_is_no_reason_to_do_without_lists_by_status() -> None:
    simulation = Simulation(random.Random(1), order="none", down=(START + 310, START + 500))
    crowd(simulation, 600)
    simulation.play(1000)
    after = [now for now in filtered(simulation) if now > START + 500]
    assert len(after) > 50


def test_lists_by_status_that_show_nothing_are_soon_found_out() -> None:
    simulation = a_thousand(by_status="empty")
    assert len(filtered(simulation)) < 60
    assert simulation.delays()[949] < 2 * POLL
    assert simulation.delays()[-1] < 6 * POLL


def test_lists_by_status_that_turn_empty_strand_nobody() -> None:
    simulation = Simulation(random.Random(1), order="none")
    crowd(simulation, 600)
    simulation.play(1000)
    simulation.by_status = "empty"
    simulation.play(2900)
    assert len(simulation.found) == 600
    assert simulation.delays()[-1] < (VERIFY_EVERY + 2) * POLL


def test_few_runs_are_followed_through_the_whole_list() -> None:
    simulation = Simulation(random.Random(1), order="none")
    crowd(simulation, 200)
    simulation.play(3700)
    assert not filtered(simulation)


def test_runs_that_begin_all_the_time_are_told_with_each_status() -> None:
    """A list of those that are young shows them; the old ones that go on are not read for that."""
    costs = {}
    for by_status in ("kept", "refused"):
        simulation = Simulation(random.Random(2), order="none", by_status=by_status)
        for index in range(800):
            begins = START + index * 4
            run = Run(
                f"run-{index}", "a", begins, begins + 1800, starts=begins + simulation.rng.uniform(5, 90)
            )
            simulation.start(run, at=begins + 1)
        simulation.play(5100)
        assert len(simulation.found) == 800
        assert simulation.delays()[-1] < 2.2 * POLL
        for run in simulation.runs.values():
            told = dict(simulation.told[run.id])
            assert list(told)[-2:] == ["executing", "completed"]
            assert told["executing"] - run.starts < 2.2 * POLL
        costs[by_status] = len(simulation.asked)
    assert costs["kept"] < 0.85 * costs["refused"]


def test_a_pause_and_its_end_are_told() -> None:
    simulation = Simulation(random.Random(3), order="none")
    crowd(simulation, 600)
    paused = [f"run-{index}" for index in range(0, 600, 60)]
    for task_id in paused:
        run = next(waiter.watch.task_id for _, waiter in simulation.coming if waiter.watch.task_id == task_id)
        simulation.runs[run].pauses, simulation.runs[run].ends = (START + 200, START + 500), START + 1500
    simulation.play(3800)
    assert len(simulation.found) == 600
    assert len(filtered(simulation)) > 100
    whole = [
        now
        for now, action in simulation.asked
        if isinstance(action, ReadPage) and action.status is None and START + 490 < now < START + 590
    ]
    assert not whole, "an end of a pause is told by one look"
    for task_id in paused:
        told = simulation.told[task_id]
        assert [status for status, _ in told] == ["executing", "paused", "executing", "completed"]
        late = [
            now - at for (_, now), at in zip(told[1:], (START + 200, START + 500, START + 1500), strict=True)
        ]
        assert max(late) < 2.2 * POLL


def test_a_run_that_vanishes_from_the_list_is_looked_at_after_the_next_whole_round() -> None:
    simulation = Simulation(random.Random(4), order="none")
    crowd(simulation, 600)
    simulation.play(400)
    simulation.hidden = {"run-7"}
    simulation.runs["run-7"].ends = START + 3000
    simulation.play(3400)
    first = next(
        now
        for now, action in simulation.asked
        if not isinstance(action, ReadPage) and action.waiter.misses and now > START + 400
    )
    assert first - START - 400 < (VERIFY_EVERY + 3) * POLL
    assert simulation.found["run-7"] - START - 3000 < 2.2 * POLL


def test_runs_that_lists_have_lost_are_looked_for_in_the_whole_list() -> None:
    simulation = Simulation(random.Random(1), order="none", lag=8.0)
    crowd(simulation, 600)
    simulation.play(3900)
    assert len(simulation.found) == 600
    assert len(simulation.looks) < 700


def test_another_word_for_a_pause_is_no_change_that_was_overlooked() -> None:
    """Get Task may spell a status otherwise than the list (contract section 5)."""
    simulation = Simulation(random.Random(1), order="none")
    crowd(simulation, 600)
    simulation.play(100)
    for index in range(0, 600, 60):
        if (run := simulation.runs[f"run-{index}"]).ends > simulation.now:
            run.pauses, run.ends = (simulation.now + 100, simulation.now + 1e6), START + 2900
    answer = simulation.answer

    def spelled_otherwise(action: Action[None]) -> None:
        answer(action)
        if isinstance(action, ReadTask) and action.waiter.seen and action.waiter.seen[0] == "paused":
            action.waiter.seen = ("waiting_for_approval", action.waiter.seen[1])

    simulation.answer = spelled_otherwise  # type: ignore[method-assign]
    simulation.play(2500)
    late = [moment for moment, action in simulation.asked if isinstance(action, ReadPage) and action.status]
    assert late[-1] > START + 2000


def test_a_young_run_that_is_old_makes_the_whole_list_the_cheaper_one() -> None:
    """A run that was pending all along needs a list of nearly all tasks, others' included."""
    simulation = Simulation(random.Random(1), order="none")
    for index in range(300):
        simulation.start(Run(f"o-{index}", "a", START - 10 - index * 3, START + 1e5))
    for index in range(20):
        begins = START - 905 + index
        simulation.start(Run(f"p-{index}", "a", begins, START + 1e6, starts=START + 1e6))
    for index in range(3200):
        begins = START - 10 - index * 0.28
        simulation.runs[f"x-{index}"] = Run(f"x-{index}", "a", begins, START + (1e6 if index % 2 else -1))
    simulation.play(600)
    assert simulation.pages < 22 * 72
