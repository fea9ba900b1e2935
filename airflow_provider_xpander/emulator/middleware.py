"""Layers between the socket and the routes: a record of every call, faults, and limits of requests."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_xpander.emulator.calls import Call
from airflow_provider_xpander.emulator.connections import Connections
from airflow_provider_xpander.emulator.fault import Fault
from airflow_provider_xpander.emulator.state import Emulator
from airflow_provider_xpander.emulator.waiting import wait

log = logging.getLogger("airflow_provider_xpander.emulator")

# The emulator's own routes: never recorded and never hit by a fault, as little as its first page.
CONTROL_PATH = "/_emulator"


def is_own(path: str) -> bool:
    """
    Whether a path is the emulator's own and not the service's.

    :param path: path of a request.
    """
    return path == "/" or path.startswith(CONTROL_PATH)


class RecordCalls:
    """
    Record each request and log a short line about it.

    The call is at ``request.state.call``, for routes that know more about it.

    :param app: what is called next.
    :param emulator: has the records and the faults.
    """

    def __init__(self, app: ASGIApp, emulator: Emulator) -> None:
        self.app = app
        self.emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its body is read first, because a fault may leave it unread."""
        if scope["type"] != "http" or is_own(scope["path"]):
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        raw = await _read_body(receive)
        call = Call(
            method=scope["method"],
            path=scope["path"],
            query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            at=self.emulator.now(),
            body=_parsed(raw),
            size=len(raw),
        )
        self.emulator.record(call)
        scope.setdefault("state", {})["call"] = call

        async def record(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)

        try:
            await self.app(scope, _replay(raw, receive), record)
        finally:
            log.info(
                "%s %s -> %s, %.0f ms%s",
                call.method,
                quote(call.path),
                call.status or "no answer",
                (time.monotonic() - started) * 1000,
                " (fault)" if call.faulted else "",
            )


class InjectFaults:
    """
    Answer wrongly where a fault is due.

    :param app: what is called next.
    :param emulator: has the records and the faults.
    :param connections: the open connections of the server.
    """

    def __init__(self, app: ASGIApp, emulator: Emulator, connections: Connections) -> None:
        self.app = app
        self.emulator = emulator
        self.connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or do to it what a fault says."""
        fault = None
        if scope["type"] == "http" and not is_own(scope["path"]):
            fault = self.emulator.take_fault(scope["method"], scope["path"])
        if fault is None:
            await self.app(scope, receive, send)
            return
        scope["state"]["call"].faulted = True
        if not fault.act_first:
            await wait(self.emulator, fault.delay_seconds)
        plain_delay = _needs_real_answer(fault) and not (fault.act_first or fault.drop or fault.truncate)
        if plain_delay:
            await self.app(scope, receive, send)
            return
        real: list[Message] = []
        if fault.act_first or _needs_real_answer(fault):
            await self.app(scope, receive, _keep(real))
        if fault.act_first:
            await wait(self.emulator, fault.delay_seconds)
        await self._answer(fault, real, scope, send)

    async def _answer(self, fault: Fault, real: list[Message], scope: Scope, send: Send) -> None:
        if fault.drop == "before":
            await self.connections.drop(scope["client"])
            return
        if fault.status is not None:
            body, headers = fault.answer()
            await _respond(send, fault.status, headers, body)
            return
        start, body = real[0], b"".join(message.get("body", b"") for message in real[1:])
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        if fault.drop == "during":
            # Half of the body under the length of all of it: the client knows that something is missing.
            await _respond(send, start["status"], headers, body[: len(body) // 2], length=len(body))
            await self.connections.drop(scope["client"])
            return
        await _respond(send, start["status"], headers, body[: len(body) // 2] if fault.truncate else body)


class KeepLimits:
    """
    Refuse what is above the limits of requests, and tell in headers how much is left.

    :param app: what is called next.
    :param emulator: has the limits.
    """

    def __init__(self, app: ASGIApp, emulator: Emulator) -> None:
        self.app = app
        self.emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        standing = None
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            standing = self.emulator.limits.take(self.emulator.settings, self.emulator.now())
        if standing is None:
            await self.app(scope, receive, send)
            return
        said = standing.headers()
        if standing.wait is not None:
            body = json.dumps({"detail": "Too many requests"}).encode()
            await _respond(send, 429, {"content-type": "application/json", **said}, body)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_raw(said)]
            await send(message)

        await self.app(scope, receive, tell)


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _needs_real_answer(fault: Fault) -> bool:
    return fault.drop == "during" or (fault.drop is None and fault.status is None)


def _keep(messages: list[Message]) -> Send:
    async def send(message: Message) -> None:
        messages.append(message)

    return send


async def _respond(
    send: Send, status: int, headers: Mapping[str, str], body: bytes, length: int | None = None
) -> None:
    fields = {**headers, "content-length": str(len(body) if length is None else length)}
    await send({"type": "http.response.start", "status": status, "headers": _raw(fields)})
    await send({"type": "http.response.body", "body": body, "more_body": length is not None})


async def _read_body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(raw: bytes, receive: Receive) -> Receive:
    waiting: deque[Message] = deque([{"type": "http.request", "body": raw, "more_body": False}])

    async def replayed() -> Message:
        return waiting.popleft() if waiting else await receive()

    return replayed


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
