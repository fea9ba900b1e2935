from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_xpander.api import status as status_module
from airflow_provider_xpander.api.status import TERMINAL_STATUSES, TaskStatus, normalize_status


def test_the_official_values_are_those_of_the_api() -> None:
    assert {status.value for status in TaskStatus} == {
        "pending", "executing", "paused", "completed", "failed", "error", "stopped",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "terminal"),
    [
        ("pending", False),
        ("executing", False),
        ("paused", False),
        ("completed", True),
        ("failed", True),
        ("error", True),
        ("stopped", True),
    ],
)
def test_which_statuses_are_terminal(status: str, terminal: bool) -> None:
    assert TaskStatus(status).is_terminal is terminal
    assert (TaskStatus(status) in TERMINAL_STATUSES) is terminal


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        *((status.value, status) for status in TaskStatus),
        (None, "pending"),
        ("", "pending"),
        ("queued", "pending"),
        ("created", "pending"),
        ("scheduled", "pending"),
        ("PENDING", "pending"),
        ("running", "executing"),
        ("Running", "executing"),
        ("RUNNING", "executing"),
        ("in_progress", "executing"),
        ("in-progress", "executing"),
        ("In Progress", "executing"),
        ("started", "executing"),
        ("processing", "executing"),
        ("waiting", "paused"),
        ("waiting_for_approval", "paused"),
        ("suspended", "paused"),
        ("complete", "completed"),
        ("success", "completed"),
        ("succeeded", "completed"),
        ("done", "completed"),
        ("finished", "completed"),
        ("COMPLETED", "completed"),
        (" completed ", "completed"),
        ("failure", "failed"),
        ("FAILED", "failed"),
        ("errored", "error"),
        ("cancelled", "stopped"),
        ("canceled", "stopped"),
        ("aborted", "stopped"),
        ("terminated", "stopped"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_every_documented_spelling_is_understood(raw: str | None, expected: str, finished: bool) -> None:
    assert normalize_status(raw, finished=finished) is TaskStatus(expected)


@pytest.mark.parametrize("raw", ["hibernating", 7, True, ["completed"], {"value": "completed"}])
def test_an_unknown_status_goes_on_until_the_task_has_finished(raw: Any) -> None:
    assert normalize_status(raw) is TaskStatus.EXECUTING
    assert normalize_status(raw, finished=True) is TaskStatus.FAILED


def test_an_unknown_status_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_module, "_warned", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            normalize_status("Dreaming\x1b[31m")
    assert len(caplog.records) == 1
    assert "dreaming" in caplog.text
    assert "\x1b" not in caplog.text
