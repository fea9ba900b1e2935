"""
Synchronous driver: carries conversations over requests.

The time-out of requests is one between two bytes, which a drip of bytes outlasts. So every read of a reply
goes through a file that looks at the clock first. It is put beneath the reply by the class of the
connection's responses, so that it holds for the head of a reply as well as for its body.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from http.client import HTTPResponse
from traceback import walk_tb
from typing import Any, TypeVar

import requests
from requests import exceptions as rex
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as uex

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.exchange import (
    NoReply,
    Outcome,
    Reply,
    Send,
    Sleep,
    Steps,
    exchange,
    governed,
    not_sendable,
)
from airflow_provider_xpander.api.governor import Governor, governor_of
from airflow_provider_xpander.api.network import not_reached, proxy_of, reason_of, verify_of
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.routes import Call
from airflow_provider_xpander.api.settings import CONNECT_TIMEOUT, Settings
from airflow_provider_xpander.api.stream import Events, events_of

T = TypeVar("T")
_NOT_SENT = (rex.ConnectTimeout, rex.ProxyError)
_NOT_SENDABLE = (rex.InvalidURL, rex.InvalidSchema, UnicodeError)  # of a header that is no Latin-1


def sleep(seconds: float) -> None:
    """
    Wait.

    :param seconds: of the clock of budgets.
    """
    time.sleep(clock.CLOCK.real(seconds))


class Client:
    """
    One HTTP session to one service.

    :param settings: where to and with which credentials.
    :param policy: how often a call is repeated.
    :param refresh: gives new settings when the credentials are refused, or None if there is no such way.
    :param governor: the budget that requests keep, or None for none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: RetryPolicy | None = None,
        refresh: Callable[[], Settings] | None = None,
        governor: Governor | None = None,
    ) -> None:
        self.settings = settings
        self.governor = governor
        self.policy = policy or RetryPolicy()
        self.sleep: Callable[[float], None] = sleep
        """Waits for so many seconds, or raises :class:`~airflow_provider_xpander.api.exchange.TooLong`."""
        self._refresh = refresh
        self._session = requests.Session()
        # Proxies and certificates are told with each request (api/network.py); ~/.netrc replaces no key.
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _LimitedAdapter())

    def again(self) -> Client:
        """Return another client of the same service, with the present credentials and no budget."""
        return Client(self.settings, policy=self.policy, refresh=self._refresh)

    def close(self) -> None:
        """Close the session's connections."""
        self._session.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def call(self, call: Call[T], *, policy: RetryPolicy | None = None, timeout: float | None = None) -> T:
        """
        Make one call.

        :param call: the call.
        :param policy: how often it is repeated; the client's own policy by default.
        :param timeout: seconds that the whole reply may take; that of the settings by default.
        :raises XpanderError: it did not succeed.
        """
        return self.run(exchange(call, policy or self.policy), timeout=timeout)

    def run(self, steps: Steps[T], *, timeout: float | None = None) -> T:
        """
        Carry out a conversation to its end and return its result.

        :param steps: the conversation.
        :param timeout: seconds that each reply may take; that of the settings by default.
        :raises XpanderError: it did not succeed.
        """
        return self._drive(steps, lambda call: self._send(call, timeout))

    def stream(self, call: Call[Any]) -> Events:
        """
        Make an invoke call and yield its events as they come, up to the own ``task_finished`` or ``[DONE]``.

        The run does not end with its stream: whoever reads the events knows by ``task_finished`` of the own
        task whether they are complete (contract 6.3, 6.4).

        :param call: the invoke.
        :raises XpanderAmbiguousSubmitError: no event arrived, so the run may exist or not.
        :raises XpanderConnectionError: the stream broke after an event.
        """
        yield from self.open_stream(call)

    def open_stream(self, call: Call[Any]) -> Events:
        """
        Make the call at once, and return the events of :meth:`stream`, which another thread may read.

        :param call: the invoke.
        :raises XpanderError: no stream was opened.
        """
        return events_of(call, self._drive(exchange(call, self.policy), self._open))

    def _drive(self, steps: Steps[T], send: Callable[[Call[Any]], Outcome]) -> T:
        if self.governor is not None:
            steps = governed(steps, self.governor)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            outcome = None
            if isinstance(step, Send):
                outcome = send(step.call)
            elif isinstance(step, Sleep):
                self.sleep(step.seconds)
            else:
                outcome = self._has_new_key()

    def _has_new_key(self) -> bool:
        """Read the credentials again, if there is a way; return whether the key is another."""
        if self._refresh is None:
            return False
        used = self.settings.api_key
        try:
            self.settings = self._refresh()
        except Exception:  # of the connection; the refusal is what is to be told
            return False
        if self.governor is not None:
            self.governor = governor_of(self.settings)
        return self.settings.api_key != used

    def _send(self, call: Call[Any], timeout: float | None) -> Reply | NoReply:
        limit = _Limit(timeout or self.settings.timeout)
        opened = self._request(call, limit)
        return opened if isinstance(opened, NoReply) else self._whole(opened, limit)

    def _open(self, call: Call[Any]) -> Reply | NoReply:
        limit = _Limit(self.settings.timeout)
        opened = self._request(call, limit, accept="text/event-stream")
        if isinstance(opened, NoReply):
            return opened
        if 200 <= opened.status_code < 300:
            limit.lift()
            return Reply(opened.status_code, opened.headers, stream=opened)
        return self._whole(opened, limit)

    def _whole(self, response: requests.Response, limit: _Limit) -> Reply | NoReply:
        with response:
            try:
                body = response.content
            except (rex.RequestException, uex.HTTPError) as error:
                if (limit.left or 0.0) <= 0:
                    return NoReply(f"no whole answer within {limit.seconds:g} s", sent=True)
                return NoReply(f"the answer broke off ({reason_of(error)})", sent=True)
        return Reply(response.status_code, response.headers, body, settings=self.settings)

    def _request(
        self, call: Call[Any], limit: _Limit, accept: str | None = None
    ) -> requests.Response | NoReply:
        settings = self.settings
        timeout = limit.seconds or settings.timeout
        headers = dict(settings.headers())
        if accept:
            headers |= {"Accept": accept, "Cache-Control": "no-cache"}
        proxy, verify = proxy_of(settings), verify_of(settings)
        try:
            request = self._session.prepare_request(
                requests.Request(
                    call.method,
                    settings.base_url + call.path,
                    params=dict(call.params),
                    json=call.json,
                    headers=headers,
                )
            )
        except (rex.RequestException, ValueError, TypeError) as error:
            raise not_sendable(call, error) from None
        token = _current_limit.set(limit)
        try:
            # Not by the session: it takes the address of a redirect apart, and fails where that is none.
            return self._session.get_adapter(settings.base_url).send(
                request,
                timeout=(CONNECT_TIMEOUT, timeout),
                verify=verify,
                proxies={"http": proxy.url, "https": proxy.url} if proxy else None,
                stream=True,
            )
        except _NOT_SENDABLE as error:
            raise not_sendable(call, error) from None
        except rex.RequestException as error:
            cause = getattr(error.args[0] if error.args else None, "reason", None)
            if isinstance(cause, uex.NameResolutionError):
                return NoReply(f"cannot reach {settings.base_url}: its host name is unknown", sent=False)
            if (
                isinstance(error, _NOT_SENT)
                or isinstance(cause, uex.ConnectTimeoutError)
                or _in_handshake(error)
            ):
                return NoReply(not_reached(settings, reason_of(error)), sent=False)
            if isinstance(error, rex.ReadTimeout):
                return NoReply(f"no answer within {timeout:g} s", sent=True)
            return NoReply(f"the connection broke ({reason_of(error)})", sent=True)
        except OSError as error:  # of certificates that are gone; all else is one of the above
            raise not_sendable(call, error) from None
        finally:
            _current_limit.reset(token)


def _in_handshake(error: BaseException) -> bool:
    """Whether TLS failed before the request was sent; no type of requests' errors tells that from later."""
    seen: set[int] = set()
    behind: list[object] = [error]
    while behind:
        inner = behind.pop()
        if not isinstance(inner, BaseException) or id(inner) in seen:
            continue
        seen.add(id(inner))
        if any(frame.f_code.co_name == "do_handshake" for frame, _ in walk_tb(inner.__traceback__)):
            return True
        behind += [inner.__cause__, inner.__context__, getattr(inner, "reason", None), *inner.args]
    return False


class _Limit:
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


_current_limit: ContextVar[_Limit | None] = ContextVar("_current_limit", default=None)
"""The limit of the reply that this thread is about to wait for."""


class _LimitedFile(io.RawIOBase):
    """What a reply is read from: the socket's file, as long as there is time."""

    def __init__(self, beneath: Any, sock: socket.socket, limit: _Limit) -> None:
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
        limit = _current_limit.get()
        if limit is not None:
            limit.begin()
            beneath = self.fp.detach()
            self.fp = io.BufferedReader(_LimitedFile(beneath, sock, limit))


class _LimitedAdapter(HTTPAdapter):
    """Adapter of a session whose replies keep their :class:`_Limit`, through any proxy."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool of connections for a request; the parameters are those of requests."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = pool.ConnectionCls
        if kind.response_class is not _LimitedResponse:
            # A subclass for this pool, because the class is everybody's.
            pool.ConnectionCls = type(kind.__name__, (kind,), {"response_class": _LimitedResponse})
        return pool
