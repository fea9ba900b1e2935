"""Waves: how many runs may be started, and when enough have ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_xpander.bulk.manifest import estimate, first_reason, manifest_of, too_many_failed
from airflow_provider_xpander.bulk.packs import Pack
from airflow_provider_xpander.bulk.progress import progress
from airflow_provider_xpander.bulk.state import Flight, Spent, State
from airflow_provider_xpander.bulk.waves import LOST_GRACE, Limits, enough, lost_until


def flights(known: int, lost: int = 0) -> tuple[Flight, ...]:
    runs = [Flight(number, Pack((number,)), "a", 5.0, f"run-{number}") for number in range(known)]
    return (*runs, *(Flight(100 + number, Pack((100 + number,)), "a", 5.0) for number in range(lost)))


def state(**fields: Any) -> State:
    return State(**{"rows": 1000, "limit": 1000, "began": 0.0, **fields})


def spent(started: int, tokens: int = 0) -> Spent:
    return Spent(started=started, completed=started, total_tokens=tokens, seconds=10.0 * started)


@pytest.mark.parametrize(
    ("limits", "now", "room", "exceeded"),
    [
        pytest.param(Limits(50), state(), 50, None, id="none in flight"),
        pytest.param(
            Limits(50), state(flight=flights(47, 1)), 2, None, id="some in flight, one of them lost"
        ),
        pytest.param(Limits(50), state(flight=flights(60)), 0, None, id="too many already"),
        pytest.param(Limits(50, max_runs=60), state(spent=spent(57)), 3, None, id="few runs left"),
        pytest.param(
            Limits(50, max_runs=60),
            state(spent=spent(59), flight=flights(0, 1)),
            0,
            None,
            id="lost ones count",
        ),
        pytest.param(Limits(50, max_runs=60), state(spent=spent(60)), 0, "max_runs=60", id="no runs left"),
        pytest.param(Limits(50, max_runs=60), state(spent=spent(60), cursor=1000), 0, None, id="and no rows"),
        pytest.param(Limits(50, None, 1000), state(), 5, None, id="tokens of a run not known yet"),
        pytest.param(Limits(50, None, 1000), state(spent=spent(4, 400)), 6, None, id="tokens for six more"),
        pytest.param(
            Limits(50, None, 1000), state(spent=spent(8, 400), flight=flights(4)), 2, None, id="in flight too"
        ),
        pytest.param(
            Limits(50, None, 1000),
            state(spent=spent(9, 950)),
            0,
            "max_total_tokens=1000",
            id="one is too much",
        ),
    ],
)
def test_room_within_the_limits(limits: Limits, now: State, room: int, exceeded: str | None) -> None:
    assert limits.room(now) == room
    assert limits.exceeded(now) == exceeded


@pytest.mark.parametrize(
    ("known", "more", "number"), [(50, True, 40), (50, False, 50), (1, True, 1), (0, True, 1)]
)
def test_enough_of_a_wave(known: int, more: bool, number: int) -> None:
    assert enough(state(flight=flights(known, 1)), more=more) == number


def test_answers_that_wait_for_budget_are_not_waited_for_again() -> None:
    ended = (replace(flights(1)[0], number=200, ended=True),)
    assert enough(state(flight=(*flights(10), *ended)), more=True) == 11
    assert enough(state(flight=ended), more=False) == 1


def test_lost_submits_are_looked_for_when_their_grace_is_over() -> None:
    assert lost_until(state(flight=flights(3))) is None
    assert lost_until(state(flight=flights(3, 2))) == 5.0 + LOST_GRACE


@pytest.mark.parametrize(
    ("failed", "max_failed", "too_many"),
    [
        (10, 0.1, False),
        (11, 0.1, True),
        (11, 11, False),
        (11, 10, True),
        (0, 0, False),
        (1, 0, True),
        (100, 1.0, False),
    ],
)
def test_how_many_rows_may_fail(failed: int, max_failed: float, too_many: bool) -> None:
    why = too_many_failed(state(failed=failed, answered=100 - failed), max_failed)
    assert bool(why) == too_many


def test_the_counts_of_a_manifest_add_up() -> None:
    now = state(answered=10, cached=5, failed=2, left=3, spent=spent(12, 99))
    manifest = manifest_of(now, "file:///x/")
    counts = manifest["counts"]
    assert counts.pop("rows") == sum(counts.values()) == 1000
    assert manifest["urls"]["manifest"] == "file:///x/manifest.json"


def test_a_preview_tells_the_cost_of_the_whole() -> None:
    now = state(limit=10, answered=10, spent=spent(10, 500))
    told = estimate(now, max_in_flight=50, requests_per_hour=1000)
    assert told == {"rows": 10, "runs": 1000, "requests": 2100, "tokens": 50_000, "seconds": 3960}
    assert estimate(now, max_in_flight=50, requests_per_hour=0)["seconds"] == 200


def test_the_progress_is_numbers_only() -> None:
    now = state(answered=300, cached=200, flight=flights(5), spent=spent(30, 12_345))
    assert progress(now, 3600.0, ended=2) == (
        "500 of 1,000 rows; 300 answered, 200 cached, 0 failed; 3 runs in flight, 2 ended; 30 runs started, "
        "0 of them repeats; 12,345 tokens; 300 rows an hour; about 1.7 h left"
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("xpander task 7f0c-1 ended with an error: no table.", " (the first: ended with an error: no table)"),
        ("the answer has no row", " (the first: the answer has no row)"),
        (None, ""),
    ],
)
def test_a_task_that_fails_for_its_rows_says_why_the_first_did(reason: str | None, said: str) -> None:
    sample = ({"id": 1, "reason": reason},) if reason else ()
    assert first_reason(replace(state(failed=1), sample=sample)) == said


def test_nothing_was_later_than_now_by_the_clock_of_whoever_takes_it_up() -> None:
    """Else a lost submit would be waited for, and a budget taken for used up, until that clock gets there."""
    early, late = flights(2)
    written = state(
        flight=(early, replace(late, at=400.0, missing=401.0)),
        sent=((5.0, 1, 2), (402.0, 3, 4)),
        trouble=403.0,
    )
    assert written.not_after(100.0) == state(
        flight=(early, replace(late, at=100.0, missing=100.0)),
        sent=((5.0, 1, 2), (100.0, 3, 4)),
        trouble=100.0,
    )
    assert written.not_after(500.0) == written


def test_a_state_is_brought_to_another_clock() -> None:
    one = replace(flights(1)[0], missing=6.0)
    written = state(flight=(one,), sent=((7.0, 1, 2),), trouble=8.0, began=9.0)
    there = replace(one, at=2.0, missing=3.0)
    assert written.shifted(-3.0) == state(flight=(there,), sent=((4.0, 1, 2),), trouble=5.0, began=9.0)
