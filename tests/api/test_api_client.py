"""Synchronous driver alone: streams; the part that both drivers share is in test_api_drivers."""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import closing
from typing import Any

import pytest
from scripted_server import Answer, Gate, ScriptedServer, Step, Then, chunk, head, http

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderAuthError,
    XpanderConnectionError,
    XpanderError,
    XpanderServiceError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.governor import Governor, governor_of
from airflow_provider_xpander.api.models import InvokeRequest, StreamEvent, Target
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.emulator import EmulatorServer

INVOKE = routes.invoke_stream(Target.agent("a-1"), InvokeRequest(input="hi", title="nightly"))
TEXT = {"Content-Type": "text/event-stream"}
CHUNKED = head(200, {**TEXT, "Transfer-Encoding": "chunked"})
UNTIL_CLOSED = head(200, {**TEXT, "Connection": "close"})
THREE = ["task_created", "chunk", "task_finished"]


def frame(type_: str, data: Any = None, end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps({"type": type_, "task_id": "t-1", "data": data}).encode() + end


def client_of(server: ScriptedServer, **changes: Any) -> Client:
    settings = Settings(**{"base_url": server.url, "api_key": "k-1", "timeout": 5.0, **changes})
    return Client(settings, policy=RetryPolicy(attempts=3, base=0.0))


def stream(*answers: Answer, **changes: Any) -> list[StreamEvent]:
    with ScriptedServer(*answers) as server, client_of(server, **changes) as client:
        events = list(client.stream(INVOKE))
        assert len(server.requests) == 1
        return events


def types(events: list[StreamEvent]) -> list[str]:
    return [event.type for event in events]


def framings(body: bytes) -> dict[str, list[Step]]:
    return {
        "chunked": [CHUNKED, chunk(body), chunk(b"")],
        "until closed": [UNTIL_CLOSED, body, Then.CLOSE],
        "content length": [head(200, {**TEXT, "Content-Length": str(len(body))}), body],
    }


@pytest.mark.parametrize("framing", ["chunked", "until closed", "content length"])
def test_the_events_of_every_framing(framing: str) -> None:
    assert types(stream(framings(b"".join(map(frame, THREE)))[framing])) == THREE


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"], ids=["LF", "CRLF", "CR"])
def test_events_that_are_split_at_every_byte(end: bytes) -> None:
    body = b"".join(frame(type_, "größer 🤖", end) for type_ in THREE)
    pieces = [chunk(body[i : i + 1]) for i in range(len(body))]
    events = stream([CHUNKED, *pieces, chunk(b"")])
    assert [(event.type, event.data) for event in events] == [(type_, "größer 🤖") for type_ in THREE]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"], ids=["LF", "CRLF"])
def test_events_in_one_piece(end: bytes) -> None:
    assert types(stream([CHUNKED, chunk(b"".join(frame(t, None, end) for t in THREE)), chunk(b"")])) == THREE


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xef\xbb\xbf" + frame("chunk"), ["chunk"]),
        (b": ping\n\n" + frame("chunk") + b":\n\n: ping\n" + frame("think"), ["chunk", "think"]),
        (b"id: 1\nretry: 3000\n" + frame("chunk"), ["chunk"]),
        (b"retry: 3000\n\nid: 7\n\n" + frame("chunk"), ["chunk"]),
        (b'event: chunk\ndata: {"data": "x"}\n\n', ["chunk"]),
        (b'data: {"type":\ndata:  "chunk"}\n\n', ["chunk"]),
        (b'data:{"type": "chunk"}\n\n', ["chunk"]),
        (b"data:\n\ndata\n\n" + frame("chunk"), ["chunk"]),
        (frame("chunk") + b"data: [DONE]\n\n", ["chunk"]),
        (frame("chunk") + b"data: not json\n\ndata: [1]\n\n" + frame("think"), ["chunk", "think"]),
        (b"unknown: field\n" + frame("chunk"), ["chunk"]),
        (b"\n\n\r\n" + frame("chunk"), ["chunk"]),
        (frame("chunk").rstrip(b"\n"), ["chunk"]),
        (frame("chunk") + b'data: {"type": "th', ["chunk"]),
        (frame("chunk", "x" * 1_000_000), ["chunk"]),
        (frame("of_the_future") + b'data: {"id": "t-1", "status": "completed"}\n\n',
         ["of_the_future", "task_finished"]),
    ],
    ids=[
        "byte order mark", "comments", "id and retry lines", "events without data", "named event",
        "data over two lines", "no blank after the colon", "empty data", "[DONE]", "not JSON",
        "unknown field", "blank lines first", "no blank line at the end", "cut-off last event", "a megabyte",
        "unknown type and bare task",
    ],
)  # fmt: skip
@pytest.mark.parametrize("framing", ["chunked", "until closed"])
def test_what_a_stream_may_hold(framing: str, body: bytes, expected: list[str]) -> None:
    assert types(stream(framings(body)[framing])) == expected


FOREIGN = frame("task_finished").replace(b"t-1", b"t-2")
BARE = b'data: {"id": "t-1", "status": "completed"}\n\n'
NAMELESS = b'data: {"type": "task_finished", "data": "done"}\n\n'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (frame("task_created") + frame("task_finished"), ["task_created", "task_finished"]),
        (frame("task_created") + BARE, ["task_created", "task_finished"]),
        (frame("task_created") + NAMELESS, ["task_created", "task_finished"]),
        (frame("task_created") + b"data: [DONE]\n\n", ["task_created"]),
        (
            frame("task_created") + FOREIGN + frame("chunk") + frame("task_finished"),
            ["task_created", "task_finished", "chunk", "task_finished"],
        ),
        (
            b'data: {"type": "connected", "task_id": "session-9"}\n\n'
            + frame("task_created")
            + frame("task_finished"),
            ["connected", "task_created", "task_finished"],
        ),
        (frame("task_finished"), ["task_finished"]),
    ],
    ids=["own", "bare task", "without an id", "[DONE]", "a sub-agent's", "after the handshake", "at once"],
)
def test_a_stream_ends_with_its_run_though_the_server_keeps_it_open(body: bytes, expected: list[str]) -> None:
    with ScriptedServer([CHUNKED, chunk(body), Then.STALL]) as server, client_of(server) as client:
        assert types(list(client.stream(INVOKE))) == expected
        assert server.hung_up.wait(5)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ({"error": "Agent is not deployed"}, "Agent is not deployed"),
        ({"detail": "Out of credit"}, "Out of credit"),
        ({"message": "boom"}, "boom"),
        ({"detail": [{"loc": ["body", "input"], "msg": "Field required"}]}, "input: Field required"),
    ],
)
@pytest.mark.parametrize("end", [Then.CLOSE, Then.RESET, Then.STALL], ids=["closed", "reset", "silence"])
def test_an_error_without_a_type_keeps_its_reason(frames: Any, reason: str, end: Then) -> None:
    body = b"data: " + json.dumps(frames).encode() + b"\n\n"
    (event,) = stream([UNTIL_CLOSED, body, end])
    assert (event.type, event.task_id, event.data) == ("error", None, reason)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"detail": "Agent is not deployed"}', "it began with: Agent is not deployed"),
        (b"<html><title>Sign in</title></html>", "it began with: an HTML page titled 'Sign in'"),
        (b"upstream says no", "it began with: upstream says no"),
    ],
)
def test_what_is_no_stream_keeps_its_reason(body: bytes, words: str) -> None:
    with pytest.raises(XpanderAmbiguousSubmitError, match=words):
        stream(http(200, body))


@pytest.mark.parametrize("flush", [True, False], ids=["event by event", "at the end"])
def test_a_compressed_stream(flush: bool) -> None:
    deflater = zlib.compressobj(wbits=31)
    pieces = []
    for type_ in THREE:
        pieces.append(deflater.compress(frame(type_)) + (deflater.flush(zlib.Z_SYNC_FLUSH) if flush else b""))
    pieces.append(deflater.flush())
    coded = head(200, {**TEXT, "Transfer-Encoding": "chunked", "Content-Encoding": "gzip"})
    halves = [half for piece in pieces for half in (piece[:3], piece[3:]) if half]
    assert types(stream([coded, *map(chunk, halves), chunk(b"")])) == THREE
    assert gzip.decompress(b"".join(pieces)) == b"".join(map(frame, THREE))


@pytest.mark.parametrize("framing", ["chunked", "until closed"])
def test_an_event_arrives_before_the_next_is_sent(framing: str) -> None:
    gate = Gate()
    chunked = framing == "chunked"
    first, second = (chunk(frame(t)) if chunked else frame(t) for t in ("chunk", "task_finished"))
    end: Step = chunk(b"") if chunked else Then.CLOSE
    answer: list[Step] = [CHUNKED if chunked else UNTIL_CLOSED, first, gate, second, end]
    with ScriptedServer(answer) as server, client_of(server) as client:
        events = client.stream(INVOKE)
        assert next(events).type == "chunk"
        gate.open()
        assert types(list(events)) == ["task_finished"]


def test_the_request_for_a_stream() -> None:
    with ScriptedServer([UNTIL_CLOSED, frame("chunk"), Then.CLOSE]) as server, client_of(server) as client:
        list(client.stream(INVOKE))
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/v1/agents/a-1/invoke/stream")
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["cache-control"] == "no-cache"
    assert request.headers["x-api-key"] == "k-1"
    assert request.json() == {"input": {"text": "hi"}, "title": "nightly"}


@pytest.mark.parametrize(
    "drop",
    [
        [CHUNKED, chunk(frame("chunk")), Then.CLOSE],
        [CHUNKED, chunk(frame("chunk")), Then.RESET],
        [CHUNKED, chunk(frame("chunk")), b"zz\r\n", Then.CLOSE],
        [CHUNKED, chunk(frame("chunk")), b"40\r\ndata: ", Then.CLOSE],
        [head(200, {**TEXT, "Content-Length": "9999"}), frame("chunk"), Then.CLOSE],
        [CHUNKED, chunk(frame("chunk")), chunk(b"data: \xff\n\n"), Then.STALL],
    ],
    ids=["closed", "reset", "nonsense", "closed in a piece", "shorter than announced", "not UTF-8"],
)
def test_a_stream_that_breaks_keeps_its_events_and_says_that_the_run_goes_on(drop: list[Step]) -> None:
    seen: list[StreamEvent] = []
    with ScriptedServer(drop) as server, client_of(server) as client:
        events = (seen.append(event) for event in client.stream(INVOKE))
        with pytest.raises(XpanderConnectionError, match="stream broke.*the run goes on"):
            list(events)
        assert len(server.requests) == 1
    assert types(seen) == ["chunk"]


def test_silence_in_a_stream_ends_with_the_timeout() -> None:
    with ScriptedServer([CHUNKED, chunk(frame("chunk")), Then.STALL]) as server:
        with client_of(server, timeout=0.2) as client:
            events = client.stream(INVOKE)
            assert next(events).type == "chunk"
            with pytest.raises(XpanderConnectionError, match="(?i)timed out.*the run goes on"):
                next(events)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "drop",
    [
        Then.CLOSE,
        Then.RESET,
        Then.STALL,
        [CHUNKED, Then.CLOSE],
        [CHUNKED, chunk(b"")],
        [CHUNKED, Then.STALL],
        [CHUNKED, chunk(b": ping\n\n"), chunk(b"")],
        [CHUNKED, chunk(b"data: [DONE]\n\n"), chunk(b"")],
        [UNTIL_CLOSED, Then.CLOSE],
        http(200, "<html><title>Sign in</title></html>"),
        http(200, b""),
        http(502, "<html><title>502 Bad Gateway</title></html>"),
        http(504, "<html></html>"),
        http(500, {"error": "boom"}),
        [http(500, b"{}", content_length=100), Then.CLOSE],
    ],
    ids=[
        "closed", "reset", "silent", "closed after the head", "no event", "silent after the head",
        "only comments", "only [DONE]", "until closed without an event", "login page", "empty body", "502",
        "504", "500", "500 that breaks off",
    ],
)  # fmt: skip
def test_a_stream_without_an_event_is_an_unclear_submit_and_sent_once(drop: Answer) -> None:
    with ScriptedServer(drop, [UNTIL_CLOSED, frame("chunk"), Then.CLOSE]) as server:
        client = client_of(server, timeout=0.3)
        with client, pytest.raises(XpanderAmbiguousSubmitError) as caught:
            list(client.stream(INVOKE))
        assert len(server.requests) == 1
    assert (caught.value.target_id, caught.value.title) == ("a-1", "nightly")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http(401, {"detail": "Invalid or missing API key"}), XpanderAuthError),
        (http(422, {"detail": [{"loc": ["body", "input"], "msg": "bad"}]}), XpanderValidationError),
        (http(302, b"", {"Location": "http://elsewhere/"}), XpanderServiceError),
        (http(304, b""), XpanderServiceError),
    ],
    ids=["401", "422", "302", "304"],
)
def test_a_refused_stream_is_the_same_error_as_elsewhere(answer: bytes, expected: type[XpanderError]) -> None:
    with ScriptedServer(answer) as server, client_of(server) as client:
        with pytest.raises(XpanderError) as caught:
            list(client.stream(INVOKE))
        assert len(server.requests) == 1
    assert type(caught.value) is expected


def test_a_throttled_stream_is_started_again() -> None:
    throttled = http(429, {"detail": "slow"}, {"Retry-After": "0"})
    with ScriptedServer(throttled, [UNTIL_CLOSED, frame("chunk"), Then.CLOSE]) as server:
        with client_of(server) as client:
            assert types(list(client.stream(INVOKE))) == ["chunk"]
        assert len(server.requests) == 2


def test_who_leaves_a_stream_early_hangs_up() -> None:
    with ScriptedServer([CHUNKED, chunk(frame("chunk")), Then.STALL]) as server, client_of(server) as client:
        with closing(client.stream(INVOKE)) as events:
            assert next(events).type == "chunk"
        assert server.hung_up.wait(5)


def test_a_stream_that_cannot_be_read_is_hung_up() -> None:
    garbled = [CHUNKED, chunk(frame("chunk")), chunk(b"data: \xff\n\n"), Then.STALL]
    with ScriptedServer(garbled) as server, client_of(server) as client:
        with pytest.raises(XpanderConnectionError) as caught:
            list(client.stream(INVOKE))
        assert server.hung_up.wait(5)
    assert caught.value.__traceback__ is not None  # kept until here, and with it all that was open


def test_nothing_is_sent_before_the_first_event_is_asked_for() -> None:
    with ScriptedServer(Then.CLOSE) as server, client_of(server) as client:
        client.stream(INVOKE)
        assert server.connections == 0


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"stream_envelope": "event"},
        {"stream_envelope": "camel"},
        {"stream_envelope": "bare"},
        {"stream_envelope": "legacy"},
        {"stream_connected": True, "stream_comments": True, "stream_ids": True, "stream_done": True},
        {"stream_crlf": True, "stream_split": True},
        {"stream_finish": "string"},
        {"stream_finish": "trimmed"},
        {"stream_sub_agent": True},
    ],
    ids=str,
)
def test_the_streams_of_the_service(
    service: EmulatorServer, settings: Settings, switches: dict[str, Any]
) -> None:
    service.emulator.configure({"run_seconds": 0.05, **switches})
    with Client(settings) as client:
        events = list(client.stream(routes.invoke_stream(Target.agent("echo"), InvokeRequest(input="hello"))))
    (run,) = service.emulator.runs()
    finished = [event for event in events if event.type == "task_finished" and event.task_id == run.task_id]
    assert len(finished) == 1
    assert events[-1] is finished[0]


def test_a_client_can_be_used_again_after_an_error(settings: Settings) -> None:
    with Client(settings) as client:
        with pytest.raises(XpanderError):
            client.call(routes.get_task("no-such-task"))
        assert client.call(routes.list_agents()).items


def test_the_timeout_of_one_call_wins() -> None:
    with ScriptedServer(Then.STALL) as server, client_of(server) as client:
        impatient = routes.get_task("t-1")
        with pytest.raises(XpanderConnectionError, match=r"within 0\.1 s"):
            client.call(impatient, policy=RetryPolicy(attempts=1), timeout=0.1)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("present", "keys"),
    [("k-new", ["k-1", "k-new"]), ("k-1", ["k-1"]), (ValueError("gone"), ["k-1"])],
    ids=["changed", "the same", "cannot be read"],
)
def test_a_key_that_was_changed_is_used_for_whatever_was_refused(
    present: str | Exception, keys: list[str], streamed: bool
) -> None:
    """A worker may hold a connection for hours: a submit or a read fails no task because of its old key."""

    def refresh() -> Settings:
        if isinstance(present, Exception):
            raise present
        return Settings(base_url=server.url, api_key=present)

    def made(client: Client) -> Any:
        target, request = Target.agent("a"), InvokeRequest(input="x")
        if streamed:
            return client.open_stream(routes.invoke_stream(target, request))
        return client.call(routes.invoke_async(target, request))

    refused = http(401, {"detail": "Invalid or missing API key"})
    with ScriptedServer(*[refused] * len(keys)) as server:
        governor = Governor(100, 1000)
        client = Client(Settings(base_url=server.url, api_key="k-1"), refresh=refresh, governor=governor)
        with closing(client), pytest.raises(XpanderAuthError, match="Invalid or missing"):
            made(client)
        assert [request.headers["x-api-key"] for request in server.requests] == keys
    assert governor.hour.total == len(keys)


def test_after_a_change_of_the_key_its_own_budget_counts() -> None:
    """Other processes of the host count what is sent with the new key only there."""
    refused, task = http(401, {"detail": "Invalid or missing API key"}), http(200, {"id": "t-1"})
    with ScriptedServer(refused, task, task) as server:
        old, new = (Settings(base_url=server.url, api_key=key) for key in ("k-1", "k-2"))
        with Client(old, refresh=lambda: new, governor=governor_of(old)) as client:
            client.call(routes.get_task("t-1"))
            client.call(routes.get_task("t-1"))
    assert (governor_of(old).hour.total, governor_of(new).hour.total) == (2, 1)
