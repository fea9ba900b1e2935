"""
How a call is carried out, without carrying it out.

A conversation with the service is a generator: it yields what to do next (:class:`Send`, :class:`Sleep`,
:class:`Refresh`), is sent what came of it, and returns the result. The two drivers, one over requests and
one over httpx, do what it yields; what to send, when to repeat and what an answer means is decided here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderConnectionError,
    XpanderError,
    XpanderRateLimitError,
    XpanderServiceError,
    error_from_status,
    error_text,
    printable,
)
from airflow_provider_xpander.api.retry import (
    TRANSIENT_STATUSES,
    RetryClass,
    RetryPolicy,
    retry_after_seconds,
)
from airflow_provider_xpander.api.routes import Call

T = TypeVar("T")


@dataclass(frozen=True)
class Reply:
    """An answer: any status, the whole body. ``stream`` is the driver's open body of a stream instead."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: Any = None


@dataclass(frozen=True)
class NoReply:
    """
    No whole answer came.

    :param reason: what happened, in words.
    :param sent: whether the request may have reached the server.
    """

    reason: str
    sent: bool


@dataclass(frozen=True)
class Send:
    """Send this call; the answer to it is a :class:`Reply` or a :class:`NoReply`."""

    call: Call[Any]


@dataclass(frozen=True)
class Sleep:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Refresh:
    """Read the credentials again: those in use were refused."""


Step: TypeAlias = Send | Sleep | Refresh
Outcome: TypeAlias = Reply | NoReply | None
Steps: TypeAlias = Generator[Step, Outcome, T]


def exchange(
    call: Call[T],
    policy: RetryPolicy,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    rng: Callable[[], float] = random.random,
) -> Steps[T]:
    """
    Make a call, repeated where that is safe.

    :param call: the call.
    :param policy: how often and for how long.
    :param now: the clock, for ``Retry-After`` dates.
    :param rng: gives a float in [0, 1) for the jitter.
    :raises XpanderError: the last failure, as soon as a repetition is unsafe, pointless or too late.
    """
    attempt = 0
    while True:
        attempt += 1
        outcome = yield Send(call)
        assert outcome is not None  # noqa: S101 - the driver's side of the contract
        try:
            return read(call, outcome, now())
        except XpanderError as error:
            if not may_repeat(call.retry, error):
                raise
            delay = policy.delay(attempt, getattr(error, "retry_after", None), rng)
            if delay is None:
                raise
        yield Sleep(delay)


def read(call: Call[T], outcome: Reply | NoReply, now: datetime) -> T:
    """
    Make the result, or the error, out of what came back.

    :param call: the call that was sent.
    :param outcome: what came of it.
    :param now: the present time, for ``Retry-After`` dates.
    :raises XpanderAmbiguousSubmitError: an invoke that may have started a run: time-out after sending,
        broken connection, 5xx, or a success that cannot be read (contract section 7).
    :raises XpanderError: all else that is not a success.
    """
    if isinstance(outcome, NoReply):
        if outcome.sent and call.submission:
            raise ambiguous(call, f"{call.what}: {outcome.reason}")
        raise XpanderConnectionError(f"{call.what}: {outcome.reason}.")
    request_id = {name.lower(): value for name, value in outcome.headers.items()}.get("x-request-id")
    if not 200 <= outcome.status < 300:
        error = error_from_status(
            call.what,
            outcome.status,
            outcome.body,
            retry_after=retry_after_seconds(outcome.headers, now),
            request_id=request_id,
        )
        if call.submission and (outcome.status >= 500 or outcome.status == 408):
            raise ambiguous(call, str(error).rstrip("."), outcome.status, request_id) from error
        raise error
    if outcome.stream is not None:
        return outcome.stream  # type: ignore[no-any-return]
    try:
        return call.parse(json.loads(outcome.body))
    except (ValueError, TypeError, RecursionError) as error:
        problem = f"{call.what}: HTTP {outcome.status} with {_describe(outcome.body)}"
        if call.submission:
            raise ambiguous(call, problem, outcome.status, request_id) from error
        raise XpanderServiceError(
            f"{problem}. Is the connection's host the xpander.ai API, or a proxy before it?",
            status_code=outcome.status,
            request_id=request_id,
        ) from error


def may_repeat(retry: RetryClass, error: XpanderError) -> bool:
    """Whether the call may be made again after this error, as far as safety and sense go."""
    if isinstance(error, XpanderConnectionError | XpanderRateLimitError):
        return True  # an invoke that may have been sent is an XpanderAmbiguousSubmitError instead
    return (
        retry is RetryClass.SAFE
        and isinstance(error, XpanderServiceError)
        and (error.status_code is None or error.status_code < 300 or error.status_code in TRANSIENT_STATUSES)
    )


def ambiguous(
    call: Call[Any], problem: str, status_code: int | None = None, request_id: str | None = None
) -> XpanderAmbiguousSubmitError:
    """
    Make the error for an invoke of which nobody knows what came of it.

    :param call: the invoke.
    :param problem: what happened, as a sentence without its full stop.
    """
    sent = call.submission
    assert sent is not None  # noqa: S101 - only invokes come here
    sign = (
        f"title {sent.title!r}" if sent.title else f"id {sent.thread_id}" if sent.thread_id else "its input"
    )
    return XpanderAmbiguousSubmitError(
        f"{problem}. The run may have been started and may go on: look for {sign} among the tasks of "
        f"{sent.target_id} before starting another.",
        target_id=sent.target_id,
        title=sent.title,
        thread_id=sent.thread_id,
        status_code=status_code,
        request_id=request_id,
    )


def _describe(body: bytes) -> str:
    # Of JSON only the shape is told: the service echoes the tokens of a request (contract section 4).
    if not body.strip():
        return "an empty body"
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        text = error_text(body)
        if text.startswith("an HTML page"):
            return f"{text} instead of JSON"
        if body.lstrip()[:1] in (b"{", b"["):
            return f"a JSON body that is cut off or broken ({len(body)} bytes)"
        return f"a body that is not JSON: {printable(text, 200)}"
    shape = f"an object with the keys {', '.join(content)}" if isinstance(content, dict) else "no object"
    return f"JSON of another shape than the API's: {printable(shape, 200)}"
