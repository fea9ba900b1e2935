"""Promises of both drivers; each test runs over requests and over httpx."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificates
from drivers import Driver
from scripted_server import (
    Answer,
    Beneath,
    Pause,
    ScriptedServer,
    Step,
    Then,
    chunk,
    head,
    http,
    unused_port,
)

from airflow_provider_xpander.api import aclient, client, routes
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderAuthError,
    XpanderBillingError,
    XpanderConnectionError,
    XpanderError,
    XpanderNotFoundError,
    XpanderRateLimitError,
    XpanderServiceError,
)
from airflow_provider_xpander.api.exchange import Sleep, Steps
from airflow_provider_xpander.api.models import InvokeRequest, Target
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.emulator import EmulatorServer
from airflow_provider_xpander.runs.watch import get_task_patiently

KEY = "k-0123456789"
GET = routes.get_task("t-1")
INVOKE = routes.invoke_async(Target.agent("a-1"), InvokeRequest(input="hi", title="nightly"))
TASK = http(200, {"id": "t-1", "status": "executing"})
EAGER = RetryPolicy(attempts=3, base=0.0)


def to(server: ScriptedServer, **changes: Any) -> Settings:
    return Settings(**{"base_url": server.url, "api_key": KEY, "timeout": 5.0, **changes})


BROKEN: dict[str, tuple[Answer, type[XpanderError], list[str]]] = {
    "a proxy's page": (
        http(502, "<html><title>502 Bad Gateway</title></html>"),
        XpanderServiceError,
        ["HTTP 502", "HTML page titled '502 Bad Gateway'"],
    ),
    "a login page": (
        http(200, "<html><title>Sign in</title></html>"),
        XpanderServiceError,
        ["HTTP 200", "HTML page titled 'Sign in' instead of JSON"],
    ),
    "an empty body": (http(200), XpanderServiceError, ["HTTP 200", "empty body"]),
    "no content": (http(204), XpanderServiceError, ["HTTP 204", "empty body"]),
    "truncated JSON": (http(200, b'{"id": "t-1", "stat'), XpanderServiceError, ["cut off"]),
    "a 500 of a container": (http(500, {"error": "boom"}), XpanderServiceError, ["HTTP 500", "boom"]),
    "a gateway time-out": (http(504, "<html></html>"), XpanderServiceError, ["HTTP 504", "HTML"]),
    "a body shorter than announced": (
        [http(200, b'{"id": "t-1"}', content_length=100), Then.CLOSE],
        XpanderConnectionError,
        ["get task t-1"],
    ),
    "a chunked body that breaks off": (
        [head(200, {"Transfer-Encoding": "chunked"}), chunk(b'{"id": "t-1"}'), Then.CLOSE],
        XpanderConnectionError,
        ["get task t-1"],
    ),
    "a chunk of nonsense": (
        [head(200, {"Transfer-Encoding": "chunked"}), b"zz\r\nabc\r\n", Then.CLOSE],
        XpanderConnectionError,
        ["get task t-1"],
    ),
    "an encoding that is none": (
        http(200, b'{"id": "t-1"}', {"Content-Encoding": "gzip"}),
        XpanderConnectionError,
        ["get task t-1"],
    ),
    "closed before the answer": (Then.CLOSE, XpanderConnectionError, ["connection broke"]),
    "reset before the answer": (Then.RESET, XpanderConnectionError, ["connection broke"]),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n", Then.CLOSE], XpanderConnectionError, ["connection broke"]),
}


# Not told from a whole answer without a body by requests: a service error there, a connection error here.
CLOSED_IN_HEADERS = [b"HTTP/1.1 200 OK\r\nContent-Ty", Then.CLOSE]


@pytest.mark.parametrize(("answer", "expected", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_to_a_read_is_a_typed_error(
    driver: Driver, answer: Answer, expected: type[XpanderError], words: list[str]
) -> None:
    with ScriptedServer(answer) as server, pytest.raises(XpanderError) as caught:
        driver(to(server), GET)
    assert type(caught.value) is expected
    for word in words:
        assert word in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [*(broken[0] for broken in BROKEN.values()), CLOSED_IN_HEADERS],
    ids=[*BROKEN, "closed in the headers"],
)
def test_a_read_is_repeated_after_a_broken_answer(driver: Driver, answer: Answer) -> None:
    with ScriptedServer(answer, TASK) as server:
        assert driver(to(server), GET, policy=EAGER).id == "t-1"
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [*(broken[0] for broken in BROKEN.values()), CLOSED_IN_HEADERS],
    ids=[*BROKEN, "closed in the headers"],
)
def test_an_invoke_with_a_broken_answer_is_sent_once(driver: Driver, answer: Answer) -> None:
    with ScriptedServer(answer, TASK) as server:
        with pytest.raises(XpanderAmbiguousSubmitError) as caught:
            driver(to(server), INVOKE, policy=EAGER)
        assert [request.method for request in server.requests] == ["POST"]
    assert (caught.value.target_id, caught.value.title) == ("a-1", "nightly")


@pytest.mark.parametrize(
    "answer",
    [Then.STALL, [head(200, {"Content-Length": "20"}), b'{"id": ', Then.STALL]],
    ids=["before the answer", "in the body"],
)
def test_silence_ends_with_the_timeout(driver: Driver, answer: Answer) -> None:
    silence = r"(?i)within 0\.2 s|timed out"
    with ScriptedServer(answer) as server, pytest.raises(XpanderConnectionError, match=silence):
        driver(to(server, timeout=0.2), GET)
    with ScriptedServer(answer) as server:
        with pytest.raises(XpanderAmbiguousSubmitError, match=silence):
            driver(to(server, timeout=0.2), INVOKE, policy=EAGER)
        assert len(server.requests) == 1


def drip(data: bytes, gaps: int = 200) -> list[Step]:
    """Give the bytes one by one, ten a second: never silent, never at an end."""
    return [step for byte in data[:gaps] for step in (bytes([byte]), Pause(0.1))]


DRIPPING = {
    "head": drip(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 200),
    "body": [head(200, {"Content-Length": "200"}), *drip(b'{"id": "' + b"x" * 200)],
    "chunks": [head(200, {"Transfer-Encoding": "chunked"}), *drip(chunk(b" ") * 60)],
    "until closed": [head(200, {"Connection": "close"}), *drip(b" " * 200)],
    "error": [head(500, {"Content-Length": "200"}), *drip(b" " * 200)],
}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("answer", DRIPPING.values(), ids=DRIPPING.keys())
def test_a_drip_of_bytes_does_not_outlast_the_timeout(
    driver: Driver, answer: Answer, secure: bool, certificates: Certificates
) -> None:
    tls = certificates.server_context() if secure else None
    with ScriptedServer(answer, tls=tls) as server:
        settings = to(server, timeout=0.3, verify=str(certificates.ca))
        with pytest.raises(XpanderConnectionError, match=r"within 0\.3 s"):
            driver(settings, GET)
        assert server.hung_up.wait(5), "long before the last byte"


def test_a_slow_answer_within_the_timeout_is_read_on_a_kept_connection(driver: Driver) -> None:
    body = b'{"id": "t-1"}'
    slow = [head(200, {"Content-Length": str(len(body))}), body[:5], Pause(0.3), body[5:]]
    with ScriptedServer(slow) as server:
        assert driver(to(server, timeout=5.0), GET, GET).id == "t-1"
        assert server.connections == 1


class ServerStartsMeanwhile(RetryPolicy):
    """Starts the server between the first and the second attempt."""

    server: ScriptedServer

    def delay(self, *args: Any, **kwargs: Any) -> float | None:
        self.server.__enter__()
        return 0.0


def test_an_invoke_that_could_not_connect_is_tried_again(driver: Driver) -> None:
    server = ScriptedServer(TASK, port=unused_port())
    policy = ServerStartsMeanwhile(attempts=2)
    object.__setattr__(policy, "server", server)
    try:
        assert driver(to(server), INVOKE, policy=policy).id == "t-1"
        assert len(server.requests) == 1
    finally:
        server.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        (f"http://127.0.0.1:{unused_port()}", "cannot reach http://127.0.0.1"),
        ("http://no-such-host.invalid", "cannot reach http://no-such-host.invalid"),
    ],
    ids=["refused", "unknown name"],
)
@pytest.mark.parametrize("call", [GET, INVOKE], ids=["get", "invoke"])
def test_a_service_that_cannot_be_reached_is_said_to_be_so(
    driver: Driver, base_url: str, words: str, call: Any
) -> None:
    with pytest.raises(XpanderConnectionError, match=words):
        driver(Settings(base_url=base_url, api_key=KEY), call)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", [GET, INVOKE, routes.stop_task("t-1")], ids=["get", "invoke", "stop"])
def test_the_key_does_not_follow_a_redirect(driver: Driver, status: int, call: Any) -> None:
    with ScriptedServer(TASK) as elsewhere:
        with ScriptedServer(http(status, b"", {"Location": f"{elsewhere.url}/v1/tasks/t-1"})) as server:
            with pytest.raises(XpanderServiceError, match="not followed"):
                driver(to(server), call, policy=EAGER)
            assert len(server.requests) == 1
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "location", [b"http://[", b"http://\xff/\xfe", b"ftp://x:port/", b"//", b"", b"http://a b"]
)
def test_a_redirect_to_nowhere_is_an_answer_like_another(driver: Driver, location: bytes) -> None:
    answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    with ScriptedServer(answer) as server:
        with pytest.raises((XpanderServiceError, XpanderConnectionError, XpanderAmbiguousSubmitError)):
            driver(to(server), INVOKE, policy=EAGER)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0"},
        {"Retry-After": "Fri, 01 May 2020 12:00:00 GMT"},
        {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1588334400"},
        {},
    ],
    ids=["seconds", "date", "X-RateLimit", "nothing said"],
)
@pytest.mark.parametrize("call", [GET, INVOKE], ids=["get", "invoke"])
def test_a_throttled_call_is_repeated(driver: Driver, headers: dict[str, str], call: Any) -> None:
    with ScriptedServer(http(429, {"detail": "Too many requests"}, headers), TASK) as server:
        assert driver(to(server), call, policy=EAGER).id == "t-1"
        assert len(server.requests) == 2


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    "make_headers",
    [
        lambda: {"Retry-After": "3600"},
        lambda: {"Retry-After": in_an_hour().strftime("%a, %d %b %Y %H:%M:%S GMT")},
        lambda: {
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": f"{in_an_hour().timestamp():.0f}",
        },
    ],
    ids=["seconds", "date", "X-RateLimit"],
)
def test_a_long_wait_is_raised_and_not_slept(driver: Driver, make_headers: Any) -> None:
    with ScriptedServer(http(429, {"detail": "Too many requests"}, make_headers()), TASK) as server:
        with pytest.raises(XpanderRateLimitError) as caught:
            driver(to(server), GET, policy=EAGER)
        assert len(server.requests) == 1
    assert caught.value.retry_after == pytest.approx(3600, abs=60)


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "Usage limit reached"},
        {"detail": {"detail": {"detail": "Your plan's credits are used up"}}},
        {"detail": "429: {'detail': {'detail': 'Billing limit reached'}}"},
        {"message": "Monthly budget exceeded"},
        {"error": "Payment required"},
    ],
    ids=["string", "nested", "python repr", "message", "error"],
)
def test_a_refusal_about_money_is_not_repeated(driver: Driver, body: Any) -> None:
    with ScriptedServer(http(429, body), TASK) as server:
        with pytest.raises(XpanderBillingError):
            driver(to(server), INVOKE, policy=EAGER)
        assert len(server.requests) == 1


def test_the_words_of_a_validation_error_are_passed_on(driver: Driver) -> None:
    detail = [{"loc": ["body", "input", "user"], "msg": "Field required", "type": "missing"}]
    with ScriptedServer(http(422, {"detail": detail})) as server:
        with pytest.raises(XpanderError, match="input.user: Field required.*user_email"):
            driver(to(server), INVOKE, policy=EAGER)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("changes", "sent", "not_sent"),
    [
        ({}, {"x-api-key": KEY}, ["authorization", "x-organization-id"]),
        ({"auth_mode": "bearer"}, {"authorization": f"Bearer {KEY}"}, ["x-api-key"]),
        ({"organization_id": "o-1"}, {"x-organization-id": "o-1", "x-api-key": KEY}, ["authorization"]),
        ({"user_agent": "mine/1"}, {"user-agent": "mine/1"}, []),
    ],
    ids=["key", "bearer", "organization", "user agent"],
)
def test_the_headers_on_the_wire(
    driver: Driver, changes: dict[str, Any], sent: dict[str, str], not_sent: list[str]
) -> None:
    with ScriptedServer(TASK) as server:
        driver(to(server, **changes), GET)
    (request,) = server.requests
    assert sent.items() <= request.headers.items()
    assert not set(not_sent) & set(request.headers)
    assert request.raw.count(KEY.encode()) == 1
    assert request.headers["accept"] == "application/json"


def test_an_invoke_on_the_wire(driver: Driver) -> None:
    call = routes.invoke_async(Target.workflow("w/1", "draft"), InvokeRequest(input="größer"))
    with ScriptedServer(TASK) as server:
        driver(to(server), call)
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/v1/workflows/w%2F1/invoke/async?version=draft")
    assert request.headers["content-type"] == "application/json"
    assert request.json() == {"input": {"text": "größer"}}


def test_a_read_has_no_body(driver: Driver) -> None:
    with ScriptedServer(TASK) as server:
        driver(to(server), GET)
    assert server.requests[0].body == b""
    assert "content-type" not in server.requests[0].headers


def test_a_path_before_the_api_is_kept(driver: Driver) -> None:
    with ScriptedServer(TASK) as server:
        driver(to(server, base_url=f"{server.url}/gateway"), GET)
    assert server.requests[0].target == "/gateway/v1/tasks/t-1"


def test_calls_share_one_connection(driver: Driver) -> None:
    with ScriptedServer(TASK, http(503, "<html>"), TASK) as server:
        driver(to(server), GET, GET, policy=EAGER)
        assert len(server.requests) == 3
        assert server.connections == 1


@pytest.mark.parametrize("place", ["NETRC", "HOME"])
def test_netrc_is_not_used(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password s3cret\ndefault login x password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv(place, str(netrc if place == "NETRC" else tmp_path))
    with ScriptedServer(TASK) as server:
        driver(to(server), GET)
    assert "authorization" not in server.requests[0].headers
    assert server.requests[0].headers["x-api-key"] == KEY


def test_the_proxy_of_the_connection_is_used(driver: Driver) -> None:
    with ScriptedServer(TASK) as proxy:
        settings = Settings(base_url="http://xpander.invalid:8080", api_key=KEY, proxy=proxy.url)
        assert driver(settings, GET).id == "t-1"
    assert proxy.requests[0].target == "http://xpander.invalid:8080/v1/tasks/t-1"


def test_the_credentials_of_the_proxy_are_for_the_proxy(driver: Driver) -> None:
    with ScriptedServer(TASK) as proxy:
        url = proxy.url.replace("//", "//user:pass@")
        driver(Settings(base_url="http://xpander.invalid", api_key=KEY, proxy=url), GET)
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    assert "authorization" not in proxy.requests[0].headers


def test_the_proxy_of_the_environment_is_used(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(TASK) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        driver(Settings(base_url="http://xpander.invalid", api_key=KEY), GET)
    assert proxy.requests[0].target == "http://xpander.invalid/v1/tasks/t-1"


def test_the_proxy_of_the_connection_wins_over_the_environment(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(TASK) as proxy, ScriptedServer(TASK) as other:
        monkeypatch.setenv("http_proxy", other.url)
        driver(Settings(base_url="http://xpander.invalid", api_key=KEY, proxy=proxy.url), GET)
        assert (len(proxy.requests), len(other.requests)) == (1, 0)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_invoke_was_not_sent_if_the_proxy_is_down(driver: Driver, scheme: str) -> None:
    proxy = f"http://user:s3cret@127.0.0.1:{unused_port()}"
    with pytest.raises(XpanderConnectionError, match="cannot reach") as caught:
        driver(Settings(base_url=f"{scheme}://xpander.invalid", api_key=KEY, proxy=proxy), INVOKE)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [407, 502])
def test_an_invoke_was_not_sent_if_the_proxy_refuses_the_tunnel(driver: Driver, status: int) -> None:
    with ScriptedServer(http(status, b"no")) as proxy, pytest.raises(XpanderConnectionError, match="cannot"):
        driver(Settings(base_url="https://xpander.invalid", api_key=KEY, proxy=proxy.url), INVOKE)
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert KEY.encode() not in proxy.requests[0].raw


def test_an_invoke_that_a_proxy_did_not_get_answered_is_unclear(driver: Driver) -> None:
    with ScriptedServer(http(502, "<html>"), TASK) as proxy:
        with pytest.raises(XpanderAmbiguousSubmitError):
            driver(
                Settings(base_url="http://xpander.invalid", api_key=KEY, proxy=proxy.url),
                INVOKE,
                policy=EAGER,
            )
        assert len(proxy.requests) == 1


def test_a_server_of_an_own_authority_is_trusted_by_its_path(
    driver: Driver, certificates: Certificates
) -> None:
    with ScriptedServer(TASK, tls=certificates.server_context()) as server:
        assert driver(to(server, verify=str(certificates.ca)), GET).id == "t-1"


@pytest.mark.parametrize("call", [GET, INVOKE], ids=["get", "invoke"])
def test_a_server_of_an_unknown_authority_gets_nothing(
    driver: Driver, certificates: Certificates, call: Any
) -> None:
    failed = pytest.raises(XpanderConnectionError, match="(?i)certificate.verify.failed")
    with ScriptedServer(TASK, tls=certificates.server_context()) as server, failed:
        driver(to(server), call)
    assert not server.requests


@pytest.mark.parametrize("call", [GET, INVOKE], ids=["get", "invoke"])
def test_the_certificate_has_to_be_for_the_host(
    driver: Driver, certificates: Certificates, call: Any
) -> None:
    with ScriptedServer(TASK, tls=certificates.server_context()) as server:
        url = f"https://localhost:{server.port}"
        with pytest.raises(XpanderConnectionError, match="(?i)certificate"):
            driver(to(server, base_url=url, verify=str(certificates.ca)), call)
    assert not server.requests


@pytest.mark.parametrize("call", [GET, INVOKE], ids=["get", "invoke"])
def test_nothing_was_sent_to_a_server_that_does_not_speak_tls(
    driver: Driver, service: EmulatorServer, call: Any
) -> None:
    settings = Settings(base_url=service.url.replace("http:", "https:"), api_key=KEY)
    with pytest.raises(XpanderConnectionError, match="does not speak TLS; .* write http://127"):
        driver(settings, call)


def test_nothing_was_sent_in_a_tls_handshake_that_hangs(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (client, aclient):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(base_url=f"https://127.0.0.1:{silent.getsockname()[1]}", api_key=KEY)
        with pytest.raises(XpanderConnectionError, match="cannot reach https://"):
            driver(settings, INVOKE)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_the_check_of_certificates_can_be_switched_off(
    driver: Driver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.server))  # must not switch it on again
    with ScriptedServer(TASK, tls=certificates.server_context()) as server:
        assert driver(to(server, verify=False), GET).id == "t-1"


def test_an_authority_of_the_environment_is_trusted(
    driver: Driver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca))
    with ScriptedServer(TASK, tls=certificates.server_context()) as server:
        assert driver(to(server), GET).id == "t-1"


TORN_TLS: dict[str, Answer] = {
    "noise in the session": [Beneath(b"\x17\x03\x03\x00\x20" + b"noise" * 8), Then.STALL],
    "plain text in the session": [Beneath(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Then.STALL],
    "cut without a farewell": Then.CLOSE,
    "reset": Then.RESET,
}


@pytest.mark.parametrize("answer", TORN_TLS.values(), ids=TORN_TLS.keys())
def test_an_invoke_over_a_torn_tls_session_is_sent_once(
    driver: Driver, certificates: Certificates, answer: Answer
) -> None:
    with ScriptedServer(answer, TASK, tls=certificates.server_context()) as server:
        with pytest.raises(XpanderAmbiguousSubmitError):
            driver(to(server, verify=str(certificates.ca)), INVOKE, policy=EAGER)
        assert len(server.requests) == 1


@pytest.mark.parametrize("answer", TORN_TLS.values(), ids=TORN_TLS.keys())
def test_a_read_survives_a_torn_tls_session(
    driver: Driver, certificates: Certificates, answer: Answer
) -> None:
    with ScriptedServer(answer, TASK, tls=certificates.server_context()) as server:
        assert driver(to(server, verify=str(certificates.ca)), GET, policy=EAGER).id == "t-1"


def test_refused_credentials_are_read_again(driver: Driver) -> None:
    refused = http(401, {"detail": "Invalid or missing API key"})
    with ScriptedServer(refused, TASK) as server:
        task = driver(to(server), get_task_patiently("t-1"), refresh=lambda: to(server, api_key="k-new"))
    assert task.id == "t-1"
    assert [request.headers["x-api-key"] for request in server.requests] == [KEY, "k-new"]


def test_refused_credentials_that_cannot_be_read_again_are_an_error(driver: Driver) -> None:
    with ScriptedServer(http(401, {"detail": "Invalid or missing API key"})) as server:
        with pytest.raises(XpanderAuthError, match="Invalid or missing API key"):
            driver(to(server), get_task_patiently("t-1"))
        assert len(server.requests) == 1


def test_the_waits_between_the_attempts_are_kept(driver: Driver) -> None:
    def wait() -> Steps[float]:
        before = time.monotonic()
        yield Sleep(0.05)
        return time.monotonic() - before

    assert driver(Settings(), wait()) >= 0.05


def test_the_service_answers_every_route(driver: Driver, service: EmulatorServer, settings: Settings) -> None:
    started = driver(settings, routes.invoke_async(Target.agent("echo"), InvokeRequest(input="hello")))
    finished = driver(settings, routes.get_task(started.id))
    assert (finished.status, finished.result) == ("completed", "hello")
    assert [task.id for task in driver(settings, routes.list_tasks(agent_id="echo")).items] == [started.id]
    assert driver(settings, routes.list_tasks(status="failed")).items == []
    assert driver(settings, routes.stop_task(started.id)).status == "completed"
    assert [m.role for m in driver(settings, routes.get_thread(started.id))] == ["user", "assistant"]
    assert "echo" in [agent.id for agent in driver(settings, routes.list_agents()).items]
    assert driver(settings, routes.get_agent("echo")).id == "echo"
    workflow = driver(settings, routes.list_workflows()).items[0]
    assert workflow.type == "orchestration"
    assert driver(settings, routes.get_workflow(workflow.id)).id == workflow.id
    by_workflow = driver(settings, routes.invoke_sync(Target.workflow(workflow.id), InvokeRequest(input="x")))
    assert by_workflow.agent_id == workflow.id
    with pytest.raises(XpanderNotFoundError):
        driver(settings, routes.get_task("no-such-task"))
