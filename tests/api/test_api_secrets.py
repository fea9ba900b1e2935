"""Wherever the key, a proxy's password or a request's credentials are echoed, no message shows them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from drivers import Driver
from scripted_server import Answer, ScriptedServer, Then, http

from airflow_provider_xpander.api import known_secrets, routes
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import XpanderError, printable
from airflow_provider_xpander.api.exchange import Reply
from airflow_provider_xpander.api.models import InvokeRequest, Target
from airflow_provider_xpander.api.retry import ONCE
from airflow_provider_xpander.api.routes import RawPage
from airflow_provider_xpander.api.settings import Settings

KEY = 'xp-"key"&0123456789/+='
PASSWORD = "pr0xy"
GET = routes.get_task("t-1")


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_secrets, "_known", {})


ECHOES: dict[str, Answer] = {
    "401": http(401, {"detail": f"Invalid API key {KEY}"}),
    "401 nested": http(401, {"detail": {"detail": {"message": f"Invalid API key '{KEY}'"}}}),
    "403": http(403, {"error": KEY}),
    "404 of unknown shape": http(404, {"headers": {"x-api-key": KEY}}),
    "422": http(422, {"detail": [{"loc": ["header", KEY], "msg": f"{KEY} is wrong"}]}),
    "429": http(429, {"detail": f"too many requests of {KEY}"}),
    "500": http(500, {"error": f"boom with {KEY}"}),
    "a page": http(403, f"<html><title>denied: {KEY}</title></html>"),
    "text": http(502, f"no route for {KEY}".encode()),
    "cut off": http(401, json.dumps({"detail": KEY})[:-1].encode()),
    "broken by a colour": http(401, {"detail": f"{KEY[:9]}\x1b[31m{KEY[9:]}"}),
    "in an address": http(400, {"detail": f"/v1/agents?key={quote(KEY, safe='')}"}),
    "a success that is none": http(200, f"hello {KEY}".encode()),
    "keys of an object": http(200, {KEY: 1}),
    "the id of the request": http(401, {"detail": "no"}, {"X-Request-Id": KEY}),
    "not HTTP": [f"SSH-2.0 {KEY}\r\n".encode(), Then.CLOSE],
}


@pytest.mark.parametrize("answer", ECHOES.values(), ids=ECHOES.keys())
def test_an_echo_of_the_key_is_in_no_message(driver: Driver, answer: Answer) -> None:
    with ScriptedServer(answer) as server, pytest.raises(XpanderError) as caught:
        driver(Settings(base_url=server.url, api_key=KEY, timeout=5.0), GET, policy=ONCE)
    assert KEY not in str(caught.value)
    assert quote(KEY, safe="") not in str(caught.value)
    assert json.dumps(KEY)[1:-1] not in str(caught.value)


REQUEST = InvokeRequest(
    input="hi",
    user_tokens={"github": "ghp-0123456789"},
    user_oidc_token="Bearer oidc-0123456789",
    mcp_servers=[{"name": "an-ordinary-name", "headers": {"Authorization": "Token mcp-0123456789"}}],
)


@pytest.mark.parametrize("secret", ["ghp-0123456789", "oidc-0123456789", "mcp-0123456789"])
def test_an_echo_of_a_requests_credentials_is_in_no_message(driver: Driver, secret: str) -> None:
    echo = http(400, {"detail": f"an-ordinary-name: {secret} is not accepted"})
    refused = pytest.raises(XpanderError, match="an-ordinary-name: \\*\\*\\* is not accepted")
    with ScriptedServer(echo) as server, refused:
        driver(Settings(base_url=server.url, api_key=KEY), routes.invoke_async(Target.agent("a-1"), REQUEST))


@pytest.mark.parametrize("echo", [PASSWORD, "c29tZWJvZHk6cHIweHk="], ids=["plain", "as a header"])
def test_an_echo_of_the_proxys_password_is_in_no_message(driver: Driver, echo: str) -> None:
    with ScriptedServer(http(403, f"somebody, {echo}: denied".encode())) as proxy:
        url = proxy.url.replace("//", f"//somebody:{PASSWORD}@")
        with pytest.raises(XpanderError, match="somebody, \\*\\*\\*: denied"):
            driver(Settings(base_url="http://x.invalid", api_key=KEY, proxy=url), GET)


def test_an_echo_in_a_stream_is_in_no_message_and_no_event() -> None:
    body = f"data: {json.dumps({'error': f'key {KEY} refused'})}\n\n".encode()
    call = routes.invoke_stream(Target.agent("a-1"), REQUEST)
    with ScriptedServer(http(200, body)) as server:
        client = Client(Settings(base_url=server.url, api_key=KEY))
        (event,) = client.stream(call)
        client.close()
    assert event.data == "key *** refused"


@pytest.mark.parametrize(
    "shown",
    [
        RawPage([{"id": "t-1", "mcp_servers": KEY}]),
        Reply(200, {"Set-Cookie": KEY}, KEY.encode()),
        routes.list_tasks().parse({"items": [{"id": "t-1", "user_oidc_token": KEY}]}),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_a_repr_of_an_answer_shows_no_content(shown: Any) -> None:
    assert KEY not in repr(shown).replace("\\", "")


def test_short_texts_hide_no_ordinary_words() -> None:
    Settings(api_key="key")
    routes.invoke_async(Target.agent("a"), InvokeRequest(input="hi", user_tokens={"env": "staging"}))
    assert printable("the key of staging") == "the key of staging"
