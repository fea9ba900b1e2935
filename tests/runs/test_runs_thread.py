from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_xpander.api.errors import XpanderServiceError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.identity import Identity, Mark
from airflow_provider_xpander.runs.thread import (
    THREAD_PATIENCE,
    ThreadBusy,
    Turn,
    foreign_turn,
    is_foreign_turn,
    read_turn,
    thread_deadline,
    thread_error,
)
from airflow_provider_xpander.runs.watch import End, Over

OURS = Identity("d", "r", "t", 0, 1)
MAPPED = Identity("d", "r", "t", 1, 1)
OLD = str(OURS.old_digest)


def record(title: str | None = None, source: str | None = None) -> Task:
    return Task(id="thread-1", title=title, source=source, status=TaskStatus.COMPLETED)


@pytest.mark.parametrize(
    ("task", "foreign"),
    [
        pytest.param(record(f"t {Mark(OURS.digest, 'a' * 12)}"), False, id="ours"),
        pytest.param(record(f"t {Mark(OURS.digest, 'a' * 12, 2)}"), False, id="our repair turn"),
        pytest.param(record(f"t {Mark(OURS.digest, 'b' * 12)}"), False, id="ours, of another request"),
        pytest.param(record(f"t {Mark(OLD, 'a' * 12)}"), False, id="ours, by an older release"),
        pytest.param(record("A chat", f"airflow {Mark(OURS.digest)}"), False, id="ours, by its source"),
        pytest.param(record(f"t {Mark(MAPPED.digest, 'a' * 12)}"), True, id="of the next map index"),
        pytest.param(record("A chat", f"airflow {Mark(MAPPED.digest)}"), True, id="the same, by its source"),
        pytest.param(record(f"t {Mark(str(MAPPED.old_digest))}"), True, id="the same, by an older release"),
        pytest.param(record("A chat", "api"), False, id="no mark is kept"),
        pytest.param(record(), False, id="nothing is told"),
    ],
)
def test_whose_turn_a_record_shows(task: Task, foreign: bool) -> None:
    assert is_foreign_turn(task, OURS.digests) is foreign


@pytest.mark.parametrize(
    ("status", "finished_at", "foreign"),
    [
        pytest.param("completed", "2026-11-01T00:00:10Z", False, id="the turn before, still shown"),
        pytest.param("completed", "2026-11-01T00:00:11Z", True, id="a turn after it"),
        pytest.param("completed", None, True, id="nobody knows when it ended"),
        pytest.param("executing", None, True, id="a turn that goes on"),
    ],
)
def test_a_read_that_is_out_of_date_shows_nobodys_turn(
    status: str, finished_at: str | None, foreign: bool
) -> None:
    title = f"t {Mark(MAPPED.digest)}"
    fields = {"id": "thread-1", "title": title, "status": status, "finished_at": finished_at}
    ended = datetime(2026, 11, 1, 0, 0, 10, tzinfo=UTC).timestamp()
    assert is_foreign_turn(Task.model_validate(fields), OURS.digests, ended) is foreign


def test_the_error_for_a_foreign_answer_says_what_to_do() -> None:
    assert "thread-1" in str(foreign_turn(record()))
    assert "must not run at the same time" in str(foreign_turn(record()))


@pytest.mark.parametrize("newer_than", [None, 0.0, 1_793_500_000.25])
def test_a_turn_goes_through_xcom(newer_than: float | None) -> None:
    turn = Turn("thread-1", tuple(OURS.digests), newer_than)
    assert json.loads(json.dumps(turn.data())) == turn.data()
    assert read_turn(turn.data()) == turn


@pytest.mark.parametrize(
    "value",
    [
        None,
        "thread-1",
        5,
        [],
        {},
        {"xpander_task_id": "x"},
        {"xpander_task_id": "x", "digests": "d"},
        {"xpander_task_id": 1, "digests": ["x"]},
    ],
)
def test_what_is_no_turn(value: Any) -> None:
    assert read_turn(value) is None


def test_a_turn_without_a_usable_time() -> None:
    told = {"xpander_task_id": "x", "digests": ["y"], "newer_than": "soon"}
    assert read_turn(told) == Turn("x", ("y",))


@pytest.mark.parametrize(
    ("timeout", "deadline", "until"),
    [
        (None, None, 1000 + THREAD_PATIENCE),
        (60.0, None, 1060.0),
        (60.0, 1030.0, 1030.0),
        (60.0, 1090.0, 1060.0),
        (None, 1090.0, 1090.0),
        (2 * THREAD_PATIENCE, None, 1000 + 2 * THREAD_PATIENCE),
    ],
)
def test_how_long_a_busy_thread_is_waited_for(
    timeout: float | None, deadline: float | None, until: float
) -> None:
    assert thread_deadline(1000.0, timeout=timeout, deadline=deadline) == until


@pytest.mark.parametrize(
    ("over", "text"),
    [
        (Over(End.TIMEOUT), "still busy"),
        (Over(End.PAUSED, record()), "is paused"),
        (Over(End.ERROR, error=XpanderServiceError("The service is away.")), "The service is away."),
    ],
)
def test_why_a_thread_was_not_continued(over: Over, text: str) -> None:
    assert text in str(thread_error("thread-1", over))


def test_a_busy_thread_survives_a_process_pool() -> None:
    busy = pickle.loads(pickle.dumps(ThreadBusy(record(), 5.0)))
    assert (busy.task.id, busy.until) == ("thread-1", 5.0)
