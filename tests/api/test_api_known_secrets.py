"""Nothing secret that this process knows is in a message, an event or a repr, whoever repeats it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted_server import ScriptedServer, http

from airflow_provider_xpander.api import known_secrets, routes
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import XpanderError, printable
from airflow_provider_xpander.api.known_secrets import MASK, MOST, hidden, remember
from airflow_provider_xpander.api.models import StreamEvent, Task, parse_request
from airflow_provider_xpander.api.request import Target
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.sse import parse_event
from airflow_provider_xpander.runs.task_errors import failure

KEY = "xp-key-0123456789"
ODD = 'xp "key" \\ mit Ü/ß'
TOKENS = {
    "user_tokens": {"crm": "crm-token-4711", "deep": [{"jira": "jira-token-4712"}]},
    "user_oidc_token": "oidc-token-4713",
    "mcp_servers": [
        {
            "name": "salesforce",
            "url": "https://mcp.example.com",
            "headers": {"Authorization": "Bearer mcp-token-4714"},
        }
    ],
}
SECRETS = ("crm-token-4711", "jira-token-4712", "oidc-token-4713", "mcp-token-4714")


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_secrets, "_known", {})


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (KEY, f"Invalid API key {KEY}"),
        (KEY, f"{KEY}{KEY}"),
        (ODD, f"Invalid API key {ODD}"),
        (ODD, f"Invalid: {json.dumps({'key': ODD})}"),
        (ODD, f"Invalid: {json.dumps({'key': ODD}, ensure_ascii=False)}"),
        (ODD, "GET /x?key=xp%20%22key%22%20%5C%20mit%20%C3%9C%2F%C3%9F"),
        (KEY, "x" * 490 + KEY),  # where a message is cut
    ],
)
def test_a_secret_is_hidden_in_every_form(secret: str, text: str) -> None:
    Settings(api_key=secret)
    shown = printable(text)
    assert MASK in shown
    assert not any(part in shown for part in (secret[:6], "mit", "0123"))


def test_the_longer_of_two_secrets_is_hidden_as_a_whole() -> None:
    remember("abcdefgh", "abcdefgh-ijkl")
    assert hidden("<abcdefgh-ijkl> <abcdefgh>") == f"<{MASK}> <{MASK}>"


def test_short_texts_are_no_secrets_and_not_all_are_kept_for_ever() -> None:
    remember(None, "", "an", "invalid")
    assert hidden("an invalid key") == "an invalid key"
    for number in range(MOST + 1):
        remember(f"secret-{number:04d}")
    assert hidden("secret-0000") == "secret-0000"
    assert hidden(f"secret-{MOST:04d}") == MASK


def test_what_the_service_repeats_of_a_request_is_not_in_its_error() -> None:
    said = " ".join([KEY, *SECRETS, "p%40ssword", "p@ssword", "for salesforce"])
    body = json.dumps({"detail": [{"loc": ["body", "user_tokens"], "msg": said}]}).encode()
    policy, settings = RetryPolicy(attempts=1), {"api_key": KEY, "proxy": "http://me:p%40ssword@127.0.0.1:1"}
    request = parse_request({"input": "hi", **TOKENS})
    with ScriptedServer([http(422, body)]) as server:
        Settings(**settings)  # type: ignore[arg-type]
        client = Client(Settings(base_url=server.url, api_key=KEY), policy=policy)
        with client, pytest.raises(XpanderError) as caught:
            client.call(routes.invoke_async(Target.agent("a"), request))
    assert "user_tokens: *** *** *** *** *** *** *** for salesforce" in str(caught.value)
    assert not any(secret in repr(caught.value) for secret in SECRETS)


def test_a_run_that_tells_a_token_fails_without_it() -> None:
    routes.invoke_async(Target.agent("a"), parse_request({"input": "hi", **TOKENS}))
    run = Task.model_validate({"id": "t", "status": "failed", "result": "no login with crm-token-4711"})
    error = failure(run)
    assert error is not None
    assert (str(error.reason), "4711" in str(error)) == (f"no login with {MASK}", False)


@pytest.mark.parametrize(
    "shown",
    [
        StreamEvent("task_created", "t", {"id": "t", **TOKENS}, {"data": TOKENS}),
        parse_event(json.dumps({"type": "task_created", "task_id": "t", "data": {"id": "t", **TOKENS}})),
        Task.model_validate({"id": "t", **TOKENS}),
        parse_request({"input": "hi", **TOKENS}),
        routes.invoke_async(Target.agent("a"), parse_request({"input": "hi", **TOKENS})),
        Settings(api_key=KEY, proxy=f"http://me:{KEY}@127.0.0.1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_repr_shows_no_secret(shown: Any) -> None:
    assert not any(secret in f"{shown!r} {shown}" for secret in (KEY, *SECRETS))
