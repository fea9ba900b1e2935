"""The log of a wait: status, progress, signs of life."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.log.status_log import (
    LONGEST_INTERVAL,
    Progress,
    StatusReport,
    next_sign,
    recap,
    sign_of_life,
    told_of,
)


def task(status: str, **fields: Any) -> Task:
    return Task.model_validate({"id": "t-1", "status": status, **fields})


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the wait has logged; an emulator of other tests may log at the same time."""
    return [record.getMessage() for record in caplog.records if record.name == "wait"]


def test_a_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    report = StatusReport(logging.getLogger("wait"))
    with caplog.at_level(logging.INFO, logger="wait"):
        for status in ["pending", "pending", "executing", "executing", "pending", "completed"]:
            report(task(status))
    assert lines_of(caplog) == [
        "xpander task t-1 is pending",
        "xpander task t-1 is executing",
        "xpander task t-1 is pending",
        "xpander task t-1 completed",
    ]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": "executing"}, "executing"),
        ({"status": "running"}, "executing"),
        ({"status": "paused"}, "paused"),
        ({"status": "completed"}, None),
        ({}, None),
    ],
    ids=["goes on", "another word", "paused", "of a turn before", "not answered"],
)
def test_what_a_log_has_told_is_not_told_again(
    answer: dict[str, str], told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert told_of(Task.model_validate({"id": "t-1", **answer})) == told
    report = StatusReport(logging.getLogger("wait"), told=told)
    with caplog.at_level(logging.INFO, logger="wait"):
        report(task("executing"))
    lines = lines_of(caplog)
    assert lines == ([] if told == "executing" else ["xpander task t-1 is executing"])


def test_a_pause_is_told_once_with_what_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    report = StatusReport(logging.getLogger("wait"))
    waiting = task("paused", pending_eca_request={"connector_name": "GitHub", "auth_url": "https://x"})
    with caplog.at_level(logging.INFO, logger="wait"):
        for _ in range(3):
            report(waiting)
    assert lines_of(caplog) == ["xpander task t-1 is paused: somebody has to log in to GitHub at https://x"]


def test_progress_is_told_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    report = StatusReport(logging.getLogger("wait"))
    with caplog.at_level(logging.INFO, logger="wait"):
        for node in ["start", "start", None, "start", "report"]:
            report(task("executing", last_executed_node_id=node))
    assert lines_of(caplog) == [
        "xpander task t-1 has executed node start",
        "xpander task t-1 is executing",
        "xpander task t-1 has executed node report",
    ]


def test_a_long_wait_gives_signs_of_life(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    report = StatusReport(logging.getLogger("wait"), clock=lambda: now[0])
    with caplog.at_level(logging.INFO, logger="wait"):
        report.waiting(30)
        report(task("executing"))
        for _ in range(80):
            now[0] += 30
            report.waiting(30)
    assert lines_of(caplog) == [
        "xpander task t-1 is executing",
        "xpander task t-1 is executing after 5 min; next look in 30 s",
        "xpander task t-1 is executing after 15 min; next look in 30 s",
        "xpander task t-1 is executing after 35 min; next look in 30 s",
    ]


def test_a_pause_is_told_with_its_link_and_the_next_one_too(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(api_key="key", console_url="https://console.example")
    first = task("paused", agent_id="a-1", paused_at="2026-02-07T09:00:00Z", hitl_request={"title": "Send?"})
    second = task("paused", agent_id="a-1", paused_at="2026-02-07T10:00:00Z")
    with caplog.at_level(logging.INFO, logger="wait"):
        report = StatusReport(logging.getLogger("wait"), settings)
        for one in (first, first, second):
            report(one)
        StatusReport(logging.getLogger("wait"), settings, asked=second.pause)(second)
    where = "The paused run in the console: https://console.example/agents/a-1"
    assert lines_of(caplog) == [
        "xpander task t-1 is paused: a person has to answer (Send?)",
        where,
        "xpander task t-1 is paused: nobody is asked; it may go on by its own schedule",
        where,
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2


STEPS = [{"id": "a", "title": "Look", "completed": True}, {"id": "b", "title": "Write", "completed": False}]
RICH = {
    "last_executed_node_id": "enrich",
    "internal_status": "at row 7",
    "sub_executions": ["s-1", "s-2"],
    "finished_sub_executions": ["s-1"],
    "deep_planning": {"tasks": STEPS},
}


@pytest.mark.parametrize(
    ("fields", "news"),
    [
        ({}, []),
        ({"last_executed_node_id": "enrich"}, ["has executed node enrich"]),
        ({"internal_status": "at row 7"}, ["says 'at row 7'"]),
        ({"sub_executions": ["s"]}, ["has finished 0 of 1 sub-runs"]),
        ({"finished_sub_executions": ["s"]}, ["has finished 1 of 1 sub-runs"]),
        ({"deep_planning": {"tasks": STEPS}}, ["has done 1 of 2 steps of its plan"]),
        ({"deep_planning": {"tasks": None}}, []),
        ({"last_executed_node_id": "a\n::group::b\x1b[1m"}, ["has executed node a : :group::b"]),
    ],
)
def test_what_is_told(fields: dict[str, Any], news: list[str]) -> None:
    assert Progress.of(task("executing", **fields)).changes_since(Progress()) == news


def test_only_what_is_new_is_told() -> None:
    before = Progress.of(task("executing", **RICH))
    assert Progress.of(task("executing", **RICH)).changes_since(before) == []
    later = Progress.of(task("executing", **RICH | {"last_executed_node_id": "report"}))
    assert later.changes_since(before) == ["has executed node report"]


def test_a_slim_answer_is_no_news_and_forgets_nothing() -> None:
    before = Progress.of(task("executing", **RICH))
    slim = Progress.of(task("executing"))
    assert slim.changes_since(before) == []
    assert slim.or_else(before) == before


def test_a_recap_has_the_course_of_the_run_with_its_times() -> None:
    ended = task(
        "completed",
        created_at="2026-11-21T23:59:58Z",
        started_at="2026-11-22T00:00:03Z",
        finished_at="2026-11-22T01:00:00+01:00",
        **RICH,
    )
    assert recap(ended) == (
        "created 2026-11-21 23:59:58 UTC, executing 2026-11-22 00:00:03 UTC, "
        "completed 2026-11-22 00:00:00 UTC; "
        "has executed node enrich; says 'at row 7'; has finished 1 of 2 sub-runs; "
        "has done 1 of 2 steps of its plan"
    )


def test_a_recap_of_a_slim_task_has_at_least_its_status() -> None:
    assert recap(task("stopped")) == "stopped"


def signs(count: int) -> list[float]:
    """Return the seconds from the beginning to each sign, where every one is written in time."""
    times = [next_sign(0.0)]
    while len(times) < count:
        times.append(next_sign(times[-1]))
    return times


def test_the_distance_grows_but_not_for_ever() -> None:
    times = signs(12)
    assert times[:4] == [300, 900, 2100, 4500]
    distances = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert distances == sorted(distances)
    assert set(distances[-3:]) == {LONGEST_INTERVAL}


@pytest.mark.parametrize(
    ("status", "waited", "trouble", "line"),
    [
        ("executing", 300.4, None, "is executing after 5 min; next look in 30 s"),
        ("paused", 90, None, "is paused after 90 s; next look in 30 s"),
        (
            None,
            10_000,
            "HTTP 502",
            "was not seen yet after 2.8 h; next look in 30 s; the last look failed: HTTP 502",
        ),
    ],
)
def test_age_status_and_next_look_are_told(
    status: str | None, waited: float, trouble: str | None, line: str
) -> None:
    assert sign_of_life("t-1", status, waited, 30, trouble) == f"xpander task t-1 {line}"
