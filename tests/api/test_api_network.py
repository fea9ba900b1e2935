"""Proxies and certificates, by one rule for both drivers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from drivers import Driver
from scripted_server import ScriptedServer, http

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import XpanderServiceError, XpanderValidationError
from airflow_provider_xpander.api.models import InvokeRequest, Target
from airflow_provider_xpander.api.network import bypasses, not_reached, proxy_of
from airflow_provider_xpander.api.settings import Settings

TASK = http(200, {"id": "t-1", "status": "executing"})
INVOKE = routes.invoke_async(Target.agent("a-1"), InvokeRequest(input="hi"))


@pytest.mark.parametrize(
    ("url", "no_proxy", "bypassed"),
    [
        ("https://api.xpander.ai", "", False),
        ("https://api.xpander.ai", "*", True),
        ("https://api.xpander.ai", "api.xpander.ai", True),
        ("https://api.xpander.ai", "API.Xpander.AI", True),
        ("https://api.xpander.ai", "xpander.ai", True),
        ("https://api.xpander.ai", ".xpander.ai", True),
        ("https://api.xpander.ai", "*.xpander.ai", True),
        ("https://api.xpander.ai", "pander.ai", False),
        ("https://api.xpander.ai", "localhost, corp.example\n xpander.ai", True),
        ("https://api.xpander.ai", "localhost\nxpander.ai\n", True),
        ("https://api.xpander.ai", "xpander.ai:443", True),
        ("https://api.xpander.ai", "xpander.ai:8443", False),
        ("https://api.xpander.ai:8443", "xpander.ai:8443", True),
        ("https://api.xpander.ai", "https://api.xpander.ai", True),
        ("http://10.1.2.3:8090", "10.0.0.0/8", True),
        ("http://10.1.2.3:8090", "10.1.2.3/8", True),
        ("http://11.1.2.3:8090", "10.0.0.0/8", False),
        ("http://10.1.2.3:8090", "10.1.2.3", True),
        ("http://10.1.2.3:8090", "10.1.2.3:8090", True),
        ("http://10.1.2.3:8090", "10.1.2.3:80", False),
        ("http://[::1]:8090", "[::1]", True),
        ("http://[::1]:8090", "::1", True),
        ("http://[::1]:8090", "[::1]:8090", True),
        ("http://[::1]:8090", "[::1]:80", False),
        ("http://[fd00::5]:8090", "fd00::/8", True),
        ("http://[fd00::5]:8090", "10.0.0.0/8", False),
        ("https://api.xpander.ai", "[::1", False),
        ("https://api.xpander.ai", "999.0.0.0/8 [::1] :80 . * .", True),
        ("https://api.xpander.ai", "999.0.0.0/8 10.0.0.0/99 [::1] :80 . ,, ://", False),
    ],
)
def test_who_is_reached_without_the_proxy(url: str, no_proxy: str, bypassed: bool) -> None:
    assert bypasses(urlsplit(url), no_proxy) is bypassed


@pytest.mark.parametrize(
    ("environment", "base_url", "proxy", "variable"),
    [
        ({}, "https://x.ai", None, None),
        ({"https_proxy": "http://p:3128"}, "https://x.ai", "http://p:3128", "https_proxy"),
        ({"HTTPS_PROXY": "http://u:s3cret@p:3128"}, "https://x.ai", "http://p:3128", "HTTPS_PROXY"),
        ({"https_proxy": "p:3128"}, "https://x.ai", "http://p:3128", "https_proxy"),
        ({"http_proxy": "http://p:3128"}, "https://x.ai", None, None),
        ({"http_proxy": "http://p:3128"}, "http://x.ai", "http://p:3128", "http_proxy"),
        ({"ALL_PROXY": "http://p"}, "http://x.ai", "http://p", "ALL_PROXY"),
        ({"ALL_PROXY": "socks://p", "https_proxy": "http://q"}, "https://x.ai", "http://q", "https_proxy"),
        ({"ALL_PROXY": "socks://p", "no_proxy": "x.ai"}, "https://x.ai", None, None),
        ({"https_proxy": "http://p", "NO_PROXY": "x.ai"}, "https://x.ai", None, None),
        ({"https_proxy": ""}, "https://x.ai", None, None),
    ],
)
def test_the_proxy_of_the_environment(
    environment: dict[str, str],
    base_url: str,
    proxy: str | None,
    variable: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_of(Settings(base_url=base_url))
    shown = f"the proxy {proxy} (the environment's {variable})" if proxy else "None"
    assert str(found) == shown
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8", "[::1]\n127.0.0.0/8", "*"])
def test_both_drivers_read_no_proxy_alike(
    driver: Driver, no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(TASK) as server:
        monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        assert driver(Settings(base_url=server.url, api_key="k"), routes.get_task("t-1")).id == "t-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"proxy": "socks5://127.0.0.1:1080"},
        {"proxy": "http://proxy:port"},
        {"proxy": "http://proxy:99999"},
        {"proxy": "socks://127.0.0.1:1080"},
        {"organization_id": "o\u20131"},
        {"organization_id": "\u043e\u0440\u0433"},
        {"organization_id": "o-1\r\nx-evil: 1"},
        {"user_agent": "mine\n1"},
        {"api_key": "k\u2013012345"},
        {"base_url": "ftp://api.xpander.ai"},
        {"base_url": "http://exa mple.com"},
        {"base_url": "http://127.0.0.1:99999"},
    ],
    ids=str,
)
def test_a_request_that_cannot_be_written_down_is_no_unclear_submit(
    driver: Driver, changes: dict[str, Any]
) -> None:
    with ScriptedServer(TASK) as server:
        with pytest.raises(XpanderValidationError):
            driver(Settings(**{"base_url": server.url, "api_key": "k-0123456789", **changes}), INVOKE)
        assert not server.requests


def test_a_failing_proxy_is_named_with_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Settings(base_url="https://x.ai", proxy="http://u:s3cret@p:3128", conn_id="my_conn")
    assert not_reached(own, "refused") == (
        "cannot reach https://x.ai through the proxy http://p:3128 (field 'proxy' of connection 'my_conn') "
        "(refused)"
    )
    monkeypatch.setenv("https_proxy", "http://q:3128")
    assert "through the proxy http://q:3128 (the environment's https_proxy)" in not_reached(
        Settings(base_url="https://x.ai"), "refused"
    )


def test_a_proxy_that_asks_for_credentials_is_named(driver: Driver) -> None:
    with ScriptedServer(http(407, b"who are you?")) as proxy:
        settings = Settings(
            base_url="http://xpander.invalid", api_key="k", proxy=proxy.url, conn_id="my_conn"
        )
        with pytest.raises(XpanderServiceError, match="The proxy asks for credentials") as caught:
            driver(settings, INVOKE)
    assert f"through the proxy {proxy.url} (field 'proxy' of connection 'my_conn')" in str(caught.value)


@pytest.mark.parametrize("broken", ["body", "certificates"])
def test_a_body_or_certificates_that_cannot_be_used_are_no_unclear_submit(
    broken: str, tmp_path: Path
) -> None:
    call = dataclasses.replace(INVOKE, json={"ratio": float("nan"), "thing": object()})
    with ScriptedServer(TASK) as server:
        settings = Settings(base_url=server.url)
        if broken == "certificates":
            call, url = INVOKE, server.url.replace("http:", "https:")
            settings = Settings(base_url=url, verify=str(tmp_path / "gone.pem"))
        with Client(settings) as client, pytest.raises(XpanderValidationError, match="nothing was sent"):
            client.call(call)
        assert not server.requests
