from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from airflow_provider_xpander.api import errors
from airflow_provider_xpander.api.errors import (
    XpanderError,
    error_from_status,
    error_text,
    is_billing,
    printable,
)
from airflow_provider_xpander.runs.answer import XpanderAnswerError, XpanderAnswerInvalid

OUT_OF_CREDIT = "Usage limit reached. Upgrade your plan."
BILLING_BODIES = {
    "string": {"detail": OUT_OF_CREDIT},
    "nested": {"detail": {"detail": {"detail": OUT_OF_CREDIT}}},
    "python repr": {
        "detail": "429: {'detail': {'detail': {'detail': 'Usage limit reached. Upgrade your plan.'}}}"
    },
    "python repr, double quotes": {"detail": "429: {'detail': {'message': \"You've no credits left\"}}"},
    "bare python repr": "429: {'detail': 'Usage limit reached. Upgrade your plan.'}",
    "message": {"message": OUT_OF_CREDIT},
    "error": {"error": OUT_OF_CREDIT},
    "message in detail": {"detail": {"message": OUT_OF_CREDIT, "code": "x"}},
}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"  \n", ""),
        ({"detail": "Invalid or missing API key"}, "Invalid or missing API key"),
        ({"detail": {"detail": {"detail": "deep"}}}, "deep"),
        ({"detail": "429: {'detail': {'detail': 'deep'}}"}, "deep"),
        ({"detail": "429: {'detail': \"you've had it\"}"}, "you've had it"),
        ({"message": "broken"}, "broken"),
        ({"error": "broken"}, "broken"),
        ({"error": {"message": "broken", "code": 7}}, "broken"),
        ({"detail": "", "message": "broken"}, "broken"),
        ({"detail": None, "error": "broken"}, "broken"),
        (
            {"detail": [{"loc": ["body", "input", "user"], "msg": "Field required", "type": "missing"}]},
            "input.user: Field required",
        ),
        (
            {
                "detail": [
                    {"loc": ["body", "mcp_servers", 0], "msg": "bad"},
                    {"loc": ["query"], "msg": "worse"},
                ]
            },
            "mcp_servers.0: bad; query: worse",
        ),
        ({"detail": [{"loc": ["body"], "msg": "bad"}]}, "bad"),
        ({"detail": [{"loc": 5, "msg": "bad"}]}, "bad"),
        ({"detail": [{"loc": "body", "msg": "bad"}]}, "bad"),
        ({"detail": [{"msg": None}]}, "None"),
        ({"detail": ["one", "two", None]}, "one; two"),
        ({"code": 7}, '{"code": 7}'),
        (b"upstream connect error", "upstream connect error"),
        (b'{"detail": "cut of', '{"detail": "cut of'),
        (b"null", ""),
        (b"7", "7"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"<html><head><title>502 Bad\nGateway</title></head>", "an HTML page titled '502 Bad Gateway'"),
        (b"\n <!DOCTYPE HTML><p>no title", "an HTML page"),
        (b"[" * 100_000, "[" * 500 + "... (100000 characters)"),
    ],
    ids=lambda value: (json.dumps(value) if isinstance(value, dict) else str(value))[:50],
)
def test_the_sentence_in_an_error_body(body: Any, text: str) -> None:
    assert error_text(body if isinstance(body, bytes) else json.dumps(body).encode()) == text


def test_a_body_nested_without_end_does_not_break_it() -> None:
    body: Any = "deep"
    for _ in range(200):
        body = {"detail": body}
    assert error_text(json.dumps(body).encode()) == ""


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (400, "XpanderValidationError", ""),
        (401, "XpanderAuthError", "API key"),
        (402, "XpanderBillingError", "credit"),
        (403, "XpanderAuthError", "no access"),
        (404, "XpanderNotFoundError", "id"),
        (405, "XpanderServiceError", ""),
        (409, "XpanderServiceError", ""),
        (422, "XpanderValidationError", ""),
        (429, "XpanderRateLimitError", "slow down"),
        (301, "XpanderServiceError", "not followed"),
        (302, "XpanderServiceError", "not followed"),
        (307, "XpanderServiceError", "not followed"),
        (308, "XpanderServiceError", "not followed"),
        (500, "XpanderServiceError", ""),
        (502, "XpanderServiceError", ""),
        (503, "XpanderServiceError", ""),
        (504, "XpanderServiceError", ""),
        (599, "XpanderServiceError", ""),
    ],
)
def test_the_error_of_a_status(status: int, error: str, hint: str) -> None:
    made = error_from_status("get task t-1", status, b'{"detail": "said so"}', request_id="r-9")
    assert type(made).__name__ == error
    assert (made.status_code, made.request_id) == (status, "r-9")
    assert str(made).startswith(f"get task t-1: HTTP {status}, said so (request r-9)")
    assert hint in str(made)


@pytest.mark.parametrize("body", BILLING_BODIES.values(), ids=BILLING_BODIES.keys())
@pytest.mark.parametrize("status", [402, 403, 429])
def test_a_refusal_about_money_is_a_billing_error_in_every_body_shape(status: int, body: Any) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    made = error_from_status("invoke agent a-1", status, raw, retry_after=5)
    assert type(made) is errors.XpanderBillingError
    assert "credit" in str(made)


@pytest.mark.parametrize(
    ("status", "text", "billing"),
    [
        (402, "", True),
        (402, "whatever", True),
        (429, "", False),
        (429, "Too many requests", False),
        (429, "Rate limit exceeded: 100 per minute", False),
        (429, "You have run out of credits", True),
        (429, "Monthly budget of the agent is spent", True),
        (429, "max_runs_per_day reached", True),
        (429, "Free tier exhausted", True),
        (403, "Not enough permissions", False),
        (403, "Billing is not set up", True),
        (429, "Planning took too long", False),
        (404, "no such billing account", False),
        (500, "credit service down", False),
    ],
)
def test_billing_is_told_from_throttling(status: int, text: str, billing: bool) -> None:
    assert is_billing(status, text) is billing


@pytest.mark.parametrize("retry_after", [None, 12.0])
def test_a_throttling_error_carries_the_wait(retry_after: float | None) -> None:
    made = error_from_status("list tasks", 429, b"", retry_after=retry_after)
    assert isinstance(made, errors.XpanderRateLimitError)
    assert made.retry_after == retry_after
    assert ("in 12 s" in str(made)) is (retry_after is not None)


def test_a_validation_error_at_the_user_says_where_to_set_one() -> None:
    detail = [{"loc": ["body", "input", "user"], "msg": "Field required", "type": "missing"}]
    made = error_from_status("invoke agent a-1", 422, json.dumps({"detail": detail}).encode())
    assert "user_email" in str(made)
    detail[0]["loc"] = ["body", "title"]
    made = error_from_status("invoke agent a-1", 422, json.dumps({"detail": detail}).encode())
    assert "user_email" not in str(made)


def test_what_a_validation_error_echoes_is_not_repeated() -> None:
    detail = [
        {
            "loc": ["body", "user_oidc_token"],
            "msg": "bad",
            "type": "t",
            "input": "s3cret",
            "ctx": {"v": "s3cret"},
        }
    ]
    made = error_from_status("invoke agent a-1", 422, json.dumps({"detail": detail}).encode())
    assert "s3cret" not in str(made)


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
        every.append(kind("went wrong", **fields))
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
