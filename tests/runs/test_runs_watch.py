from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_xpander.api.errors import (
    XpanderAuthError,
    XpanderBillingError,
    XpanderConnectionError,
    XpanderError,
    XpanderNotFoundError,
    XpanderRateLimitError,
    XpanderServiceError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.exchange import NoReply, Reply, Send, Sleep
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.watch import (
    NOT_FOUND_GRACE,
    OUTAGE_BUDGET,
    Again,
    End,
    Over,
    Watch,
    get_task_patiently,
    poll_until_done,
)

POLL = 30.0
TERMINAL = ["completed", "failed", "error", "stopped"]
NOT_FOUND = XpanderNotFoundError("no such task", status_code=404)
OUTAGES = [
    XpanderConnectionError("cannot reach"),
    XpanderServiceError("HTTP 502, an HTML page", status_code=502),
    XpanderServiceError("HTTP 200 with an empty body", status_code=200),
]


def task(status: str = "executing") -> Task:
    return Task.model_validate({"id": "t-1", "status": status})


def is_about(verdict: Any, seconds: float) -> bool:
    return isinstance(verdict, Again) and 0.8 * seconds <= verdict.seconds <= 1.2 * seconds


@pytest.mark.parametrize("status", ["pending", "executing", "paused", "napping"])
def test_a_run_that_goes_on_is_looked_at_again(status: str) -> None:
    assert is_about(Watch("t-1", POLL, since=0.0).after_task(task(status), 1000.0), POLL)


@pytest.mark.parametrize(
    ("age", "seconds"), [(0.0, 5.0), (10.0, 5.0), (40.0, 10.0), (100.0, 25.0), (120.0, POLL), (1e5, POLL)]
)
def test_a_young_run_is_looked_at_more_often(age: float, seconds: float) -> None:
    assert is_about(Watch("t-1", POLL, since=1000.0).after_task(task(), 1000.0 + age), seconds)


def test_a_run_of_unknown_age_is_young_at_the_first_look() -> None:
    watch = Watch("t-1", POLL)
    assert is_about(watch.after_task(task(), 1000.0), 5.0)
    assert is_about(watch.after_task(task(), 1200.0), POLL)


@pytest.mark.parametrize("since", [0.0, 2000.0], ids=["old", "of a clock that is ahead"])
def test_no_look_comes_sooner_than_the_author_wants_it_or_five_seconds(since: float) -> None:
    assert is_about(Watch("t-1", 2.0, since=since).after_task(task(), 1000.0), 2.0)


def test_looks_drift_apart() -> None:
    waits = {Watch("t-1", POLL).after_task(task(), 0.0).seconds for _ in range(20)}  # type: ignore[union-attr]
    assert len(waits) > 1


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("deadline", [None, 2000.0, 500.0], ids=["no deadline", "in time", "too late"])
def test_a_run_that_has_ended_ends_the_wait_even_after_the_deadline(
    status: str, deadline: float | None
) -> None:
    ended = task(status)
    assert Watch("t-1", POLL, deadline).after_task(ended, 1000.0) == Over(End.FINISHED, ended)


def paused(began: str | None = None) -> Task:
    return Task.model_validate({"id": "t-1", "status": "paused", "paused_at": began})


NINE, TEN = "2026-02-07T09:00:00Z", "2026-02-07T10:00:00Z"


@pytest.mark.parametrize(
    ("asked", "seen", "ends"),
    [
        (None, [paused(NINE)], True),
        (paused(NINE).pause, [paused(NINE), paused(NINE)], False),
        (paused(NINE).pause, [paused(TEN)], True),
        (paused(NINE).pause, [task(), paused(TEN)], True),
        (paused().pause, [paused(), paused()], False),
        (paused().pause, [paused(), task(), paused()], True),
    ],
    ids=["first", "same", "next", "went on, next", "same without a time", "went on, next without a time"],
)
def test_a_pause_that_was_asked_about_does_not_end_the_wait_again(
    asked: str | None, seen: list[Task], ends: bool
) -> None:
    watch = Watch("t-1", POLL, on_paused="ask", asked=asked)
    *before, last = [watch.after_task(one, 0.0) for one in seen]
    assert all(isinstance(verdict, Again) for verdict in before)
    assert (isinstance(last, Over) and last.end is End.PAUSED) is ends


@pytest.mark.parametrize(
    ("status", "end"),
    [("paused", End.PAUSED), ("executing", None), ("completed", End.FINISHED)],
)
def test_a_pause_ends_the_wait_only_if_asked_for(status: str, end: End | None) -> None:
    verdict = Watch("t-1", POLL, on_paused="fail").after_task(task(status), 0.0)
    assert (verdict.end if isinstance(verdict, Over) else None) == end
    assert isinstance(Watch("t-1", POLL).after_task(task("paused"), 0.0), Again)


@pytest.mark.parametrize(
    ("now", "expected"),
    [(999.0, 1.0), (995.0, 5.0), (1000.0, None), (1001.0, None)],
    ids=["just before", "before", "at", "after"],
)
def test_the_deadline_is_met_to_the_second(now: float, expected: float | None) -> None:
    seen = task()
    verdict = Watch("t-1", POLL, deadline=1000.0, since=0.0).after_task(seen, now)
    assert verdict == (Over(End.TIMEOUT, seen) if expected is None else Again(expected))


@pytest.mark.parametrize("error", [*OUTAGES, NOT_FOUND, XpanderRateLimitError("slow")], ids=str)
def test_the_deadline_holds_while_nothing_answers(error: XpanderError) -> None:
    watch = Watch("t-1", POLL, deadline=1000.0)
    seen = task()
    watch.after_task(seen, 900.0)
    assert watch.after_error(error, 999.0) == Again(1.0)
    assert watch.after_error(error, 1000.0) == Over(End.TIMEOUT, seen)


def test_a_brief_wait_remembers_the_status_alone() -> None:
    watch = Watch("t-1", POLL, deadline=1000.0, brief=True)
    watch.after_task(task("paused"), 900.0)
    assert watch.after_error(NOT_FOUND, 1000.0) == Over(End.TIMEOUT, None, None, TaskStatus.PAUSED)
    ended = task("completed")
    assert watch.after_task(ended, 1000.0) == Over(End.FINISHED, ended)


@pytest.mark.parametrize("error", OUTAGES, ids=str)
def test_an_outage_is_outlived_up_to_the_deadline(error: XpanderError) -> None:
    watch = Watch("t-1", POLL, deadline=1e9)
    for hour in range(100):
        assert is_about(watch.after_error(error, hour * 3600.0), POLL)


@pytest.mark.parametrize("error", OUTAGES, ids=str)
def test_an_outage_without_a_deadline_has_a_budget_in_time(error: XpanderError) -> None:
    watch = Watch("t-1", POLL)
    for second in range(0, int(OUTAGE_BUDGET), 10):
        assert isinstance(watch.after_error(error, float(second)), Again)
    assert watch.after_error(error, OUTAGE_BUDGET) == Over(End.ERROR, None, error)


def test_an_answer_refills_the_budget_of_outages() -> None:
    watch = Watch("t-1", POLL)
    seen = task()
    watch.after_error(OUTAGES[0], 0.0)
    watch.after_task(seen, OUTAGE_BUDGET - 1)
    assert isinstance(watch.after_error(OUTAGES[0], OUTAGE_BUDGET), Again)
    assert isinstance(watch.after_error(OUTAGES[0], OUTAGE_BUDGET + 1), Again)
    assert watch.after_error(OUTAGES[0], 2 * OUTAGE_BUDGET) == Over(End.ERROR, seen, OUTAGES[0])


LIFE, THROTTLED = "a list shows it", XpanderRateLimitError("slow")


@pytest.mark.parametrize(
    ("happened", "ends"),
    [
        pytest.param([(0, OUTAGES[1]), (3600, OUTAGES[1])], False, id="two failures an hour apart"),
        pytest.param([(0, OUTAGES[1]), (60, LIFE), (3600, OUTAGES[1])], False, id="seen between failures"),
        pytest.param(
            [(0, OUTAGES[0]), (9, OUTAGES[0]), (60, LIFE), (3600, OUTAGES[0]), (3609, OUTAGES[0])],
            False,
            id="seen between two short outages",
        ),
        pytest.param(
            [(0, OUTAGES[0]), (9, OUTAGES[0]), (1800, THROTTLED), (3600, OUTAGES[0]), (3609, OUTAGES[0])],
            False,
            id="throttled between two short outages",
        ),
        pytest.param(
            [(0, OUTAGES[0]), (9, OUTAGES[0]), (20, NOT_FOUND), (21, LIFE), (3600, OUTAGES[0])],
            False,
            id="a word of the service between two short outages",
        ),
        pytest.param(
            [(0, OUTAGES[0]), (1800, OUTAGES[1]), (3600, OUTAGES[0])], True, id="an hour of failures"
        ),
        pytest.param([(0, NOT_FOUND), (10, LIFE), (3600, NOT_FOUND)], False, id="seen between two 404"),
        pytest.param([(0, LIFE), (3000, NOT_FOUND), (3061, NOT_FOUND)], True, id="404 for a minute"),
    ],
)
def test_a_sign_of_life_renews_grace_and_budget(happened: list[tuple[float, Any]], ends: bool) -> None:
    watch = Watch("t-1", POLL)
    verdict: Any = None
    for now, what in happened:
        assert not isinstance(verdict, Over)
        if isinstance(what, XpanderError):
            verdict = watch.after_error(what, float(now))
        else:
            watch.note_sign_of_life()
    assert isinstance(verdict, Over) is ends


def test_a_task_that_is_not_visible_yet_has_a_grace() -> None:
    watch = Watch("t-1", POLL)
    for second in range(int(NOT_FOUND_GRACE)):
        assert is_about(watch.after_error(NOT_FOUND, 1000.0 + second), 5.0)
    assert watch.after_error(NOT_FOUND, 1000.0 + NOT_FOUND_GRACE) == Over(End.ERROR, None, NOT_FOUND)


def test_the_grace_of_a_short_interval_is_polled_at_that_interval() -> None:
    assert is_about(Watch("t-1", 1.0).after_error(NOT_FOUND, 0.0), 1.0)


def test_an_answer_renews_the_grace() -> None:
    watch = Watch("t-1", POLL)
    watch.after_error(NOT_FOUND, 0.0)
    watch.after_task(task(), 30.0)
    assert isinstance(watch.after_error(NOT_FOUND, NOT_FOUND_GRACE + 1), Again)


@pytest.mark.parametrize(
    "error",
    [
        XpanderAuthError("bad key", status_code=401),
        XpanderAuthError("no access", status_code=403),
        XpanderBillingError("no credit", status_code=429),
        XpanderValidationError("bad id", status_code=422),
    ],
    ids=str,
)
def test_what_cannot_pass_ends_the_wait(error: XpanderError) -> None:
    watch = Watch("t-1", POLL, deadline=1e9)
    seen = task()
    watch.after_task(seen, 0.0)
    assert watch.after_error(error, 1.0) == Over(End.ERROR, seen, error)


@pytest.mark.parametrize("kind", [XpanderRateLimitError, XpanderServiceError])
@pytest.mark.parametrize(("retry_after", "wait"), [(None, POLL), (5.0, POLL), (600.0, 600.0)])
def test_the_service_can_slow_the_looks_down(kind: Any, retry_after: float | None, wait: float) -> None:
    error = kind("slow", retry_after=retry_after, status_code=503)
    assert is_about(Watch("t-1", POLL).after_error(error, 0.0), wait)


RUNNING = Reply(200, {}, b'{"id": "t-1", "status": "executing"}')
COMPLETED = Reply(200, {}, b'{"id": "t-1", "status": "completed"}')
MISSING = Reply(404, {}, b'{"detail": "not found"}')
DOWN = NoReply("cannot reach https://x", sent=False)


def play(make: Callable[..., Any], *outcomes: Reply | NoReply) -> tuple[Any, list[str]]:
    """Play a conversation in a time that only its waits move; return its result and what it did."""
    now = 1000.0
    steps = make(clock=lambda: now)
    replies = list(outcomes)
    done: list[str] = []
    step = next(steps)
    while len(done) < 1000:
        answer = None
        if isinstance(step, Send):
            assert (step.call.method, step.call.path) == ("GET", "/v1/tasks/t-1")
            answer = replies.pop(0) if len(replies) > 1 else replies[0]
            done.append("look")
        else:
            assert isinstance(step, Sleep)
            now += step.seconds
            done.append("wait")
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return end.value, done
    raise AssertionError("no end")


def test_following_a_run_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[Task] = []
    with caplog.at_level(logging.WARNING):
        over, done = play(
            lambda **clock: poll_until_done(Watch("t-1", POLL), report=reported.append, **clock),
            RUNNING, DOWN, COMPLETED,
        )  # fmt: skip
    assert over.end is End.FINISHED
    assert over.task.status == "completed"
    assert done == ["look", "wait", "look", "wait", "look"]
    assert [seen.status for seen in reported] == ["executing", "completed"]
    assert "cannot reach https://x" in caplog.text


@pytest.mark.parametrize(
    "outcome", [RUNNING, DOWN, Reply(429), Reply(503)], ids=["runs", "down", "429", "503"]
)
def test_following_a_run_ends_at_the_deadline(outcome: Reply | NoReply) -> None:
    over, _ = play(lambda **clock: poll_until_done(Watch("t-1", POLL, deadline=1500.0), **clock), outcome)
    assert over.end is End.TIMEOUT


def test_following_a_run_that_has_gone_ends() -> None:
    over, _ = play(lambda **clock: poll_until_done(Watch("t-1", POLL), **clock), RUNNING, MISSING)
    assert over.end is End.ERROR
    assert isinstance(over.error, XpanderNotFoundError)
    assert over.task.status == "executing"


def test_one_look_is_patient_with_a_task_that_is_not_visible_yet() -> None:
    seen, done = play(lambda **clock: get_task_patiently("t-1", **clock), MISSING, MISSING, RUNNING)
    assert seen.status == "executing"
    assert done == ["look", "wait", "look", "wait", "look"]


def test_one_look_at_an_unknown_task_gives_up_after_the_grace() -> None:
    with pytest.raises(XpanderNotFoundError):
        play(lambda **clock: get_task_patiently("t-1", **clock), MISSING)


def test_one_look_outlives_a_short_failure_only() -> None:
    seen, _ = play(lambda **clock: get_task_patiently("t-1", **clock), DOWN, RUNNING)
    assert seen.id == "t-1"
    with pytest.raises(XpanderConnectionError):
        play(lambda **clock: get_task_patiently("t-1", **clock), DOWN)
