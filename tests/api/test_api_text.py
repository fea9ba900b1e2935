"""Nothing secret that this process knows is in a message, an event or a repr, whoever repeats it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from drivers import Driver
from scripted_server import Answer, ScriptedServer, Then, http

from airflow_provider_xpander.api import routes, text
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import Reply
from airflow_provider_xpander.api.models import InvokeRequest, StreamEvent, Task, parse_request
from airflow_provider_xpander.api.request import Target
from airflow_provider_xpander.api.retry import ONCE, RetryPolicy
from airflow_provider_xpander.api.routes import RawPage
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.sse import parse_event
from airflow_provider_xpander.api.text import MASK, MOST, hidden, printable, remember
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
    monkeypatch.setattr(text, "_known", {})


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
        (f"{KEY}\n{KEY}", f"Invalid: {KEY}\n{KEY}"),  # of several lines, which a message has not
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


def test_the_key_of_a_connection_is_hidden_however_many_tokens_come_after_it() -> None:
    Settings(api_key=KEY)
    remember(*(f"token-of-user-{number:05d}" for number in range(MOST + 1)))
    assert hidden(f"Invalid API key {KEY}") == f"Invalid API key {MASK}"


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


WILD = 'xp-"key"&0123456789/+='
PASSWORD = "pr0xy"
GET = routes.get_task("t-1")

ECHOES: dict[str, Answer] = {
    "401": http(401, {"detail": f"Invalid API key {WILD}"}),
    "401 nested": http(401, {"detail": {"detail": {"message": f"Invalid API key '{WILD}'"}}}),
    "403": http(403, {"error": WILD}),
    "404 of unknown shape": http(404, {"headers": {"x-api-key": WILD}}),
    "422": http(422, {"detail": [{"loc": ["header", WILD], "msg": f"{WILD} is wrong"}]}),
    "429": http(429, {"detail": f"too many requests of {WILD}"}),
    "500": http(500, {"error": f"boom with {WILD}"}),
    "a page": http(403, f"<html><title>denied: {WILD}</title></html>"),
    "text": http(502, f"no route for {WILD}".encode()),
    "cut off": http(401, json.dumps({"detail": WILD})[:-1].encode()),
    "broken by a colour": http(401, {"detail": f"{WILD[:9]}\x1b[31m{WILD[9:]}"}),
    "in an address": http(400, {"detail": f"/v1/agents?key={quote(WILD, safe='')}"}),
    "a success that is none": http(200, f"hello {WILD}".encode()),
    "keys of an object": http(200, {WILD: 1}),
    "the id of the request": http(401, {"detail": "no"}, {"X-Request-Id": WILD}),
    "not HTTP": [f"SSH-2.0 {WILD}\r\n".encode(), Then.CLOSE],
}


@pytest.mark.parametrize("answer", ECHOES.values(), ids=ECHOES.keys())
def test_an_echo_of_the_key_is_in_no_message(driver: Driver, answer: Answer) -> None:
    with ScriptedServer(answer) as server, pytest.raises(XpanderError) as caught:
        driver(Settings(base_url=server.url, api_key=WILD, timeout=5.0), GET, policy=ONCE)
    assert WILD not in str(caught.value)
    assert quote(WILD, safe="") not in str(caught.value)
    assert json.dumps(WILD)[1:-1] not in str(caught.value)


@pytest.mark.parametrize("echo", [PASSWORD, "c29tZWJvZHk6cHIweHk="], ids=["plain", "as a header"])
def test_an_echo_of_the_proxys_password_is_in_no_message(driver: Driver, echo: str) -> None:
    with ScriptedServer(http(403, f"somebody, {echo}: denied".encode())) as proxy:
        url = proxy.url.replace("//", f"//somebody:{PASSWORD}@")
        with pytest.raises(XpanderError, match="somebody, \\*\\*\\*: denied"):
            driver(Settings(base_url="http://x.invalid", api_key=WILD, proxy=url), GET)


def test_an_echo_in_a_stream_is_in_no_message_and_no_event() -> None:
    body = f"data: {json.dumps({'error': f'key {WILD} refused'})}\n\n".encode()
    call = routes.invoke_stream(Target.agent("a-1"), InvokeRequest(input="hi"))
    with ScriptedServer(http(200, body)) as server:
        client = Client(Settings(base_url=server.url, api_key=WILD))
        (event,) = client.stream(call)
        client.close()
    assert event.data == "key *** refused"


@pytest.mark.parametrize(
    "shown",
    [
        RawPage([{"id": "t-1", "mcp_servers": WILD}]),
        Reply(200, {"Set-Cookie": WILD}, WILD.encode()),
        routes.list_tasks().parse({"items": [{"id": "t-1", "user_oidc_token": WILD}]}),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_a_repr_of_an_answer_shows_no_content(shown: Any) -> None:
    assert WILD not in repr(shown).replace("\\", "")
