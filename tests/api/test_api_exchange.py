"""Conversations with the service, driven by hand and without a socket."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderAuthError,
    XpanderBillingError,
    XpanderConnectionError,
    XpanderError,
    XpanderNotFoundError,
    XpanderRateLimitError,
    XpanderServiceError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.exchange import NoReply, Refresh, Reply, Send, Sleep, exchange
from airflow_provider_xpander.api.models import InvokeRequest, Target
from airflow_provider_xpander.api.retry import ONCE, RetryPolicy
from airflow_provider_xpander.api.routes import Call
from airflow_provider_xpander.api.settings import Settings

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
GET = routes.get_task("t-1")
STOP = routes.stop_task("t-1")
INVOKE = routes.invoke_async(Target.agent("a-1"), InvokeRequest(input="hi", title="nightly [airflow 00ff]"))
POLICY = RetryPolicy(attempts=3, base=1.0, cap=8.0, patience=60.0)

TASK = Reply(200, {}, b'{"id": "t-1", "status": "executing"}')
NOT_SENT = NoReply("cannot reach https://x", sent=False)
SENT = NoReply("no answer within 60 s", sent=True)
HTML = Reply(502, {"content-type": "text/html"}, b"<html><title>502 Bad Gateway</title></html>")


def drive(
    call: Call[Any],
    *outcomes: Reply | NoReply,
    policy: RetryPolicy = POLICY,
    anew: bool | NoReply = False,
) -> tuple[Any, int, list[float]]:
    """Play a conversation; return its result or error, the number of requests, and the waits."""
    steps = exchange(call, policy, now=lambda: NOW, rng=lambda: 0.0)
    sends, waits = 0, []
    step = next(steps)
    while True:
        try:
            if isinstance(step, Sleep):
                waits.append(step.seconds)
                step = steps.send(None)
            elif isinstance(step, Refresh):
                step = steps.send(anew)
            else:
                assert step == Send(call)
                sends += 1
                step = steps.send(outcomes[min(sends, len(outcomes)) - 1])
        except StopIteration as end:
            return end.value, sends, waits
        except XpanderError as error:
            return error, sends, waits


def status(code: int, body: Any = None, **headers: str) -> Reply:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(code, fields, json.dumps(body or {"detail": "no"}).encode())


def test_a_success_is_the_result_of_the_call() -> None:
    task, sends, waits = drive(GET, TASK)
    assert (task.id, task.status, sends, waits) == ("t-1", "executing", 1, [])


@pytest.mark.parametrize(
    "passing",
    [
        NOT_SENT,
        SENT,
        HTML,
        status(408),
        status(425),
        status(429),
        status(500, {"error": "boom"}),
        status(503),
        status(504),
        *(status(code) for code in (501, 505, 507, 511, *range(520, 531), 599)),
        *(Reply(code, {}, b"<html>denied</html>") for code in (400, 401, 403, 404, 405, 407, 410, 422)),
        Reply(403, {}, b"RBAC: access denied"),
        Reply(200, {}, b""),
        Reply(200, {}, b'{"id": "t-1", "stat'),
        Reply(200, {}, b"<html>login</html>"),
        Reply(200, {}, b'{"hello": "world"}'),
    ],
    ids=lambda outcome: (
        f"{outcome.status} {outcome.body[:12]!r}" if isinstance(outcome, Reply) else outcome.reason
    ),
)
@pytest.mark.parametrize("call", [GET, STOP], ids=["get", "stop"])
def test_what_may_pass_is_tried_again_where_that_is_safe(call: Call[Any], passing: Reply | NoReply) -> None:
    task, sends, waits = drive(call, passing, TASK)
    assert task.id == "t-1"
    assert (sends, waits) == (2, [1.0])


@pytest.mark.parametrize("call", [GET, STOP, INVOKE], ids=["get", "stop", "invoke"])
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (status(400), XpanderValidationError),
        (status(401), XpanderAuthError),
        (status(402), XpanderBillingError),
        (status(403), XpanderAuthError),
        (status(404), XpanderNotFoundError),
        (status(405), XpanderValidationError),
        (status(409), XpanderServiceError),
        (status(410), XpanderValidationError),
        (status(413), XpanderValidationError),
        (status(415), XpanderValidationError),
        (status(422), XpanderValidationError),
        (status(431), XpanderValidationError),
        (status(429, {"detail": "out of credits"}), XpanderBillingError),
        (status(301, Location="https://elsewhere/"), XpanderServiceError),
        (status(307, Location="https://elsewhere/"), XpanderServiceError),
    ],
    ids=[
        "400", "401", "402", "403", "404", "405", "409", "410", "413", "415", "422", "431", "billing", "301",
        "307",
    ],
)  # fmt: skip
def test_what_does_not_pass_is_raised_at_once(
    call: Call[Any], outcome: Reply, expected: type[XpanderError]
) -> None:
    error, sends, waits = drive(call, outcome, TASK)
    assert type(error) is expected
    assert (sends, waits) == (1, [])


OTHER, SAME = True, False
AWAY = NoReply("connection 'c' cannot be read: no.", sent=False)


@pytest.mark.parametrize("call", [GET, STOP, INVOKE], ids=["get", "stop", "invoke"])
@pytest.mark.parametrize(
    ("key", "outcomes", "result", "requests"),
    [
        (OTHER, [status(401), TASK], "Task", 2),
        (OTHER, [status(401), status(401), TASK], "XpanderAuthError", 2),
        (OTHER, [status(401), status(404)], "XpanderNotFoundError", 2),
        (OTHER, [Reply(401, {}, b"<html>log in</html>"), TASK], "Task", 2),
        (SAME, [status(401), TASK], "XpanderAuthError", 1),
        (AWAY, [status(401), TASK], "XpanderConnectionError", 1),
        (OTHER, [status(403), TASK], "XpanderAuthError", 1),
    ],
    ids=["changed", "refused too", "changed, 404", "page", "the same", "cannot be read", "403"],
)
def test_what_was_refused_is_sent_once_more_with_another_key_only(
    call: Call[Any], key: bool | NoReply, outcomes: list[Reply], result: str, requests: int
) -> None:
    found, sends, _ = drive(call, *outcomes, anew=key, policy=ONCE)
    assert (type(found).__name__, sends) == (result, requests)
    if result == "XpanderAuthError":
        assert "no" in str(found)


def test_a_request_that_was_refused_is_no_failed_attempt() -> None:
    outcomes = [status(503), status(401), status(503), TASK]
    task, sends, waits = drive(GET, *outcomes, anew=OTHER)
    assert (task.id, sends, waits) == ("t-1", 4, [1.0, 2.0])


@pytest.mark.parametrize("surely_not_started", [NOT_SENT, status(429)], ids=["not sent", "429"])
def test_an_invoke_that_surely_started_nothing_is_tried_again(surely_not_started: Reply | NoReply) -> None:
    task, sends, waits = drive(INVOKE, surely_not_started, TASK)
    assert task.id == "t-1"
    assert (sends, waits) == (2, [1.0])


@pytest.mark.parametrize(
    "unclear",
    [
        SENT,
        status(408),
        status(500, {"error": "boom"}),
        HTML,
        status(503),
        status(504),
        *(status(code) for code in (501, *range(520, 531), 599)),
        Reply(200, {}, b""),
        Reply(200, {}, b'{"id": "t-1", "stat'),
        Reply(200, {}, b"<html>login</html>"),
        Reply(200, {}, b'{"status": "pending"}'),
        Reply(204, {}, b""),
    ],
    ids=lambda outcome: (
        f"{outcome.status} {outcome.body[:12]!r}" if isinstance(outcome, Reply) else outcome.reason
    ),
)
def test_an_invoke_that_may_have_started_a_run_is_never_sent_again(unclear: Reply | NoReply) -> None:
    error, sends, waits = drive(INVOKE, unclear, TASK)
    assert type(error) is XpanderAmbiguousSubmitError
    assert (sends, waits) == (1, [])
    assert (error.target_id, error.title, error.thread_id) == ("a-1", "nightly [airflow 00ff]", None)
    assert "may have been started" in str(error)
    assert "nightly [airflow 00ff]" in str(error)
    assert error.status_code == (unclear.status if isinstance(unclear, Reply) else None)


@pytest.mark.parametrize(
    ("fields", "sign"),
    [({"title": "nightly"}, "title 'nightly'"), ({"id": "th-1"}, "id th-1"), ({}, "its input")],
    ids=["title", "thread", "neither"],
)
def test_an_unclear_invoke_says_what_to_look_for(fields: dict[str, Any], sign: str) -> None:
    call = routes.invoke_async(Target.agent("a-1"), InvokeRequest(input="hi", **fields))
    error, _, _ = drive(call, SENT)
    assert f"look for {sign} among the tasks of a-1" in str(error)


def test_a_connection_that_fails_every_time_is_given_up() -> None:
    error, sends, waits = drive(GET, NOT_SENT)
    assert type(error) is XpanderConnectionError
    assert (sends, waits) == (3, [1.0, 2.0])


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry_After": "7"}, [7.0]),
        ({"Retry_After": "Fri, 01 May 2026 12:00:20 GMT"}, [20.0]),
        ({"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": f"{NOW.timestamp() + 9:.0f}"}, [9.0]),
        ({"Retry_After": "0"}, [1.0]),
        ({}, [1.0]),
    ],
    ids=["seconds", "date", "X-RateLimit", "zero", "nothing said"],
)
@pytest.mark.parametrize("call", [GET, INVOKE], ids=["get", "invoke"])
def test_throttling_is_waited_out_as_the_service_asks(
    call: Call[Any], headers: dict[str, str], waits: list[float]
) -> None:
    task, sends, waited = drive(call, status(429, **headers), TASK)
    assert task.id == "t-1"
    assert (sends, waited) == (2, waits)


def test_an_outage_with_an_end_is_waited_out() -> None:
    task, sends, waits = drive(GET, status(503, Retry_After="7"), TASK)
    assert task.id == "t-1"
    assert (sends, waits) == (2, [7.0])


@pytest.mark.parametrize(("code", "kind"), [(429, XpanderRateLimitError), (503, XpanderServiceError)])
def test_a_wait_beyond_the_patience_is_raised_and_not_slept(code: int, kind: type[XpanderError]) -> None:
    error, sends, waits = drive(GET, status(code, Retry_After="3600"), TASK)
    assert type(error) is kind
    assert (error.retry_after, sends, waits) == (3600.0, 1, [])


@pytest.mark.parametrize("code", [429, 503])
def test_a_wait_that_is_cut_to_an_hour_is_in_the_log(code: int, caplog: pytest.LogCaptureFixture) -> None:
    error, sends, waits = drive(GET, status(code, Retry_After="9999999999"), TASK)
    assert (error.retry_after, sends, waits) == (3600.0, 1, [])
    assert "asks to wait 9999999999 s; an hour is the most" in caplog.text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Reply(200, {}, b""), ["HTTP 200", "empty body"]),
        (Reply(200, {}, b" \n"), ["empty body"]),
        (
            Reply(200, {}, b"<html><title>Sign in</title></html>"),
            ["an HTML page titled 'Sign in' instead of JSON", "base URL"],
        ),
        (Reply(200, {}, b'{"id": "t-1", "stat'), ["cut off"]),
        (Reply(200, {}, b"OK"), ["not JSON", "OK"]),
        (Reply(200, {}, b'{"hello": "world"}'), ["another shape", "hello"]),
        (Reply(200, {}, b"[" * 100_000), ["cut off"]),
        (HTML, ["HTTP 502", "an HTML page titled '502 Bad Gateway'"]),
        (Reply(503), ["HTTP 503", "empty answer"]),
        (Reply(200, {}, b'{"id": "t-1", "execution_attempts": ' + b"9" * 5000 + b"}"), ["HTTP 200"]),
    ],
    ids=[
        "empty", "blank", "html", "truncated", "text", "other JSON", "endless nesting", "502", "503",
        "a number without end",
    ],
)  # fmt: skip
def test_a_broken_answer_is_named(outcome: Reply, words: list[str]) -> None:
    error, _, _ = drive(GET, outcome)
    assert type(error) is XpanderServiceError
    assert error.status_code == outcome.status
    assert str(error).startswith("get task t-1: ")
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"user_oidc_token": "s3cret", "status": "pending"}',
        b'{"user_tokens": {"github": "s3cret"}, "id": "t-',
        b'[{"user_oidc_token": "s3cret"}]',
    ],
    ids=["no id", "cut off", "a list"],
)
@pytest.mark.parametrize("call", [GET, INVOKE], ids=["get", "invoke"])
def test_an_unreadable_answer_gives_no_secret_away(call: Call[Any], body: bytes) -> None:
    # The service echoes the tokens of the request (contract section 4).
    error, _, _ = drive(call, Reply(200, {}, body))
    seen: BaseException | None = error
    while seen is not None:
        assert "s3cret" not in str(seen)
        seen = seen.__cause__ or seen.__context__


def test_the_id_of_the_request_is_carried() -> None:
    for outcome in (Reply(404, {"X-Request-Id": "r-9"}), Reply(200, {"X-Request-ID": "r-9"}, b"")):
        error, _, _ = drive(GET, outcome)
        assert error.request_id == "r-9"


@pytest.mark.parametrize("code", [400, 401, 403, 404, 407])
def test_an_invoke_that_something_in_front_has_answered_is_not_the_keys_fault(code: int) -> None:
    error, sends, _ = drive(INVOKE, Reply(code, {}, b"<html><title>Sign in</title></html>"), TASK)
    assert type(error) is XpanderServiceError
    assert sends == 1


def test_an_error_names_the_connection_and_the_address() -> None:
    settings = Settings(base_url="https://api.example.com", conn_id="my_conn")
    for outcome in (
        Reply(401, {}, b'{"detail": "no"}', settings=settings),
        Reply(404, {}, b"<html></html>", settings=settings),
        Reply(200, {}, b"<html></html>", settings=settings),
    ):
        error, _, _ = drive(GET, outcome)
        assert "connection 'my_conn' (GET https://api.example.com/v1/tasks/t-1)" in str(error)


def test_an_open_stream_is_handed_on_unread() -> None:
    stream = object()
    result, sends, _ = drive(INVOKE, Reply(200, {}, stream=stream))
    assert result is stream
    assert sends == 1
