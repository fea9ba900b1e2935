"""The emulator without a socket: an adapter of requests and transports of httpx to the same application."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest import mock

import httpx
import requests
from requests.adapters import HTTPAdapter
from starlette.types import Message
from urllib3 import HTTPResponse

from airflow_provider_xpander.emulator.in_process_application import DROP, END, Application
from airflow_provider_xpander.emulator.state import Emulator

URL = "http://xpander.emulator"
"""What the emulator is called where nothing else is said; a name that no server can have."""


class InProcessAdapter(HTTPAdapter):
    """
    An adapter of requests that leads to an emulator: ``session.mount(URL, InProcessAdapter(emulator))``.

    :param emulator: who answers.
    """

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self._application = Application(emulator)

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
        self._application.begin(str(request.method), str(request.url), headers, raw, wire.put)
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
        return b"0\r\n\r\n" if message is END and self._chunked else b""


class InProcessTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """
    A transport of httpx that leads to an emulator.

    It is for both clients: ``Client(transport=InProcessTransport(emulator))``, and ``AsyncClient`` likewise.

    :param emulator: who answers.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._application = Application(emulator)

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
        pieces = _AsyncPieces(asyncio.create_task(work), messages, _patience(request))
        return _response(await pieces.next(), pieces)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """
        Answer a request of a client that is not asynchronous.

        :param request: the request.
        :raises httpx.RemoteProtocolError: a fault breaks the connection.
        :raises httpx.ReadTimeout: the answer does not come in time.
        """
        messages: queue.Queue[Message] = queue.Queue()
        self._application.begin(
            request.method, str(request.url), request.headers.multi_items(), request.read(), messages.put
        )
        pieces = _Pieces(messages, _patience(request))
        return _response(pieces.next(), pieces)


def _patience(request: httpx.Request) -> float | None:
    patience: float | None = request.extensions.get("timeout", {}).get("read")
    return patience


def _response(start: Message, pieces: httpx.AsyncByteStream | httpx.SyncByteStream) -> httpx.Response:
    if start["type"] != "http.response.start":
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    return httpx.Response(start["status"], headers=start.get("headers"), stream=pieces)


def _bytes_in(message: Message) -> bytes:
    if message is DROP:
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
    return bytes(message.get("body", b""))


class _Pieces(httpx.SyncByteStream):
    """The body of an answer, piece by piece."""

    def __init__(self, messages: queue.Queue[Message], patience: float | None) -> None:
        self._messages = messages
        self._patience = patience

    def next(self) -> Message:
        """Return the next message of the answer."""
        try:
            return self._messages.get(timeout=self._patience)
        except queue.Empty:
            raise httpx.ReadTimeout("The emulator did not answer in time") from None

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces."""
        while (message := self.next()) is not END:
            yield _bytes_in(message)


class _AsyncPieces(httpx.AsyncByteStream):
    """The same for an asynchronous client."""

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
        while (message := await self.next()) is not END:
            yield _bytes_in(message)

    async def aclose(self) -> None:
        """Leave: the application notices, a run goes on."""
        self._work.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._work


@contextlib.contextmanager
def in_process(emulator: Emulator, url: str = URL) -> Iterator[str]:
    """
    Let every session of requests and every client of httpx here find an emulator at a URL.

    So a hook or a trigger is tested without a socket, with a connection whose host is this URL.

    :param emulator: who answers.
    :param url: its base URL.
    :return: the base URL.
    """
    adapter, transport = InProcessAdapter(emulator), InProcessTransport(emulator)
    real_adapter = requests.Session.get_adapter
    real_handle, real_async = (
        httpx.HTTPTransport.handle_request,
        httpx.AsyncHTTPTransport.handle_async_request,
    )

    def get_adapter(session: requests.Session, url_of_request: str) -> Any:
        return adapter if _below(url_of_request, url) else real_adapter(session, url_of_request)

    def handle(beneath: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        below = _below(str(request.url), url)
        return transport.handle_request(request) if below else real_handle(beneath, request)

    async def handle_async(beneath: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        if _below(str(request.url), url):
            return await transport.handle_async_request(request)
        return await real_async(beneath, request)

    with (
        mock.patch.object(requests.Session, "get_adapter", get_adapter),
        mock.patch.object(httpx.HTTPTransport, "handle_request", handle),
        mock.patch.object(httpx.AsyncHTTPTransport, "handle_async_request", handle_async),
    ):
        yield url


def _below(url: str, base: str) -> bool:
    return url == base or url.startswith(base.rstrip("/") + "/")
