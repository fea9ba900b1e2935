"""Synchronous driver: carries conversations over requests, and streams over sseclient-py."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from traceback import walk_tb
from typing import Any, TypeAlias, TypeVar

import requests
import sseclient
from requests import exceptions as rex
from urllib3 import exceptions as uex

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import XpanderConnectionError
from airflow_provider_xpander.api.exchange import (
    NoReply,
    Outcome,
    Reply,
    Send,
    Sleep,
    Steps,
    exchange,
    not_sendable,
    read,
)
from airflow_provider_xpander.api.governor import Governor, governed
from airflow_provider_xpander.api.models import StreamEvent
from airflow_provider_xpander.api.network import not_reached, proxy_of, verify_of
from airflow_provider_xpander.api.refusals import read_error
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.routes import Call
from airflow_provider_xpander.api.settings import CONNECT_TIMEOUT, Settings
from airflow_provider_xpander.api.sse import END_OF_STREAM, FINISHED, parse_event
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.api.total_timeout import Limit, LimitedAdapter, current_limit

T = TypeVar("T")
Events: TypeAlias = Generator[StreamEvent, None, None]
_NOT_SENT = (rex.ConnectTimeout, rex.ProxyError)
_NOT_SENDABLE = (rex.InvalidURL, rex.InvalidSchema, UnicodeError)  # of a header that is no Latin-1
IGNORED = 20
"""Events of one stream that carry nothing and are looked into; more of them are passed over in silence."""
BEGINNING = 2000
"""Bytes of a stream without an event that are looked through for the reason."""
_BOM = b"\xef\xbb\xbf"


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
        self._refresh = refresh
        self._session = requests.Session()
        # Proxies and certificates are told with each request (api/network.py); ~/.netrc replaces no key.
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, LimitedAdapter())

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
        return _events(call, self._drive(exchange(call, self.policy), self._open))

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
                time.sleep(clock.CLOCK.real(step.seconds))
            elif self._refresh is not None:
                self.settings = self._refresh()

    def _send(self, call: Call[Any], timeout: float | None) -> Reply | NoReply:
        limit = Limit(timeout or self.settings.timeout)
        opened = self._request(call, limit)
        return opened if isinstance(opened, NoReply) else self._whole(opened, limit)

    def _open(self, call: Call[Any]) -> Reply | NoReply:
        limit = Limit(self.settings.timeout)
        opened = self._request(call, limit, accept="text/event-stream")
        if isinstance(opened, NoReply):
            return opened
        if 200 <= opened.status_code < 300:
            limit.lift()
            return Reply(opened.status_code, opened.headers, stream=opened)
        return self._whole(opened, limit)

    def _whole(self, response: requests.Response, limit: Limit) -> Reply | NoReply:
        with response:
            try:
                body = response.content
            except (rex.RequestException, uex.HTTPError) as error:
                if (limit.left or 0.0) <= 0:
                    return NoReply(f"no whole answer within {limit.seconds:g} s", sent=True)
                return NoReply(f"the answer broke off ({_reason(error)})", sent=True)
        return Reply(response.status_code, response.headers, body, settings=self.settings)

    def _request(
        self, call: Call[Any], limit: Limit, accept: str | None = None
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
        token = current_limit.set(limit)
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
                return NoReply(not_reached(settings, _reason(error)), sent=False)
            if isinstance(error, rex.ReadTimeout):
                return NoReply(f"no answer within {timeout:g} s", sent=True)
            return NoReply(f"the connection broke ({_reason(error)})", sent=True)
        except OSError as error:  # of certificates that are gone; all else is one of the above
            raise not_sendable(call, error) from None
        finally:
            current_limit.reset(token)


def _events(call: Call[Any], response: requests.Response) -> Events:
    """Read the events of an open stream, up to the end of its own run."""
    own: str | None = None
    begun, ignored, beginning = False, 0, bytearray()
    problem = "the stream ended without an event"
    try:
        for event in sseclient.SSEClient(_chunks(response, beginning)).events():
            if event.data.strip() == END_OF_STREAM:
                break
            parsed = parse_event(event.data, event.event, quiet=ignored >= IGNORED)
            if parsed is None:
                ignored += 1
                continue
            begun = True
            if own is None and parsed.type != "connected":
                own = parsed.task_id  # those of sub-agents come later
            yield parsed
            if parsed.type == FINISHED and parsed.task_id in (None, own):
                break
            if parsed.type == "error" and own is None:
                break  # no run was named: this is the reason, not what becomes of the connection later
    except (rex.RequestException, uex.HTTPError, UnicodeDecodeError) as error:
        problem = f"the stream broke ({_reason(error)})"
        if begun:
            raise XpanderConnectionError(f"{call.what}: {problem}; the run goes on.") from error
    finally:
        response.close()
    if not begun:
        if said := read_error(bytes(beginning)).text:
            problem += f"; it began with: {printable(said, 200)}"
        read(call, NoReply(problem, sent=True), datetime.now(UTC))


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


def _chunks(response: requests.Response, beginning: bytearray) -> Iterator[bytes]:
    """
    Yield the body as it arrives, whatever its framing, without the byte order mark that may lead it.

    :param beginning: is given the first bytes, for a message.
    """
    while chunk := response.raw.read1(65536, decode_content=True):
        if not beginning:
            chunk = chunk.removeprefix(_BOM)
        if len(beginning) < BEGINNING:
            beginning += chunk[:BEGINNING]
        yield chunk


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
