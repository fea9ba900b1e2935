from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.api.errors import (
    XpanderError,
    XpanderTaskFailed,
    XpanderTaskPaused,
    XpanderTaskStopped,
    XpanderTaskTimeout,
)
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.task_errors import (
    failure,
    headline,
    pause_reason,
    paused,
    timed_out,
)


def task(status: str, **fields: Any) -> Task:
    return Task.model_validate({"id": "t-1", "status": status, **fields})


@pytest.mark.parametrize(
    ("ended", "error", "reason", "words"),
    [
        (task("failed", result="no tool"), XpanderTaskFailed, "no tool", ["t-1 failed: no tool."]),
        (task("error", result="Boom\n\x1b[1mat x"), XpanderTaskFailed, "Boom at x", ["an error: Boom at x."]),
        (task("failed", result="No tool."), XpanderTaskFailed, "No tool.", ["t-1 failed: No tool."]),
        (task("failed"), XpanderTaskFailed, None, ["gave no reason."]),
        (task("error", result=""), XpanderTaskFailed, None, ["gave no reason"]),
        (task("error", result={"message": "Boom"}), XpanderTaskFailed, "{'message': 'Boom'}", ["Boom"]),
        (task("stopped", is_manually_stopped=True), XpanderTaskStopped, None, ["by somebody"]),
        (task("stopped", is_manually_stopped=False), XpanderTaskStopped, None, ["by the system", "time-out"]),
        (task("stopped"), XpanderTaskStopped, None, ["by the system"]),
        (task("failed", used_mutating_tools=True), XpanderTaskFailed, None, ["tools that change things"]),
        (task("stopped", used_mutating_tools=True), XpanderTaskStopped, None, ["tools that change things"]),
    ],
    ids=[
        "failed", "error with its message", "a reason with a full stop", "failed in silence",
        "error in silence", "message as an object",
        "stopped by hand", "stopped by the system", "stopped by whom", "with side effects",
        "stopped with side effects",
    ],
)  # fmt: skip
def test_how_a_run_failed(ended: Task, error: type, reason: str | None, words: list[str]) -> None:
    made = failure(ended)
    assert type(made) is error
    assert (made.task_id, made.status, made.reason) == ("t-1", ended.status.value, reason)
    for word in ["t-1", *words]:
        assert word in str(made)
    assert ".." not in str(made)


def test_a_long_reason_is_cut() -> None:
    made = failure(task("error", result="x" * 10_000))
    assert len(str(made)) < 700


OWN_SCHEDULE = "nobody is asked; it may go on by its own schedule"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, OWN_SCHEDULE),
        ({"hitl_request": None, "pending_eca_request": None}, OWN_SCHEDULE),
        ({"hitl_request": {}}, OWN_SCHEDULE),
        ({"pending_eca_request": {}}, OWN_SCHEDULE),
        (
            {"pending_eca_request": {"connector_name": "GitHub", "auth_url": "https://x/login"}},
            "somebody has to log in to GitHub at https://x/login",
        ),
        ({"pending_eca_request": {"auth_url": "https://x"}}, "somebody has to log in to a connector at https://x"),
        ({"pending_eca_request": {"connector_name": "G"}}, "somebody has to log in to G at the console"),
        ({"hitl_request": {"wait_node_id": "n-7"}}, "a person has to answer (node n-7)"),
        (
            {"hitl_request": {"operation_id": "o", "content": "c", "title": "Send it?\n"}},
            "a person has to answer (Send it?)",
        ),
        ({"hitl_request": {"operation_id": "o"}}, "a person has to answer"),
        ({"hitl_request": {"title": ["odd"]}}, "a person has to answer (['odd'])"),
        ({"hitl_request": "odd", "pending_eca_request": 7}, OWN_SCHEDULE),
    ],
)  # fmt: skip
def test_what_a_paused_run_waits_for(fields: dict[str, Any], reason: str) -> None:
    run = task("paused", **fields)
    assert pause_reason(run) == reason
    made = paused(run)
    assert type(made) is XpanderTaskPaused
    assert (made.task_id, made.status, made.reason) == ("t-1", "paused", reason)
    assert reason in str(made)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("t-1", "executing", 90.0, True),
            "did not end within 90 s (last status: executing). The run was stopped.",
        ),
        (
            ("t-1", "paused", None, None),
            "did not end in time (last status: paused). The run goes on, as it was asked to.",
        ),
        (
            ("t-1", None, 1.0, False),
            (
                "did not end within 1 s (last status: unknown). Stopping it failed: "
                "stop it with POST /v1/tasks/t-1/stop or in the console."
            ),
        ),
    ],
    ids=["stopped", "left", "could not be stopped"],
)
def test_a_run_that_did_not_end_in_time(arguments: tuple[Any, ...], text: str) -> None:
    made = timed_out(*arguments)
    assert type(made) is XpanderTaskTimeout
    assert str(made) == f"xpander task t-1 {text}"
    assert (made.task_id, made.status) == arguments[:2]


@pytest.mark.parametrize(
    ("run", "pause"),
    [
        (task("paused", paused_at="2026-02-07T06:18:47Z"), "2026-02-07T06:18:47+00:00"),
        (task("paused"), "paused"),
        (task("executing", paused_at="2026-02-07T06:18:47Z"), None),
        (task("completed"), None),
    ],
    ids=["with its time", "without", "went on", "ended"],
)
def test_what_tells_one_pause_from_the_next(run: Task, pause: str | None) -> None:
    assert run.pause == pause


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            failure(task("failed", result="no such table")),
            "no such table (xpander task t-1 failed)",
        ),
        (
            failure(task("stopped", is_manually_stopped=True)),
            "The run was stopped by somebody. (xpander task t-1)",
        ),
        (
            timed_out("t-1", "pending", 4, stopped=True),
            "The run did not end within 4 s (last status: pending). The run was stopped. (xpander task t-1)",
        ),
        (XpanderError("cannot reach https://host"), "cannot reach https://host"),
    ],
)
def test_the_line_that_a_log_shows_first_begins_with_the_reason(error: XpanderError, line: str) -> None:
    assert headline(error) == line
