from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_xpander.api.errors import XpanderAuthError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.deferral import (
    Decision,
    Wait,
    WaitEvent,
    carry,
    decision_of,
    event_of,
    read_event,
    wait_of,
)
from airflow_provider_xpander.runs.question import WENT_ON
from airflow_provider_xpander.runs.watch import End, Over

WAIT = Wait("t-1", "a-1", run_deadline=20.0, newer_than=10.0, asked="now")
SECRETIVE = Task.model_validate(
    {"id": "t-1", "status": "completed", "result": "s3cret", "user_oidc_token": "s3cret"}
)


@pytest.mark.parametrize(
    ("over", "message", "event"),
    [
        (Over(End.FINISHED, SECRETIVE), None, WaitEvent("t-1", End.FINISHED, "a-1", "completed")),
        (Over(End.TIMEOUT), None, WaitEvent("t-1", End.TIMEOUT, "a-1")),
        (
            Over(End.TIMEOUT, seen=TaskStatus.PAUSED),
            None,
            WaitEvent("t-1", End.TIMEOUT, "a-1", "paused"),
        ),
        (
            Over(End.ERROR, None, XpanderAuthError("bad\nkey")),
            None,
            WaitEvent("t-1", End.ERROR, "a-1", None, "bad key"),
        ),
        (None, "no connection", WaitEvent("t-1", End.ERROR, "a-1", None, "no connection")),
    ],
    ids=[
        "finished",
        "timeout",
        "timeout, little known",
        "error of the service",
        "other error",
    ],
)
def test_what_is_written_is_read(over: Over | None, message: str | None, event: WaitEvent) -> None:
    payload = json.loads(json.dumps(event_of(WAIT, over, message=message)))
    assert read_event(payload) == event


def test_the_event_holds_no_content_of_the_run() -> None:
    assert "s3cret" not in json.dumps(event_of(WAIT, Over(End.FINISHED, SECRETIVE)))


def test_a_long_message_is_cut() -> None:
    payload = event_of(WAIT, Over(End.ERROR, None, XpanderAuthError("x" * 100_000)))
    assert len(payload["message"]) < 1000


@pytest.mark.parametrize(
    "payload",
    [
        None, "done", [], {}, {"status": "completed"}, {"xpander_task_id": ""}, {"xpander_task_id": "t-1"},
        {"xpander_task_id": "t-1", "end": "never"}, {"xpander_task_id": "t-1", "end": None},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_event_of_ours_is_refused(payload: Any) -> None:
    with pytest.raises(ValueError):
        read_event(payload)


KEPT = {"xpander_task_id": "t-2", "agent_id": "a-2", "deadline": 21.0, "newer_than": 11.0, "asked": "then"}


@pytest.mark.parametrize(
    ("payload", "kept", "wait"),
    [
        (event_of(WAIT), {}, WAIT),
        (carry(WAIT) | {"chosen_options": ["Keep waiting"]}, dict.fromkeys(KEPT), WAIT),
        (event_of(WAIT), KEPT, Wait("t-2", "a-2", 21.0, 11.0, "then")),
        ({"xpander_task_id": "t-1"}, {}, Wait("t-1")),
        ({"chosen_options": ["Keep waiting"]}, {"xpander_task_id": "t-1"}, Wait("t-1")),
    ],
    ids=[
        "event alone",
        "choice alone",
        "kept goes first",
        "event of an earlier version",
        "Airflow's own event",
    ],
)
def test_what_was_waited_for_is_in_what_was_kept_or_in_the_event(
    payload: dict[str, Any], kept: dict[str, Any], wait: Wait
) -> None:
    assert wait_of(json.loads(json.dumps(payload)), **kept) == wait


def test_an_event_that_names_no_run_is_refused() -> None:
    with pytest.raises(ValueError, match="names no run"):
        wait_of({"chosen_options": ["Keep waiting"]}, xpander_task_id=None)


NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, None),
        ("Approve", None),
        ({"xpander_task_id": "t", "end": "finished"}, None),
        ({"late": True}, None),
        ({"chosen_options": []}, None),
        ({"chosen_options": [WENT_ON]}, None),
        ({"chosen_options": ["a"]}, Decision(("a",))),
        (
            {
                "chosen_options": ["a", "b"],
                "params_input": {"x": 1},
                "responded_by_user": {"id": "1", "name": "Ada\n"},
                "responded_at": NOON,
            },
            Decision(("a", "b"), "Ada ", "2026-11-01T12:00:00+00:00", {"x": 1}),
        ),
        ({"chosen_options": ["a"], "responded_at": "2026-11-01"}, Decision(("a",), None, "2026-11-01")),
    ],
)
def test_only_what_a_person_has_answered_is_a_decision(payload: Any, expected: Decision | None) -> None:
    found = decision_of(payload)
    if expected and expected.by:
        assert found is not None
        assert found.by == "Ada"
        found = Decision(found.options, expected.by, found.at, found.inputs)
    assert found == expected
