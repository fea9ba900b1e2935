from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from airflow_provider_xpander.api import errors
from airflow_provider_xpander.api.errors import XpanderError, printable
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.answer import XpanderAnswerError, XpanderAnswerInvalid
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


def _every_error() -> list[XpanderError]:
    known: dict[type[XpanderError], dict[str, Any]] = {
        errors.XpanderRateLimitError: {"retry_after": 7.0, "status_code": 429, "request_id": "r-1"},
        errors.XpanderServiceError: {"retry_after": 7.0, "status_code": 503},
        errors.XpanderAmbiguousSubmitError: {"target_id": "a-1", "title": "nightly", "thread_id": "th-1"},
        XpanderAnswerInvalid: {"task_id": "t-1", "answer": {"a": [1]}, "problems": ["$.a: a number"]},
    }
    kinds, every = [XpanderError], []
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        fields = next((known[base] for base in kind.__mro__ if base in known), {"status_code": 404})
        if issubclass(kind, errors.XpanderTaskError):
            fields = {"task_id": "t-1", "status": "failed", "reason": "why"}
        elif issubclass(kind, XpanderAnswerError) and kind is not XpanderAnswerInvalid:
            fields = {"task_id": "t-1", "answer": "x"}
        busy = kind is ThreadBusy
        every.append(ThreadBusy(Task(id="t-1"), 60.0) if busy else kind("went wrong", **fields))
    return every


@pytest.mark.parametrize("error", _every_error(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        *(lambda error, p=protocol: pickle.loads(pickle.dumps(error, p)) for protocol in range(6)),
    ],
    ids=["copy", "deepcopy", *(f"pickle {protocol}" for protocol in range(6))],
)
def test_every_error_can_go_to_another_process(copied: Any, error: XpanderError) -> None:
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
