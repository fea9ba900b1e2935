"""The synchronous driver: carries conversations over requests, and streams over sseclient-py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import requests
import sseclient
from requests import exceptions as rex
from urllib3 import exceptions as uex

from airflow_provider_xpander.api.errors import XpanderConnectionError, printable
from airflow_provider_xpander.api.exchange import (
    NoReply,
    Outcome,
    Reply,
    Send,
    Sleep,
    Steps,
    exchange,
    read,
)
from airflow_provider_xpander.api.models import StreamEvent
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.routes import Call
from airflow_provider_xpander.api.settings import CONNECT_TIMEOUT, Settings
from airflow_provider_xpander.api.sse import parse_event

T = TypeVar("T")
_NOT_SENT = (rex.ConnectTimeout, rex.SSLError, rex.ProxyError, rex.InvalidURL, rex.InvalidSchema)
_BOM = b"\xef\xbb\xbf"


class _HeaderAuth(requests.auth.AuthBase):
    """Sets the credentials; being an auth object, it keeps requests from taking others out of ~/.netrc."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._settings.headers())
        return request


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Client:
    """
    One HTTP session to one service.

    :param settings: where to and with which credentials.
    :param policy: how often a call is repeated.
    :param refresh: gives new settings when the credentials are refused, or None if there is no such way.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: RetryPolicy | None = None,
        refresh: Callable[[], Settings] | None = None,
    ) -> None:
        self.policy = policy or RetryPolicy()
        self._refresh = refresh
        self._session = requests.Session()
        self._use(settings)

    def _use(self, settings: Settings) -> None:
        self.settings = settings
        self._session.auth = _HeaderAuth(settings)
        self._session.headers.update(settings.headers(authenticated=False))
        if settings.proxy:
            self._session.proxies = {"http": settings.proxy, "https": settings.proxy}

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
        :param timeout: seconds to wait for the answer; that of the settings by default.
        :raises XpanderError: it did not succeed.
        """
        return self.run(exchange(call, policy or self.policy), timeout=timeout)

    def run(self, steps: Steps[T], *, timeout: float | None = None) -> T:
        """Carry out a conversation to its end and return its result."""
        return self._drive(steps, lambda call: self._send(call, timeout))

    def stream(self, call: Call[Any]) -> Iterator[StreamEvent]:
        """
        Make an invoke call and yield its events as they come, until the server ends the stream.

        The run does not end with its stream: whoever reads the events knows by ``task_finished`` of the own
        task whether they are complete (contract 6.3, 6.4).

        :raises XpanderAmbiguousSubmitError: no event arrived, so the run may exist or not.
        :raises XpanderConnectionError: the stream broke after an event.
        """
        response = self._drive(exchange(call, self.policy), self._open)
        begun = False
        problem = "the stream ended without an event"
        try:
            for event in sseclient.SSEClient(_chunks(response)).events():
                parsed = parse_event(event.data, event.event)
                if parsed is not None:
                    begun = True
                    yield parsed
        except (rex.RequestException, uex.HTTPError, UnicodeDecodeError) as error:
            problem = f"the stream broke ({_reason(error)})"
            if begun:
                raise XpanderConnectionError(f"{call.what}: {problem}; the run goes on.") from error
        finally:
            response.close()
        if not begun:
            read(call, NoReply(problem, sent=True), datetime.now(UTC))

    def _drive(self, steps: Steps[T], send: Callable[[Call[Any]], Outcome]) -> T:
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
                time.sleep(step.seconds)
            elif self._refresh is not None:
                self._use(self._refresh())

    def _send(self, call: Call[Any], timeout: float | None) -> Reply | NoReply:
        opened = self._request(call, timeout or self.settings.timeout)
        if isinstance(opened, NoReply):
            return opened
        with opened:
            try:
                return Reply(opened.status_code, opened.headers, opened.content)
            except (rex.RequestException, uex.HTTPError) as error:
                return NoReply(f"the answer broke off ({_reason(error)})", sent=True)

    def _open(self, call: Call[Any]) -> Reply | NoReply:
        opened = self._request(call, self.settings.timeout, accept="text/event-stream")
        if isinstance(opened, NoReply):
            return opened
        if opened.ok:
            return Reply(opened.status_code, opened.headers, stream=opened)
        with opened:
            return Reply(opened.status_code, opened.headers, opened.content)

    def _request(
        self, call: Call[Any], timeout: float, accept: str | None = None
    ) -> requests.Response | NoReply:
        try:
            return self._session.request(
                call.method,
                self.settings.base_url + call.path,
                params=dict(call.params),
                json=call.json,
                headers={"Accept": accept, "Cache-Control": "no-cache"} if accept else None,
                auth=None if call.authenticated else _no_auth,
                timeout=(CONNECT_TIMEOUT, timeout),
                allow_redirects=False,
                verify=self.settings.verify,
                stream=True,
            )
        except rex.ReadTimeout:
            return NoReply(f"no answer within {timeout:g} s", sent=True)
        except rex.RequestException as error:
            where = f"cannot reach {self.settings.base_url}"
            cause = getattr(error.args[0] if error.args else None, "reason", None)
            if isinstance(cause, uex.NameResolutionError):
                return NoReply(f"{where}: its host name is unknown", sent=False)
            if isinstance(error, _NOT_SENT) or isinstance(cause, uex.ConnectTimeoutError):
                return NoReply(f"{where} ({_reason(error)})", sent=False)
            return NoReply(f"the connection broke ({_reason(error)})", sent=True)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it arrives, whatever its framing, without the byte order mark that may lead it."""
    first = True
    while chunk := response.raw.read1(65536, decode_content=True):
        yield chunk.removeprefix(_BOM) if first else chunk
        first = False


def _reason(error: BaseException) -> str:
    """Say what went wrong in short: the innermost cause, without the addresses of Python objects."""
    inner: BaseException = error
    while True:
        deeper = getattr(inner, "reason", None) or next(
            (arg for arg in inner.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    text = printable(inner, 200)
    return text.split(">: ", 1)[-1] or type(inner).__name__
