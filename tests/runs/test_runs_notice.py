"""The facts that a notice tells, and the runs that are notices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.notice import ERRORS, errors_of, is_notice

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MARK = "[airflow 0123456789abcdef0123 0123456789ab]"


def chain(length: int) -> BaseException:
    error: BaseException = ValueError("1")
    for number in range(2, length + 1):
        behind, error = error, ValueError(str(number))
        error.__cause__ = behind
    return error


def circle() -> BaseException:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def without_context() -> BaseException:
    error = ValueError("told")
    error.__context__, error.__suppress_context__ = KeyError("hidden"), True
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, ""),
        ("", ""),
        ("Task received SIGTERM", "Task received SIGTERM"),
        (ValueError("plain"), "ValueError: plain"),
        (chain(2), "ValueError: 2\n  caused by ValueError: 1"),
        (circle(), "ValueError: one\n  caused by ValueError: other"),
        (without_context(), "ValueError: told"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (ValueError("a hush b"), "ValueError: a *** b"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
    ],
)
def test_an_error_is_told(error: Any, told: str) -> None:
    assert errors_of(error, lambda text: text.replace("hush", "***")) == told


def test_what_is_told_is_bounded_and_masked_before_it_is_cut() -> None:
    told = errors_of(chain(50), str)
    assert told.count("ValueError") == ERRORS
    secret = "x" * 995 + "hush-hush"
    assert "hush" not in errors_of(ValueError(secret * 3), lambda text: text.replace("hush-hush", "***"))
    assert len(errors_of(ValueError("x" * 10**6), str)) < 1100


@pytest.mark.parametrize(
    ("title", "age", "expected"),
    [
        (f"Airflow notifier: x {MARK}", 59, True),
        (f"Airflow notifier: x {MARK}", 61, False),
        (f"nightly.load {MARK}", 1, False),
        ("Airflow notifier: of somebody who writes like us", 1, False),
        (None, 1, False),
    ],
)
def test_only_marked_runs_of_notifiers_in_the_last_hour_count(title: Any, age: int, expected: bool) -> None:
    task = Task(id="t", title=title, created_at=NOW - timedelta(minutes=age))
    assert is_notice(task, NOW) is expected
