from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from typing import Any

import pytest

import airflow_provider_xpander.api
import airflow_provider_xpander.bulk
import airflow_provider_xpander.runs
from airflow_provider_xpander.api import errors
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import TooLong
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import UnusableConnectionError
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.bulk.ledger import Outdated
from airflow_provider_xpander.bulk.packs import NotAPack
from airflow_provider_xpander.bulk.rows import BulkInputError
from airflow_provider_xpander.bulk.tables import BulkTableError
from airflow_provider_xpander.runs.answer import (
    XpanderAnswerError,
    XpanderAnswerInvalid,
    XpanderAnswerTooLarge,
    XpanderAskedAgain,
)
from airflow_provider_xpander.runs.notice import NotStarted
from airflow_provider_xpander.runs.schema import NotConforming
from airflow_provider_xpander.runs.thread import ThreadBusy


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("  two\nlines\r\n\tand a tab ", "two lines and a tab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;https://evil\x07click\x1b]8;;\x07", "click"),
        ("a\x00b\x7fc\x9bd", "a b c d"),
        ("a\u2028b\u2029c", "a b c"),
        ("\ud800x", "x"),
        ("müde 日本", "müde 日本"),
        (None, "None"),
        (7, "7"),
        ("x" * 501, "x" * 500 + "... (501 characters)"),
        ("x" * 500, "x" * 500),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_foreign_text_becomes_one_harmless_line(text: Any, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("XpanderAuthError", "XpanderError"),
        ("XpanderNotFoundError", "XpanderError"),
        ("XpanderValidationError", "XpanderError"),
        ("XpanderRateLimitError", "XpanderError"),
        ("XpanderBillingError", "XpanderError"),
        ("XpanderServiceError", "XpanderError"),
        ("XpanderConnectionError", "XpanderError"),
        ("XpanderAmbiguousSubmitError", "XpanderError"),
        ("XpanderTaskError", "XpanderError"),
        ("XpanderTaskFailed", "XpanderTaskError"),
        ("XpanderTaskStopped", "XpanderTaskError"),
        ("XpanderTaskTimeout", "XpanderTaskError"),
        ("XpanderTaskPaused", "XpanderTaskError"),
    ],
)
def test_the_tree_of_errors(name: str, base: str) -> None:
    assert getattr(errors, name).__mro__[1] is getattr(errors, base)


OF_A_RUN = {"task_id": "t-1", "status": "failed", "reason": "why"}
EXAMPLES: list[Exception] = [
    XpanderError("x", status_code=418, request_id="r-1"),
    errors.XpanderAuthError("x", status_code=401),
    errors.XpanderNotFoundError("x", status_code=404),
    errors.XpanderValidationError("x", status_code=422),
    errors.XpanderBillingError("x", status_code=402),
    errors.XpanderConnectionError("x"),
    errors.XpanderRateLimitError("x", retry_after=7.0, status_code=429),
    errors.XpanderServiceError("x", retry_after=7.0, may_pass=False, status_code=503),
    errors.XpanderAmbiguousSubmitError("x", target_id="a-1", title="nightly", thread_id="th-1"),
    errors.XpanderTaskError("x", **OF_A_RUN),
    errors.XpanderTaskFailed("x", **OF_A_RUN),
    errors.XpanderTaskStopped("x", **OF_A_RUN),
    errors.XpanderTaskTimeout("x", **OF_A_RUN),
    errors.XpanderTaskPaused("x", **OF_A_RUN),
    XpanderAnswerError("x", task_id="t-1", answer={"a": [1]}),
    XpanderAnswerInvalid("x", task_id="t-1", answer="{", problems=["$.a: a number", "$.b: a text"]),
    XpanderAskedAgain("x", task_id="t-1", answer="{", problems=["$.a: a number", "$.b: a text"]),
    NotStarted("x"),
    XpanderAnswerTooLarge("x", task_id="t-1", answer="long"),
    NotConforming(["$.a: a number", "$.b: a text"]),
    ThreadBusy(Task(id="t-1"), until=7.0),
    TooLong("no budget for an hour", retry_after=3600.0),
    UnusableConnectionError("no key"),
    NotStarted("enough for this hour"),
    Outdated("a newer attempt has begun"),
    NotAPack("no rows"),
    BulkInputError("rows: no such file"),
    BulkTableError("no such table"),
]


def test_there_is_an_example_of_every_error() -> None:
    found: set[type] = set()
    for package in (
        airflow_provider_xpander.api,
        airflow_provider_xpander.runs,
        airflow_provider_xpander.bulk,
    ):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            found |= {
                kind
                for kind in vars(importlib.import_module(module.name)).values()
                if isinstance(kind, type)
                and issubclass(kind, Exception)
                and kind.__module__.startswith("airflow_provider_xpander.")
            }
    assert found == set(map(type, EXAMPLES))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        *(lambda error, p=protocol: pickle.loads(pickle.dumps(error, p)) for protocol in range(6)),
    ],
    ids=["copy", "deepcopy", *(f"pickle {protocol}" for protocol in range(6))],
)
def test_every_error_can_go_to_another_process(copied: Any, error: Exception) -> None:
    other = copied(error)
    assert type(other) is type(error)
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (None, None),
        (0.0, 0.0),
        (30.0, 30.0),
        (3600.0, 3600.0),
        (-5.0, 0.0),
        (86_400.0, 3600.0),
        (1.7e12, 3600.0),
        (float("inf"), 3600.0),
        (float("-inf"), None),
        (float("nan"), None),
    ],
)
@pytest.mark.parametrize("kind", [errors.XpanderRateLimitError, errors.XpanderServiceError])
def test_whoever_waits_as_long_as_an_error_says_waits_an_hour_at_the_most(
    kind: Any, asked: float | None, kept: float | None
) -> None:
    assert kind("slow down", retry_after=asked).retry_after == kept
