"""The connection: as environment variable or URI, in the form of each Airflow, and its test button."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from airflow_side import Service
from certificates import make_certificates
from pytest_mock import MockerFixture
from scripted_server import ScriptedServer, http

from airflow_provider_xpander.api.host_budget import HELD, HostBudget
from airflow_provider_xpander.connection import FIELDS
from airflow_provider_xpander.emulator import BEARER_TOKEN, RESTRICTED_API_KEY, Fault
from airflow_provider_xpander.hooks.xpander import XpanderHook


def headers_of_a_call(service: Service, **changes: Any) -> Any:
    service.connect(**changes)
    with XpanderHook() as hook:
        list(hook.list_agents())
    return service.requests()[0].headers


def test_a_connection_can_be_a_uri(service: Service) -> None:
    host, port = service.server.url.removeprefix("http://").split(":")
    key = quote(service.server.api_key, safe="")
    service.set_env(
        "AIRFLOW_CONN_AS_URI", f"xpander://:{key}@{host}:{port}/http?organization_id=org-7&timeout=5"
    )
    with XpanderHook("as_uri") as hook:
        assert list(hook.list_agents())
    assert hook.settings.timeout == 5
    assert service.requests()[0].headers["x-organization-id"] == "org-7"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"extra": dict.fromkeys(FIELDS)}, id="nulls as the form of 3.x stores them"),
        pytest.param({"extra": dict.fromkeys(FIELDS, "")}, id="empty texts"),
        pytest.param({"extra": json.dumps({"unknown": 1})}, id="extra as text"),
        pytest.param({"extra": None}, id="no extra"),
    ],
)
def test_what_is_not_set_has_its_default(changes: dict[str, Any], service: Service) -> None:
    headers = headers_of_a_call(service, **changes)
    assert headers["x-api-key"] == service.server.api_key
    assert not {"authorization", "x-organization-id"} & set(headers)


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param("{url}", id="as it is"),
        pytest.param("{url}/", id="slash"),
        pytest.param("{url}/v1", id="v1"),
        pytest.param("{url}/v1/", id="v1 and slash"),
        pytest.param("  {url} ", id="blanks"),
    ],
)
def test_the_host_may_be_pasted_in_many_ways(spelling: str, service: Service) -> None:
    headers_of_a_call(service, host=spelling.format(url=service.server.url))
    assert service.requests()[0].path == "/v1/agents"


def test_the_port_may_stand_in_its_own_field(service: Service) -> None:
    assert headers_of_a_call(service, host="http://127.0.0.1", port=service.server.port)


def test_the_key_may_be_pasted_with_blanks(service: Service) -> None:
    headers = headers_of_a_call(service, password=f" {service.server.api_key}\n")
    assert headers["x-api-key"] == service.server.api_key


def test_the_bearer_mode_sends_a_jwt_and_no_api_key(service: Service) -> None:
    headers = headers_of_a_call(service, password=BEARER_TOKEN, extra={"auth_mode": "bearer"})
    assert headers["authorization"] == f"Bearer {BEARER_TOKEN}"
    assert "x-api-key" not in headers


def test_netrc_never_replaces_the_key(service: Service, tmp_path: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    service.set_env("NETRC", str(netrc))
    headers = headers_of_a_call(service)
    assert headers["x-api-key"] == service.server.api_key
    assert "authorization" not in headers


def test_the_key_is_registered_to_be_masked(service: Service, mocker: MockerFixture) -> None:
    from airflow_provider_xpander.hooks import xpander

    mask_secret = mocker.spy(xpander, "mask_secret")
    headers_of_a_call(service, password=f"{service.server.api_key} ")
    mask_secret.assert_any_call(service.server.api_key)


class NotXpander(BaseHTTPRequestHandler):
    """A web server of somebody else."""

    def do_GET(self) -> None:
        """Answer a page."""
        page = b"<html><head><title>Welcome to nginx!</title></head></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *args: Any) -> None:
        """Be quiet."""


@pytest.fixture
def another_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), NotXpander) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def verdict(conn_id: str = "xpander_default") -> tuple[bool, str]:
    return XpanderHook(conn_id).test_connection()


def test_the_test_of_a_good_connection_tells_where_it_leads(service: Service) -> None:
    fine, sentence = verdict()
    assert fine
    assert sentence.startswith(f"Connected to {service.server.url}")
    assert len(service.requests()) == 1, "it asks the service"


def test_the_test_tells_a_wrong_key(service: Service) -> None:
    service.connect(password="a-wrong-key-0815")
    fine, sentence = verdict()
    assert not fine
    assert "does not accept the API key: check the connection's password" in sentence
    assert "a-wrong-key-0815" not in sentence


def test_the_test_tells_a_key_without_access(service: Service) -> None:
    service.connect(password=RESTRICTED_API_KEY)
    fine, sentence = verdict()
    assert not fine
    assert "knows the API key, but the key has no access" in sentence


def test_the_test_tells_a_host_that_does_not_exist(service: Service) -> None:
    service.connect(host="https://xpander.invalid")
    fine, sentence = verdict()
    assert not fine
    assert "cannot reach https://xpander.invalid" in sentence
    assert sentence.endswith("its host name is unknown: check the host.")


def test_the_test_tells_something_that_is_not_xpander(service: Service, another_server: str) -> None:
    service.connect(host=another_server)
    fine, sentence = verdict()
    assert not fine
    assert f"{another_server} answers, but not as the xpander.ai API does: check the host" in sentence
    assert "Welcome to nginx!" in sentence


REAL = json.loads((Path(__file__).parents[1] / "api/airflow_replies.json").read_text())
GETS = [one for one in REAL if one["method"] == "GET" and one["path"].endswith("/agents")]


@pytest.mark.parametrize("reply", GETS, ids=lambda one: f"{one['airflow']} {one['status']} {one['path']}")
def test_the_test_tells_an_airflow(reply: dict[str, Any], service: Service) -> None:
    answer = http(reply["status"], reply["body"].encode(), {"Content-Type": reply["content_type"]})
    with ScriptedServer([answer]) as server:
        service.connect(host=server.url)
        fine, sentence = verdict()
    assert not fine
    assert f"{server.url} answers, but not as the xpander.ai API does: check the host" in sentence


@pytest.mark.parametrize("path", ["/api", "/nowhere/v1"])
def test_the_test_tells_a_base_url_with_a_wrong_path(service: Service, path: str) -> None:
    service.connect(host=service.server.url + path)
    fine, sentence = verdict()
    assert not fine
    assert "answers, but not as the xpander.ai API does: check the host" in sentence
    assert "Check the base URL" in sentence


def test_the_test_tells_that_there_is_no_network(service: Service, closed_port: int) -> None:
    service.connect(host=f"http://127.0.0.1:{closed_port}")
    fine, sentence = verdict()
    assert not fine
    assert f"cannot reach http://127.0.0.1:{closed_port}" in sentence
    assert sentence.endswith("check network, port and proxy.")
    assert "host name is unknown" not in sentence


def test_the_test_tells_a_host_that_does_not_speak_tls(service: Service) -> None:
    service.connect(host=service.server.url.removeprefix("http://"))
    fine, sentence = verdict()
    assert not fine
    assert sentence == (
        f"cannot reach {service.server.url.replace('http:', 'https:')}: it does not speak TLS; if that is "
        f"meant, write {service.server.url} as the connection's host."
    )


@pytest.mark.parametrize(
    ("fields", "variable", "origin"),
    [
        ({"proxy": "{proxy}"}, None, "field 'proxy' of connection 'xpander_default'"),
        ({}, "http_proxy", "the environment's http_proxy"),
    ],
    ids=["field", "environment"],
)
def test_the_test_names_a_proxy_that_fails_and_where_it_came_from(
    fields: dict[str, str], variable: str | None, origin: str, service: Service, closed_port: int
) -> None:
    proxy = f"http://user:s3cret@127.0.0.1:{closed_port}"
    service.connect(extra={name: value.format(proxy=proxy) for name, value in fields.items()})
    if variable is not None:
        service.set_env(variable, proxy)
        service.set_env("no_proxy", "")
    fine, sentence = verdict()
    assert not fine
    assert f"through the proxy http://127.0.0.1:{closed_port} ({origin})" in sentence
    assert "s3cret" not in sentence


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.html(503), r"server error \(HTTP 503\): try again later"),
        (Fault.throttled(retry_after=30), "slow down"),
        (Fault(status=404), "not as the xpander.ai API does: check the host"),
        (Fault(status=405), "not as the xpander.ai API does: check the host"),
        (Fault.html(401), "not as the xpander.ai API does.*a proxy, gateway or firewall"),
        (Fault.html(403), "not as the xpander.ai API does.*a proxy, gateway or firewall"),
        (Fault.html(404), "not as the xpander.ai API does.*or the base URL of .* leads elsewhere"),
        (Fault(status=407, body="who are you?"), "The proxy asks for credentials"),
        (Fault(status=200, body={"data": []}), "not as the xpander.ai API does.*JSON of another shape"),
        (Fault(status=302, headers={"Location": "https://sso.example.com"}), "check the host"),
        (Fault.dropped(), "the connection broke"),
    ],
    ids=[
        "503", "429", "404", "405", "401 page", "403 page", "404 page", "407", "another API", "302", "dropped"
    ],
)  # fmt: skip
def test_the_test_tells_what_else_may_be_wrong_at_once(fault: Fault, words: str, service: Service) -> None:
    fault = service.add_fault(fault.model_copy(deep=True, update={"times": None}))
    fine, sentence = verdict()
    assert not fine
    assert re.search(words, sentence), sentence
    assert fault.hits == 1, "whoever presses the button does not wait for repetitions"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": ""}, "no API key"),
        ({"extra": {"verify": "/nowhere/ca.pem"}}, "'verify' must be true, false, or the path"),
        ({"host": "ftp://example.com"}, "host must be an http or https URL"),
        ({"extra": {"organization_id": "org\u20137"}}, "'organization_id' must be a text of printable ASCII"),
        ({"extra": {"proxy": "socks5://127.0.0.1:1080"}}, "pip install 'requests[socks]' 'httpx[socks]'"),
    ],
    ids=["no key", "verify", "host", "organization", "SOCKS without its library"],
)
def test_the_test_tells_a_wrong_field(changes: dict[str, Any], words: str, service: Service) -> None:
    service.connect(**changes)
    fine, sentence = verdict()
    assert not fine
    assert words in sentence


def test_unknown_fields_are_in_the_log_once_and_in_the_test(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.connect("typo", extra={"requests_per_min": 10})
    with caplog.at_level(logging.WARNING, logger="airflow_provider_xpander.connection"):
        for _ in range(2):
            with XpanderHook("typo") as hook:
                list(hook.list_agents())
    told = (
        "Connection 'typo': unknown fields in extra are ignored: requests_per_min (is requests_per_minute "
        "meant?)."
    )
    assert [record.getMessage() for record in caplog.records] == [told]
    fine, sentence = verdict("typo")
    assert fine
    assert sentence.startswith("Connected to ")
    assert sentence.endswith(told)


def test_the_test_tells_a_certificate_that_nobody_trusts(service: Service, tmp_path: Path) -> None:
    tls = make_certificates(tmp_path).server_context()
    with ScriptedServer(http(200, "{}"), tls=tls) as server:
        service.connect(host=server.url)
        fine, sentence = verdict()
    assert not fine
    assert sentence.endswith("check the certificate, and the CA in the extra field verify.")


def test_the_test_asks_even_while_others_are_refused(service: Service) -> None:
    service.connect(extra={"requests_per_minute": 100})
    HostBudget(service.server.url, service.server.api_key).note(HELD, time.time() + 600)
    assert XpanderHook().test_connection()[0]
    assert len(service.requests()) == 1


def test_the_test_tells_a_missing_connection(service: Service) -> None:
    fine, sentence = verdict("nowhere")
    assert not fine
    assert "no connection 'nowhere'" in sentence


def test_the_sentence_is_one_line(service: Service) -> None:
    service.add_fault(Fault(status=422, body={"detail": "a\x1b[31m\nb"}))
    assert verdict()[1].isprintable()


@pytest.mark.filterwarnings("ignore")  # of Airflow's own managers, and of Flask-AppBuilder
def test_the_package_is_discovered_by_airflow() -> None:
    assert importlib.metadata.distribution("airflow-provider-xpander")
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert "airflow-provider-xpander" in manager.providers
    hook = manager.hooks["xpander"]
    assert hook is not None
    assert (hook.hook_name, hook.connection_id_attribute_name) == ("xpander.ai", "xpander_conn_id")


def test_a_server_that_stopped_is_no_network(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        service.connect("other", host=f"http://127.0.0.1:{other.getsockname()[1]}")
    fine, sentence = verdict("other")
    assert not fine
    assert "check network" in sentence
