"""Replies that are no success: whose words they hold, and which error tells what to do."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_xpander.api import errors, routes
from airflow_provider_xpander.api.exchange import Reply, read
from airflow_provider_xpander.api.models import InvokeRequest, Target
from airflow_provider_xpander.api.refusals import Said, error_from_status, is_billing, read_error

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
    assert read_error(body if isinstance(body, bytes) else json.dumps(body).encode()).text == text


def test_a_body_nested_without_end_does_not_break_it() -> None:
    body: Any = "deep"
    for _ in range(200):
        body = {"detail": body}
    assert read_error(json.dumps(body).encode()) == Said("", by_api=True)


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (400, "XpanderValidationError", ""),
        (401, "XpanderAuthError", "API key"),
        (402, "XpanderBillingError", "credit"),
        (403, "XpanderAuthError", "no access"),
        (404, "XpanderNotFoundError", "id"),
        (405, "XpanderValidationError", "base URL"),
        (407, "XpanderServiceError", "proxy asks for credentials"),
        (408, "XpanderServiceError", ""),
        (410, "XpanderValidationError", "base URL"),
        (413, "XpanderValidationError", "too large"),
        (414, "XpanderValidationError", "too large"),
        (415, "XpanderValidationError", "not taken"),
        (431, "XpanderValidationError", "too large"),
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
        (520, "XpanderServiceError", ""),
        (529, "XpanderServiceError", ""),
        (599, "XpanderServiceError", ""),
    ],
)
def test_the_error_of_a_status(status: int, error: str, hint: str) -> None:
    made = error_from_status("get task t-1", status, b'{"detail": "said so"}', request_id="r-9")
    assert type(made).__name__ == error
    assert (made.status_code, made.request_id) == (status, "r-9")
    assert str(made).startswith(f"get task t-1: HTTP {status}, said so (request r-9)")
    assert hint in str(made)
    stopped = error_from_status("get task t-1", status, b'{"detail": "Said so."}')
    assert "Said so. " in f"{stopped} "
    assert ".." not in str(stopped)


@pytest.mark.parametrize("body", BILLING_BODIES.values(), ids=BILLING_BODIES.keys())
@pytest.mark.parametrize("status", [402, 403, 429])
def test_a_refusal_about_money_is_a_billing_error_in_every_body_shape(status: int, body: Any) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    made = error_from_status("invoke agent a-1", status, raw)
    assert type(made) is errors.XpanderBillingError
    assert "credit" in str(made)


@pytest.mark.parametrize(
    "text",
    [
        "Rate limit of your plan: 100 requests per minute",
        "Request quota exceeded",
        "Quota of 1000 requests an hour is used up",
        OUT_OF_CREDIT,
    ],
)
@pytest.mark.parametrize("seconds", [0.0, 30.0, 3600.0])
@pytest.mark.parametrize("status", [403, 429])
def test_a_refusal_with_a_time_to_come_back_is_throttling_whatever_it_says(
    status: int, text: str, seconds: float
) -> None:
    made = error_from_status("list tasks", status, json.dumps({"detail": text}).encode(), retry_after=seconds)
    assert isinstance(made, errors.XpanderRateLimitError)
    assert made.retry_after == seconds


PAGES = {
    "HTML": b"<html><head><title>Access denied</title></head></html>",
    "HTML that speaks of money": b"<html><title>Quota of your plan exceeded, check billing</title></html>",
    "text": b"RBAC: access denied",
    "text of a router": b"404 page not found",
    "nothing": b"",
    "JSON of another API": b'{"errors": [{"code": 1009}]}',
    "a JSON text": b'"forbidden"',
    "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 407, 408, 409, 410, 422, 451, 499])
def test_a_page_of_something_in_front_of_the_api_is_no_word_of_the_api(status: int, page: bytes) -> None:
    made = error_from_status("get task t-1", status, page, at="connection 'c', GET https://host/v1/tasks/t-1")
    assert type(made) is errors.XpanderServiceError
    assert made.may_pass
    assert made.status_code == status
    assert "proxy" in str(made)
    assert "connection 'c', GET https://host/v1/tasks/t-1" in str(made)
    assert "API key" not in str(made)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
@pytest.mark.parametrize("status", [405, 410, 413, 414, 415, 431])
def test_an_invoke_that_is_not_taken_in_this_form_is_refused_for_good(status: int, page: bytes) -> None:
    made = error_from_status("invoke agent a-1", status, page, submit=True)
    assert type(made) is errors.XpanderValidationError


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_a_page_with_429_is_throttling(page: bytes) -> None:
    assert type(error_from_status("list tasks", 429, page)) is errors.XpanderRateLimitError


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            401,
            {"detail": "Invalid or missing API key"},
            "the API key (password) of connection 'c' (GET https",
        ),
        (403, {"detail": "no"}, "The key of connection 'c' (GET https://host/v1/tasks/t-1) is known"),
        (
            404,
            {"detail": "Task not found"},
            "whether the key of connection 'c' (GET https://host/v1/tasks/t-1) may",
        ),
        (404, {"detail": "Not Found"}, "Check the base URL of connection 'c' (GET https"),
        (
            405,
            {"detail": "Method Not Allowed"},
            "Check the base URL of connection 'c' (GET",
        ),
    ],
    ids=["401", "403", "404", "404 of a framework", "405"],
)
def test_the_connection_and_the_address_are_named(status: int, body: Any, words: str) -> None:
    at = "connection 'c' (GET https://host/v1/tasks/t-1)"
    assert words in str(error_from_status("get task t-1", status, json.dumps(body).encode(), at=at))


NOT_XPANDER = {
    "a framework": (404, {"detail": "Not Found"}),
    "Spring": (404, {"timestamp": "x", "status": 404, "error": "Not Found", "path": "/v1/agents"}),
    "Kong": (404, {"message": "no Route matched with those values"}),
    "Kubernetes": (404, {"kind": "Status", "message": "Not Found", "code": 404}),
    "FastAPI": (401, {"detail": "Not authenticated"}),
    "a problem": (401, {"type": "about:blank", "title": "Unauthorized", "status": 401, "detail": None}),
    "a router": (404, "404 page not found"),
}


@pytest.mark.parametrize(("status", "body"), NOT_XPANDER.values(), ids=NOT_XPANDER.keys())
@pytest.mark.parametrize("submit", [False, True])
def test_other_apis_and_a_wrong_path_are_told_from_a_wrong_id(status: int, body: Any, submit: bool) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    said = str(error_from_status("get agent a-1", status, raw, submit=submit, at="connection 'c'"))
    assert "base URL" in said
    assert said.find("base URL") < said.find("the id") or "the id" not in said


REAL = json.loads((Path(__file__).parent / "airflow_replies.json").read_text())
"""What the servers of Airflow 2.11.2 and 3.3.2 answer, as recorded."""


@pytest.mark.parametrize(
    "reply", REAL, ids=lambda one: f"{one['airflow']} {one['status']} {one['method']} {one['path']}"
)
def test_an_airflow_where_the_api_should_be_is_told(reply: dict[str, Any]) -> None:
    def call() -> Any:
        submit = reply["method"] == "POST"
        made = (
            routes.invoke_async(Target.agent("a"), InvokeRequest(input="x"))
            if submit
            else routes.list_agents()
        )
        headers = {"content-type": reply["content_type"]}
        return read(made, Reply(reply["status"], headers, reply["body"].encode()), datetime.now(UTC))

    with pytest.raises(errors.XpanderError) as caught:
        call()
    assert re.search("not the xpander.ai API|no answer of the xpander.ai API|Other APIs", str(caught.value))
    assert "check the id" not in str(caught.value).partition("base URL")[0].lower()


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
        (429, "Your plan allows 100 requests per minute", False),
        (429, "Usage limit reached: 1000 requests an hour", False),
        (429, "Quota: 60/min", False),
        (429, "The budget of a minute ago is spent", True),
        (403, "Not enough permissions", False),
        (403, "Billing is not set up", True),
        (429, "Planning took too long", False),
        (404, "no such billing account", False),
        (500, "credit service down", False),
    ],
)
def test_billing_is_told_from_throttling(status: int, text: str, billing: bool) -> None:
    assert is_billing(status, Said(text, by_api=True)) is billing


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
