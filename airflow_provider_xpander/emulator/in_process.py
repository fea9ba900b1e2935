"""The emulator without a socket: an adapter of requests and a transport of httpx to the same application."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest import mock

import httpx
import requests
from requests.adapters import HTTPAdapter
from starlette.types import ASGIApp, Message
from urllib3 import HTTPResponse

from airflow_provider_xpander.emulator.app import create_app
from airflow_provider_xpander.emulator.connections import Connections
from airflow_provider_xpander.emulator.state import Emulator

URL = "http://xpander.emulator"
"""What the emulator is called where nothing else is said; a name that no server can have."""

Put = Callable[[Message], None]

_DROP: Message = {"type": "drop"}
_END: Message = {"type": "end"}


class _Application(Connections):
    """The application, for one request at a time; a connection that a fault breaks is told to its reader."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self._app: ASGIApp = create_app(emulator, self)
        self._numbers = itertools.count(1)
        self._readers: dict[Any, Put] = {}

    async def drop(self, client: Any, patience: float = 1.0) -> None:
        """
        Break a connection.

        :param client: host and port of the client.
        :param patience: of no use here.
        """
        self._readers[client](_DROP)

    async def answer(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes, put: Put
    ) -> None:
        """
        Carry out a request.

        :param method: HTTP method.
        :param url: the whole URL.
        :param headers: request headers.
        :param body: all of it.
        :param put: takes each message of the answer, then one that ends it.
        """
        client = ("in-process", next(self._numbers))
        self._readers[client] = put
        asked = httpx.URL(url)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": asked.scheme,
            "path": asked.path,
            "raw_path": asked.raw_path,
            "query_string": asked.query,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "client": client,
            "server": (asked.host, asked.port or 80),
            "root_path": "",
        }
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            # The client goes away by cancelling the task, or not at all.
            await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            put(message)

        try:
            await self._app(scope, receive, send)
        finally:
            del self._readers[client]
            put(_END)


class InProcessAdapter(HTTPAdapter):
    """
    An adapter of requests that leads to an emulator: ``session.mount(URL, InProcessAdapter(emulator))``.

    :param emulator: who answers.
    """

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self._application = _Application(emulator)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """
        Answer a request. The parameters are those of requests.

        :param request: the request.
        :param stream: whether the body is read later.
        :param timeout: seconds to wait for each piece of the answer, or a pair whose second one is that.
        :param verify: of no use.
        :param cert: of no use.
        :param proxies: of no use.
        :raises requests.ConnectionError: a fault breaks the connection.
        :raises requests.ReadTimeout: the answer does not come in time.
        """
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else bytes(body)
        patience = timeout[1] if isinstance(timeout, tuple) else timeout
        wire = _Wire(patience if isinstance(patience, int | float) else None)
        headers = [(str(name), str(value)) for name, value in request.headers.items()]
        work = self._application.answer(str(request.method), str(request.url), headers, raw, wire.put)
        threading.Thread(target=_run, args=(work,), name="xpander-emulator-request", daemon=True).start()
        answer = http.client.HTTPResponse(_Socket(wire), method=request.method)  # type: ignore[arg-type]
        try:
            answer.begin()
        except TimeoutError as error:
            raise requests.ReadTimeout("The emulator did not answer in time", request=request) from error
        except (http.client.HTTPException, OSError) as error:
            raise requests.ConnectionError(error, request=request) from error
        beneath = HTTPResponse(
            body=answer,
            headers=dict(answer.getheaders()),
            status=answer.status,
            reason=answer.reason,
            preload_content=False,
            original_response=answer,
            request_method=request.method,
        )
        return self.build_response(request, beneath)


def _run(work: Any) -> None:
    # An error in the application has been told to the client, as far as that is possible.
    with contextlib.suppress(Exception):
        asyncio.run(work)


class _Socket:
    """As much of a socket as :mod:`http.client` wants to read an answer."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def makefile(self, mode: str) -> io.BufferedReader:
        """
        Return what the answer is read from.

        :param mode: always for reading.
        """
        return io.BufferedReader(self._wire)


class _Wire(io.RawIOBase):
    """The answer in the bytes of HTTP, as they come."""

    def __init__(self, patience: float | None) -> None:
        super().__init__()
        self._patience = patience
        self._messages: queue.Queue[Message] = queue.Queue()
        self._buffer = b""
        self._chunked = self._started = self._ended = False

    def put(self, message: Message) -> None:
        """
        Take a message of the application.

        :param message: part of the answer, or its end.
        """
        self._messages.put(message)

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """
        Read some bytes; none at the end.

        :param buffer: where they go.
        :raises TimeoutError: nothing came in time.
        """
        while not self._buffer and not self._ended:
            try:
                self._buffer = self._bytes_of(self._messages.get(timeout=self._patience))
            except queue.Empty:
                raise TimeoutError("The read operation timed out") from None
        taken = self._buffer[: len(buffer)]
        self._buffer = self._buffer[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def _bytes_of(self, message: Message) -> bytes:
        if message["type"] == "http.response.start":
            self._started = True
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            if b"content-length" not in names and message["status"] not in (204, 304):
                self._chunked = True
                headers.append((b"transfer-encoding", b"chunked"))
            reason = http.client.responses.get(message["status"], "")
            lines = [f"HTTP/1.1 {message['status']} {reason}".encode(), *(b": ".join(one) for one in headers)]
            return b"\r\n".join([*lines, b"", b""])
        if message["type"] == "http.response.body":
            body = bytes(message.get("body", b""))
            return b"%x\r\n%b\r\n" % (len(body), body) if self._chunked and body else body
        self._ended = True
        return b"0\r\n\r\n" if message is _END and self._chunked else b""


class InProcessTransport(httpx.AsyncBaseTransport):
    """
    A transport of httpx that leads to an emulator: ``AsyncClient(transport=InProcessTransport(emulator))``.

    :param emulator: who answers.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._application = _Application(emulator)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Answer a request.

        :param request: the request.
        :raises httpx.RemoteProtocolError: a fault breaks the connection.
        :raises httpx.ReadTimeout: the answer does not come in time.
        """
        body = await request.aread()
        messages: asyncio.Queue[Message] = asyncio.Queue()
        work = self._application.answer(
            request.method, str(request.url), request.headers.multi_items(), body, messages.put_nowait
        )
        pieces = _Pieces(
            asyncio.create_task(work), messages, request.extensions.get("timeout", {}).get("read")
        )
        start = await pieces.next()
        if start["type"] != "http.response.start":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx.Response(start["status"], headers=start.get("headers"), stream=pieces)


class _Pieces(httpx.AsyncByteStream):
    """The body of an answer, piece by piece."""

    def __init__(
        self, work: asyncio.Task[None], messages: asyncio.Queue[Message], patience: float | None
    ) -> None:
        self._work = work
        self._messages = messages
        self._patience = patience

    async def next(self) -> Message:
        """Return the next message of the answer."""
        try:
            return await asyncio.wait_for(self._messages.get(), self._patience)
        except TimeoutError as error:
            await self.aclose()
            raise httpx.ReadTimeout("The emulator did not answer in time") from error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the pieces."""
        while (message := await self.next()) is not _END:
            if message is _DROP:
                raise httpx.RemoteProtocolError(
                    "peer closed connection without sending complete message body"
                )
            yield bytes(message.get("body", b""))

    async def aclose(self) -> None:
        """Leave: the application notices, a run goes on."""
        self._work.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._work


@contextlib.contextmanager
def in_process(emulator: Emulator, url: str = URL) -> Iterator[str]:
    """
    Let every session of requests and every ``AsyncClient`` of httpx here find an emulator at a URL.

    So a hook or a trigger is tested without a socket, with a connection whose host is this URL.

    :param emulator: who answers.
    :param url: its base URL.
    :return: the base URL.
    """
    adapter, transport = InProcessAdapter(emulator), InProcessTransport(emulator)
    real_adapter = requests.Session.get_adapter
    real_handle = httpx.AsyncHTTPTransport.handle_async_request

    def get_adapter(session: requests.Session, url_of_request: str) -> Any:
        return adapter if _below(url_of_request, url) else real_adapter(session, url_of_request)

    async def handle(beneath: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        if _below(str(request.url), url):
            return await transport.handle_async_request(request)
        return await real_handle(beneath, request)

    with (
        mock.patch.object(requests.Session, "get_adapter", get_adapter),
        mock.patch.object(httpx.AsyncHTTPTransport, "handle_async_request", handle),
    ):
        yield url


def _below(url: str, base: str) -> bool:
    return url == base or url.startswith(base.rstrip("/") + "/")
