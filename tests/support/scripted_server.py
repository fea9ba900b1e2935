"""
A server on a raw socket that answers with the bytes it was given, for what no real server would send.

It can also break off, reset, stall, or wait for the test between two pieces of an answer.
"""

from __future__ import annotations

import json
import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Any

LIMIT_SECONDS = 10.0
"""The longest that anything in here waits."""


class Then(Enum):
    """What can happen in an answer besides bytes."""

    CLOSE = auto()
    """Close the connection in order."""
    RESET = auto()
    """Break the connection: the client gets a reset."""
    STALL = auto()
    """Say nothing until the client has hung up."""


@dataclass(frozen=True)
class Beneath:
    """Bytes for the socket beneath the TLS session."""

    data: bytes


@dataclass
class Gate:
    """Holds an answer back until the test opens it."""

    _event: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(LIMIT_SECONDS), "the test did not open the gate"


@dataclass(frozen=True)
class Pause:
    """Waits a while, or until the client has hung up."""

    seconds: float


Step = bytes | Then | Gate | Beneath | Pause
Answer = Step | Iterable[Step]


@dataclass(frozen=True)
class Request:
    """A request as it came over the wire; the names of its headers are in lower case."""

    raw: bytes
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


def http(
    status: int = 200,
    body: Any = b"",
    headers: Mapping[str, str] | None = None,
    *,
    content_length: int | None = None,
) -> bytes:
    """
    Return a whole answer; what is neither bytes nor a string becomes JSON.

    :param content_length: a length that is not the body's.
    """
    media = "application/json"
    if isinstance(body, str):
        body, media = body.encode(), "text/html"
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    fields = {
        "Content-Type": media,
        "Content-Length": str(len(body) if content_length is None else content_length),
        **(headers or {}),
    }
    return head(status, fields) + body


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """Return one piece of a body in chunked transfer coding; an empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class ScriptedServer:
    """
    Answer the first request with the first answer, and so on; the last answer is for all further requests.

    Requests are counted over all connections. A connection stays open after a whole answer.

    :param answers: steps, or single steps, in the order of the requests.
    :param tls: speak TLS with this context.
    :param port: listen here; by default on a free port.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._answers = [
            [answer] if isinstance(answer, bytes | Then | Gate | Beneath | Pause) else list(answer)
            for answer in answers
        ]
        self._tls = tls
        self.port = port
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._closing = False
        self._failures: list[BaseException] = []
        self.connections = 0
        self.requests: list[Request] = []
        self.hung_up = threading.Event()
        """Set when a client has hung up during a stall."""

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedServer:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._closing = True
            hung_up = [self._listener, *self._open]
        for sock in hung_up:
            _shut_down(sock)
        for thread in self._threads:
            thread.join(LIMIT_SECONDS)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads), "a thread of the server hangs"
        if self._failures and error is None:
            raise self._failures[0]

    def wait_for_requests(self, number: int) -> None:
        """Return when so many requests have come."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: len(self.requests) >= number, LIMIT_SECONDS)
        assert arrived, f"{number} requests were expected, {len(self.requests)} came"

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closing:
                    sock.close()
                    return
                self.connections += 1
                number = self.connections
            self._start(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            sock.settimeout(LIMIT_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with self._lock:
                self._open.add(sock)
                if self._closing:
                    return
            with sock.makefile("rb") as reader:
                while (request := _read_request(reader, number)) is not None:
                    with self._lock:
                        self.requests.append(request)
                        self._arrived.notify_all()
                        answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
                    if not self._play(sock, answer):
                        return
        except OSError:
            pass  # the client went away, which is its right
        except BaseException as failure:
            self._failures.append(failure)
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _play(self, sock: socket.socket, answer: list[Step]) -> bool:
        for step in answer:
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, Gate):
                step.wait()
            elif isinstance(step, Pause):
                if select.select([sock], [], [], step.seconds)[0]:
                    self.hung_up.set()
                    return False
            elif isinstance(step, Beneath):
                os.write(sock.fileno(), step.data)
            elif step is Then.STALL:
                while sock.recv(4096):
                    pass
                if not self._closing:
                    self.hung_up.set()
                return False
            elif step is Then.RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            else:
                _shut_down(sock)
                return False
        return True


def _read_request(reader: Any, connection: int) -> Request | None:
    raw = b""
    while not raw.endswith(b"\r\n\r\n"):
        line = reader.readline()
        if not line:
            return None
        raw += line
    first, *lines = raw.decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (li.partition(":") for li in lines)}
    body = reader.read(int(headers.get("content-length", 0)))
    return Request(raw + body, method, target, headers, body, connection)


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def unused_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
