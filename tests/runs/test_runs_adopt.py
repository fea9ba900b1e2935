from __future__ import annotations

from itertools import combinations, permutations, product
from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.adopt import Adopt, Reattach, Start, decide
from airflow_provider_xpander.runs.identity import Mark

DIGEST = "0123456789abcdef0123"
MARK = Mark(DIGEST, "aaaaaaaaaaaa")
OTHER_REQUEST = Mark(DIGEST, "bbbbbbbbbbbb")
ALIVE = ["pending", "executing", "paused"]
GONE = ["failed", "error", "stopped"]
ALL = [*ALIVE, "completed", *GONE]
TAKING: list[Reattach] = [True, "same_request"]


def run(status: str, at: int = 0, mark: Mark | None = MARK, **fields: Any) -> Task:
    """A run that was created at a minute, whose id says what it is."""
    known = {
        "id": f"{status}-{at}",
        "status": status,
        "created_at": f"2026-11-01T00:{at:02}:00Z",
        "title": f"t {mark}" if mark else "t",
    }
    return Task.model_validate(known | fields)


def chosen(decision: Start | Adopt) -> str | None:
    return decision.task.id if isinstance(decision, Adopt) else None


def spare(decision: Start | Adopt) -> set[str]:
    return {task.id for task in decision.spare}


@pytest.mark.parametrize("reattach", [True, "same_request", False])
def test_nothing_found_starts_without_a_word(reattach: Reattach) -> None:
    assert decide([], MARK, reattach) == Start()


@pytest.mark.parametrize("found", [[run(status)] for status in ALL])
def test_false_never_takes_over(found: list[Task]) -> None:
    assert decide(found, MARK, False) == Start()


@pytest.mark.parametrize("reattach", TAKING)
@pytest.mark.parametrize("status", [*ALIVE, "completed"])
def test_a_run_that_goes_on_or_has_completed_is_taken_over(status: str, reattach: Reattach) -> None:
    assert decide([run(status)], MARK, reattach) == Adopt(run(status))


@pytest.mark.parametrize("reattach", TAKING)
@pytest.mark.parametrize("status", GONE)
@pytest.mark.parametrize("mutating", [True, False, None])
def test_a_run_that_ended_otherwise_is_started_anew_and_the_log_says_why(
    status: str, reattach: Reattach, mutating: bool | None
) -> None:
    decision = decide([run(status, used_mutating_tools=mutating)], MARK, reattach)
    assert isinstance(decision, Start)
    assert not decision.spare
    assert decision.why is not None
    assert f"xpander task {status}-0, {TaskStatus(status).in_words}" in decision.why
    assert ("tools that change things" in decision.why) is bool(mutating)


@pytest.mark.parametrize("status", [*ALIVE, "completed"])
def test_another_request_is_taken_over_with_a_warning(status: str) -> None:
    decision = decide([run(status, mark=OTHER_REQUEST)], MARK, True)
    assert chosen(decision) == f"{status}-0"
    assert isinstance(decision, Adopt)
    assert "clear the task" in str(decision.warning)
    assert "same_request" in str(decision.warning)


@pytest.mark.parametrize("status", [*ALIVE, "completed"])
def test_another_request_is_not_the_same_request(status: str) -> None:
    """And where it goes on, nobody waits for it any more: it must not be forgotten."""
    decision = decide([run(status, mark=OTHER_REQUEST)], MARK, "same_request")
    assert isinstance(decision, Start)
    assert "is of another request" in str(decision.why)
    assert spare(decision) == ({f"{status}-0"} if status in ALIVE else set())


@pytest.mark.parametrize("reattach", TAKING)
@pytest.mark.parametrize("mark", [Mark(DIGEST), None], ids=["no fingerprint", "no mark at all"])
def test_a_run_whose_request_is_unknown_is_taken_for_the_same(mark: Mark | None, reattach: Reattach) -> None:
    assert decide([run("executing", mark=mark)], MARK, reattach) == Adopt(run("executing", mark=mark))


def test_the_source_tells_the_request_where_the_title_was_rewritten() -> None:
    rewritten = run("executing", mark=None, source=f"airflow {OTHER_REQUEST}")
    assert chosen(decide([rewritten], MARK, "same_request")) is None


@pytest.mark.parametrize("reattach", TAKING)
def test_every_pair_of_runs_in_any_order(reattach: Reattach) -> None:
    """Completed before alive, then the newest; all others that go on are spare."""
    for first, second in product(ALL, ALL):
        runs = [run(first, 1), run(second, 2)]
        usable = [task for task in runs if task.status.value not in GONE]
        completed = [task for task in usable if task.status.value == "completed"]
        best = (completed or usable or [None])[-1]
        going_on = {task.id for task in runs if task.status.value in ALIVE and task is not best}
        for found in permutations(runs):
            decision = decide(found, MARK, reattach)
            assert chosen(decision) == (best.id if best else None), (first, second)
            assert spare(decision) == going_on, (first, second)


def test_every_set_of_three_statuses_leaves_no_run_without_an_owner() -> None:
    for statuses in combinations(ALL, 3):
        found = [run(status, number) for number, status in enumerate(statuses)]
        for reattach in TAKING:
            decision = decide(found, MARK, reattach)
            owned = spare(decision) | {str(chosen(decision))}
            assert {task.id for task in found if not task.status.is_terminal} <= owned
            assert (chosen(decision) is None) == all(status in GONE for status in statuses)


def test_the_same_request_is_preferred_to_a_newer_other_one() -> None:
    found = [run("executing", 1), run("executing", 2, mark=OTHER_REQUEST)]
    decision = decide(found, MARK, "same_request")
    assert (chosen(decision), spare(decision)) == ("executing-1", {"executing-2"})


def test_the_last_of_several_that_ended_is_named() -> None:
    decision = decide([run("failed", 3), run("stopped", 1)], MARK, True)
    assert isinstance(decision, Start)
    assert "failed-3" in str(decision.why)


def test_runs_without_dates_do_no_harm() -> None:
    found = [run("executing", 1, created_at=None, id="a"), run("executing", 2)]
    assert chosen(decide(found, MARK, True)) == "executing-2"
