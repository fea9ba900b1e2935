from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.log.status_log import StatusReport, told_of
from airflow_provider_xpander.runs.pausing import pause_of


def task(status: str, **fields: Any) -> Task:
    return Task.model_validate({"id": "t-1", "status": status, **fields})


def test_a_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    report = StatusReport(logging.getLogger("wait"))
    with caplog.at_level(logging.INFO, logger="wait"):
        for status in ["pending", "pending", "executing", "executing", "pending", "completed"]:
            report(task(status))
    assert [record.getMessage() for record in caplog.records] == [
        "xpander task t-1 is pending",
        "xpander task t-1 is executing",
        "xpander task t-1 is pending",
        "xpander task t-1 is completed",
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
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ([] if told == "executing" else ["xpander task t-1 is executing"])


def test_a_pause_is_told_once_with_what_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    report = StatusReport(logging.getLogger("wait"))
    waiting = task("paused", pending_eca_request={"connector_name": "GitHub", "auth_url": "https://x"})
    with caplog.at_level(logging.INFO, logger="wait"):
        for _ in range(3):
            report(waiting)
    assert [record.getMessage() for record in caplog.records] == [
        "xpander task t-1 is paused: somebody has to log in to GitHub at https://x"
    ]


def test_progress_is_told_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    report = StatusReport(logging.getLogger("wait"))
    with caplog.at_level(logging.INFO, logger="wait"):
        for node in ["start", "start", None, "start", "report"]:
            report(task("executing", last_executed_node_id=node))
    assert [record.getMessage() for record in caplog.records] == [
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
    assert [record.getMessage() for record in caplog.records] == [
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
        StatusReport(logging.getLogger("wait"), settings, asked=pause_of(second))(second)
    where = "The paused run in the console: https://console.example/agents/a-1"
    assert [record.getMessage() for record in caplog.records] == [
        "xpander task t-1 is paused: a person has to answer (Send?)",
        where,
        "xpander task t-1 is paused: nobody is asked; it may go on by its own schedule",
        where,
    ]
