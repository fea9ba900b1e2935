"""
Conversations with the service, without carrying them out.

A conversation with the service is a generator: it yields what to do next (:class:`Send`, :class:`Sleep`,
:class:`Refresh`), is sent what came of it, and returns the result. The two drivers, one over requests and
one over httpx, do what it yields; what to send, when to repeat and what a reply means is decided here.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import (
    LONGEST_WAIT,
    XpanderAmbiguousSubmitError,
    XpanderConnectionError,
    XpanderError,
    XpanderRateLimitError,
    XpanderServiceError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.network import proxy_of
from airflow_provider_xpander.api.refusals import describe_body, error_from_status
from airflow_provider_xpander.api.retry import (
    RetryClass,
    RetryPolicy,
    asked_seconds,
)
from airflow_provider_xpander.api.routes import Call, Priority
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.text import printable, sentence

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 60.0
"""The longest that one request of a worker waits for its turn, in seconds."""
WORTH_A_LINE = 5.0
"""Seconds of a wait for a turn from which on it is told."""


@dataclass(frozen=True)
class Reply:
    """
    A reply, of any status.

    :param status: the HTTP status.
    :param headers: its headers; the names in any case.
    :param body: the whole body.
    :param stream: the driver's open body of a stream, instead of ``body``.
    :param settings: those that the request was sent with, for messages.
    :param parsed: gives, or raises, what came of parsing the body, where the driver has done so already.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    stream: Any = None
    settings: Settings | None = field(default=None, repr=False)
    parsed: Callable[[], Any] | None = field(default=None, repr=False)

    def asked(self, call: Call[Any]) -> str:
        """
        Name the connection, the address that was asked, and the proxy if there is one.

        :param call: the call that this is the reply to.
        """
        if self.settings is None:
            return "the connection"
        proxy = proxy_of(self.settings)
        way = f" through {proxy}" if proxy else ""
        return f"{self.settings.name} ({call.method} {self.settings.base_url}{call.path}{way})"


@dataclass(frozen=True)
class NoReply:
    """
    No whole reply came.

    :param reason: what happened, in words.
    :param sent: whether the request may have reached the server.
    """

    reason: str
    sent: bool


@dataclass(frozen=True)
class Send:
    """Send this call; the reply to it is a :class:`Reply` or a :class:`NoReply`."""

    call: Call[Any]


@dataclass(frozen=True)
class Sleep:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Refresh:
    """
    Read the credentials again: those in use were refused.

    The reply to it is whether the key is another now, or a :class:`NoReply` where a failure to read it is to
    be waited out like an outage.
    """


@dataclass(frozen=True)
class Held:
    """
    A request was not sent, because the service refuses all.

    :param seconds: for how long.
    """

    seconds: float


class TooLong(XpanderRateLimitError):
    """A wait that is longer than a driver may sleep: what comes after it is not sent."""


Step: TypeAlias = Send | Sleep | Refresh
Outcome: TypeAlias = Reply | NoReply | Held | bool | None
Steps: TypeAlias = Generator[Step, Outcome, T]


def exchange(
    call: Call[T],
    policy: RetryPolicy,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    rng: Callable[[], float] = random.random,
) -> Steps[T]:
    """
    Make a call, repeated where that is safe, and once more if the key that was refused has been replaced.

    :param call: the call.
    :param policy: how often and for how long.
    :param now: the clock, for ``Retry-After`` dates.
    :param rng: gives a float in [0, 1) for the jitter.
    :raises XpanderError: the last failure, as soon as a repetition is unsafe, pointless or too late.
    """
    attempt, refreshed = 0, False
    while True:
        outcome = yield Send(call)
        if isinstance(outcome, Reply) and outcome.status == 401 and not refreshed:
            refreshed = True
            found = yield Refresh()
            if found is True:
                continue  # what was refused has started nothing
            outcome = found or outcome
        assert isinstance(outcome, Reply | NoReply | Held)  # noqa: S101 - the driver's side of the contract
        attempt += 1
        try:
            return read(call, outcome, now())
        except XpanderError as error:
            if not may_repeat(call.retry, error):
                raise
            delay = policy.delay(attempt, getattr(error, "retry_after", None), rng)
            if delay is None:
                raise
        yield Sleep(delay)


def read(call: Call[T], outcome: Reply | NoReply | Held, now: datetime) -> T:
    """
    Make the result, or the error, out of what came back.

    :param call: the call that was sent.
    :param outcome: what came of it.
    :param now: the present time, for ``Retry-After`` dates.
    :raises XpanderAmbiguousSubmitError: an invoke that may have started a run: time-out after sending,
        broken connection, 5xx, or a success that cannot be read (contract section 7).
    :raises XpanderError: all else that is not a success.
    """
    if isinstance(outcome, Held):
        raise TooLong(
            f"{call.what}: not sent, because xpander.ai refuses requests with this key for another "
            f"{outcome.seconds:.0f} s, as it has told this process or another one on this host.",
            retry_after=outcome.seconds,
        )
    if isinstance(outcome, NoReply):
        if outcome.sent and call.submission:
            raise ambiguous(call, f"{call.what}: {outcome.reason}")
        raise XpanderConnectionError(sentence(f"{call.what}: {outcome.reason}"))
    request_id = {name.lower(): value for name, value in outcome.headers.items()}.get("x-request-id")
    if not 200 <= outcome.status < 300:
        asked = asked_seconds(outcome.headers, now, refused=outcome.status == 429)
        if asked is not None and asked > LONGEST_WAIT:
            log.warning("%s: the service asks to wait %.0f s; an hour is the most", call.what, asked)
        error = error_from_status(
            call.what,
            outcome.status,
            outcome.body,
            retry_after=asked,
            request_id=request_id,
            submit=call.submission is not None,
            at=outcome.asked(call),
        )
        if call.submission and (outcome.status >= 500 or outcome.status == 408):
            raise ambiguous(call, str(error).rstrip("."), outcome.status, request_id)
        raise error
    if outcome.stream is not None:
        return outcome.stream  # type: ignore[no-any-return]
    try:
        if outcome.parsed is not None:
            return outcome.parsed()  # type: ignore[no-any-return]
        return call.parse(json.loads(outcome.body))
    except (ValueError, TypeError, RecursionError):
        # Not as its cause: it holds the body, and the service echoes the tokens of a request in it.
        problem = f"{call.what}: HTTP {outcome.status} with {describe_body(outcome.body)}"
        if call.submission:
            raise ambiguous(call, problem, outcome.status, request_id) from None
        raise XpanderServiceError(
            f"{problem}. That is no answer of the xpander.ai API: a proxy or gateway in front of it has "
            f"answered, or the base URL of {outcome.asked(call)} leads elsewhere.",
            status_code=outcome.status,
            request_id=request_id,
        ) from None


def may_repeat(retry: RetryClass, error: XpanderError) -> bool:
    """
    Tell whether a call may be made again after an error, as far as safety and sense go.

    :param retry: what a repetition of the call would do.
    :param error: what came of it. An invoke that may have been sent is an
        :class:`~airflow_provider_xpander.api.errors.XpanderAmbiguousSubmitError`, which is never repeated.
    """
    if isinstance(error, XpanderConnectionError | XpanderRateLimitError):
        return True
    return retry is RetryClass.SAFE and isinstance(error, XpanderServiceError) and error.may_pass


def ambiguous(
    call: Call[Any], problem: str, status_code: int | None = None, request_id: str | None = None
) -> XpanderAmbiguousSubmitError:
    """
    Make the error for an invoke of which nobody knows what came of it.

    :param call: the invoke.
    :param problem: what happened, as a sentence without its full stop.
    :param status_code: the HTTP status, if there was a reply.
    :param request_id: the service's id of the request, if it sent one.
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


def not_sendable(call: Call[Any], error: Exception) -> XpanderValidationError:
    """
    Make the error for a request that this machine cannot even put into words: nothing was sent.

    :param call: the call.
    :param error: of the library.
    """
    return XpanderValidationError(
        f"{call.what}: nothing was sent, because the request cannot be written down "
        f"({printable(error, 200) or type(error).__name__}). Check host, organization_id, proxy and "
        f"verify of the connection."
    )


def governed(
    steps: Steps[T], governor: Governor, *, patience: float = PATIENCE, counted: int = 0
) -> Steps[T]:
    """
    Carry out a conversation within the budget: each request waits for its turn, and each reply is heard.

    :param steps: the conversation.
    :param governor: the budget.
    :param patience: seconds that one request waits at the most; then the service may decide, unless it has
        said that it refuses all for longer.
    :param counted: how many of its first requests have waited and were counted already.
    """
    outcome: Outcome = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Send) and counted:
            counted -= 1
        elif isinstance(step, Send) and (outcome := (yield from _turn(step.call, governor, patience))):
            continue
        outcome = yield step
        if isinstance(outcome, Reply):
            date = datetime.fromtimestamp(clock.CLOCK.time(), UTC)
            is_submit = isinstance(step, Send) and step.call.submission is not None
            governor.heard(outcome, clock.CLOCK.steady(), date, submit=is_submit)


def _turn(call: Call[Any], governor: Governor, patience: float) -> Steps[Held | None]:
    """
    Wait until a request may be sent and count it, unless the service refuses all for longer than that.

    A stop is sent all the same: a run that goes on costs more than a refusal.
    """
    left = patience
    while left > 0 and (delay := governor.delay(call.priority, clock.CLOCK.steady())) > 0:
        held = governor.held(clock.CLOCK.steady())
        if held > patience and call.priority is not Priority.STOP:
            return Held(held)
        if left == patience and delay > WORTH_A_LINE:
            log.info(
                "%s waits %.0f s for its turn: the limits of requests are used up",
                call.what,
                min(delay, left),
            )
        yield Sleep(min(delay, left))
        left -= delay
    governor.sent(call.priority, clock.CLOCK.steady())
    return None
