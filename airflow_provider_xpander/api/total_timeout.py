"""
Total time-out of a reply for requests, whose own one is between two bytes: a drip of bytes outlasts it.

Every read of a reply goes through a file that looks at the clock first. It is put beneath the reply by the
class of the connection's responses, so that it holds for the head of a reply as well as for its body.
"""

from __future__ import annotations

import io
import socket
import time
from contextvars import ContextVar
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter


class Limit:
    """
    The time that a reply may take, from the moment at which its request was sent.

    :param seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds: float | None = seconds
        self._since = time.monotonic()

    def begin(self) -> None:
        """Start the clock: the request was sent."""
        self._since = time.monotonic()

    def lift(self) -> None:
        """Take the limit away: a stream is as long as its run."""
        self.seconds = None

    @property
    def left(self) -> float | None:
        """Seconds that are left, or None if there is no limit."""
        return None if self.seconds is None else self._since + self.seconds - time.monotonic()


current_limit: ContextVar[Limit | None] = ContextVar("current_limit", default=None)
"""The limit of the reply that this thread is about to wait for."""


class _LimitedFile(io.RawIOBase):
    """What a reply is read from: the socket's file, as long as there is time."""

    def __init__(self, beneath: Any, sock: socket.socket, limit: Limit) -> None:
        self._beneath, self._sock, self._limit = beneath, sock, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left, own = self._limit.left, self._sock.gettimeout()
        if left is None:
            return self._beneath.readinto(buffer)  # type: ignore[no-any-return]
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left if own is None else min(own, left))
        try:
            return self._beneath.readinto(buffer)  # type: ignore[no-any-return]
        finally:
            self._sock.settimeout(own)

    def close(self) -> None:
        self._beneath.close()
        super().close()


class _LimitedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        limit = current_limit.get()
        if limit is not None:
            limit.begin()
            beneath = self.fp.detach()
            self.fp = io.BufferedReader(_LimitedFile(beneath, sock, limit))


class LimitedAdapter(HTTPAdapter):
    """Adapter of a session whose replies keep :data:`current_limit`, through any proxy."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool of connections for a request; the parameters are those of requests."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = pool.ConnectionCls
        if kind.response_class is not _LimitedResponse:
            # A subclass for this pool, because the class is everybody's.
            pool.ConnectionCls = type(kind.__name__, (kind,), {"response_class": _LimitedResponse})
        return pool
