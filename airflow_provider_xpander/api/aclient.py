"""Asynchronous driver: carries the steps of a conversation over httpx, for triggers."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import httpx

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import XpanderConnectionError
from airflow_provider_xpander.api.exchange import (
    NoReply,
    Outcome,
    Reply,
    Send,
    Sleep,
    Steps,
    not_sendable,
)
from airflow_provider_xpander.api.large_json import loads
from airflow_provider_xpander.api.network import ca_path, not_reached, proxy_of
from airflow_provider_xpander.api.refusals import LARGE_BODY
from airflow_provider_xpander.api.routes import Call
from airflow_provider_xpander.api.settings import CONNECT_TIMEOUT, Settings
from airflow_provider_xpander.api.text import printable

T = TypeVar("T")

# One process polls for thousands of tasks: few connections, kept open over the gap between two polls. Both
# numbers are the same, because httpcore closes what gets idle as soon as more connections than the second
# are open, busy ones included: a burst of polls would make a new connection for each.
_LIMITS = httpx.Limits(max_connections=16, max_keepalive_connections=16, keepalive_expiry=120.0)
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
)
_NOT_SENDABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError)

# httpx writes a line for each request, which would end up in task logs poll by poll.
_own_request: ContextVar[bool] = ContextVar("own_request", default=False)
logging.getLogger("httpx").addFilter(lambda record: not _own_request.get())


class AsyncClient:
    """
    One HTTP client to one service, for any number of coroutines of one event loop.

    :param settings: where to and with which credentials.
    :param tls: from :func:`tls_context`; loading certificates takes too long for an event loop.
    :param refresh: gives new settings instead of those whose credentials were refused, or raises
        XpanderConnectionError; None if there is no such way.
    :raises XpanderValidationError: the proxy cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tls: ssl.SSLContext,
        refresh: Callable[[Settings], Awaitable[Settings]] | None = None,
    ) -> None:
        self._refresh = refresh
        self._opened: list[httpx.AsyncClient] = []
        self.reopen(settings, tls)

    def reopen(self, settings: Settings, tls: ssl.SSLContext) -> None:
        """
        Go another way from the next request on; those under way end as they began.

        :param settings: with another proxy or other certificates.
        :param tls: from :func:`tls_context`.
        :raises XpanderValidationError: the proxy cannot be used.
        """
        proxy = proxy_of(settings)
        self._http = httpx.AsyncClient(
            verify=tls,
            # To httpx both are one: the proxy looks up the names. Older versions know one of them.
            proxy=proxy.url.replace("socks5h:", "socks5:", 1) if proxy else None,
            limits=_LIMITS,
            follow_redirects=False,
            trust_env=False,
        )
        self.settings = settings
        self._opened.append(self._http)  # connections are edited so rarely that all may stay open

    async def close(self) -> None:
        """Close the client's connections."""
        for http in self._opened:
            await http.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """
        Carry out a conversation to its end and return its result.

        :param steps: the conversation.
        :raises XpanderError: it did not succeed.
        """
        outcome: Outcome = None
        used = self.settings
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            outcome = None
            if isinstance(step, Send):
                used = self.settings  # others may replace them before the reply comes
                outcome = await self._send(step.call)
            elif isinstance(step, Sleep):
                await asyncio.sleep(clock.CLOCK.real(step.seconds))
            else:
                outcome = await self._has_new_key(used)

    async def _has_new_key(self, refused: Settings) -> bool | NoReply:
        """Read the credentials again, if there is a way; return whether the key is another."""
        if self._refresh is None:
            return False
        try:
            self.settings = await self._refresh(refused)
        except XpanderConnectionError as error:
            return NoReply(str(error), sent=False)
        return self.settings.api_key != refused.api_key

    async def _send(self, call: Call[Any]) -> Reply | NoReply:
        settings = self.settings
        token = _own_request.set(True)
        try:
            # httpx's own time-out is between two bytes: a drip of bytes would outlast it.
            async with asyncio.timeout(None) as limit:

                async def begin(event: str, _: Mapping[str, Any]) -> None:
                    if event.endswith(".send_request_body.complete"):
                        limit.reschedule(asyncio.get_running_loop().time() + settings.timeout)

                response = await self._http.request(
                    call.method,
                    settings.base_url + call.path,
                    params=dict(call.params),
                    json=call.json,
                    headers=dict(settings.headers()),
                    timeout=httpx.Timeout(settings.timeout, connect=CONNECT_TIMEOUT),
                    extensions={"trace": begin},
                )
        except _NOT_SENDABLE as error:
            if limit.when() is None:  # it was not sent
                raise not_sendable(call, error) from None
            return NoReply(f"the connection broke ({_reason(error)})", sent=True)
        except _NOT_SENT as error:
            return NoReply(not_reached(settings, _reason(error)), sent=False)
        except (httpx.TimeoutException, TimeoutError):
            return NoReply(f"no whole answer within {settings.timeout:g} s", sent=True)
        except (httpx.HTTPError, ssl.SSLError) as error:  # httpx lets those of a broken TLS session through
            return NoReply(f"the connection broke ({_reason(error)})", sent=True)
        finally:
            _own_request.reset(token)
        parsed = None
        if response.is_success and len(response.content) >= LARGE_BODY:
            parsed = await asyncio.to_thread(_parse, call, response.content)
        return Reply(
            response.status_code, response.headers, response.content, settings=settings, parsed=parsed
        )


def _parse(call: Call[Any], body: bytes) -> Callable[[], Any]:
    """Parse a large body; in a thread, because it takes long."""
    try:
        result = call.parse(loads(body, call.keep))
    except (ValueError, TypeError, RecursionError) as error:
        problem = error  # the name of the clause is gone when it is raised

        def fail() -> Any:
            raise problem

        return fail
    return lambda: result


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """
    Make the TLS context that requests would use: it takes tens of milliseconds, so do it in a thread.

    :param verify: whether certificates are checked, or the path of a CA file or folder.
    """
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    path = ca_path(verify)
    if os.path.isdir(path):
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _reason(error: Exception) -> str:
    return printable(error, 200) or type(error).__name__
