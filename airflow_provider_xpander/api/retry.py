"""Rules for repeating a call: how often, and how long to wait before it, by backoff or as the server asks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from airflow_provider_xpander.api.errors import LONGEST_WAIT


class RetryClass(Enum):
    """What a repetition of the call would do on the server."""

    SAFE = "safe"
    """Reads, and the stop, which is idempotent (contract 2.6): repeat at will."""

    SUBMIT = "submit"
    """Starts a run: repeat only if the first try surely started none (contract section 7)."""


@dataclass(frozen=True)
class RetryPolicy:
    """
    How patient one call is.

    :param attempts: how often the call is made at the most.
    :param base: seconds before the second attempt; doubled for each further one.
    :param cap: the longest wait in seconds that the backoff grows to.
    :param patience: the longest ``Retry-After`` in seconds that is slept; a longer one is raised.
    """

    attempts: int = 4
    base: float = 0.5
    cap: float = 8.0
    patience: float = 60.0

    def delay(
        self, attempt: int, retry_after: float | None, rng: Callable[[], float] = random.random
    ) -> float | None:
        """
        Tell how many seconds to wait after a failed attempt, or None to give up.

        :param attempt: how many attempts have been made, from 1.
        :param retry_after: seconds that the server asked for, or None.
        :param rng: gives a float in [0, 1).
        """
        if attempt >= self.attempts:
            return None
        if retry_after is not None and retry_after > self.patience:
            return None
        backoff: float = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64)) * (1 - 0.25 * rng())
        return max(backoff, retry_after or 0.0)


FIRST_MOMENT = 1e9
"""What is less than that is no moment in Unix seconds (of 2001), but a number of seconds."""
ONCE = RetryPolicy(attempts=1)
"""No repetition: for callers that come back by themselves, such as a poll."""


def asked_seconds(headers: Mapping[str, str], now: datetime, *, refused: bool = False) -> float | None:
    """
    Read how long the server asks to wait, however absurd that is.

    ``Retry-After`` in seconds or as a date, or ``Retry-After-Ms``; else, where no request is left,
    ``X-RateLimit-Reset`` or ``RateLimit-Reset`` in Unix seconds, in seconds from now, or as a date. The
    contract (section 7) has the first of each; gateways in front of such services send the others.

    :param headers: response headers; the names in any case.
    :param now: the present time, aware.
    :param refused: whether the reply is a 429, which means that none is left whatever is said.
    :return: seconds, not negative; None if nothing usable was said.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    after, ms = _seconds_or_date(lower.get("retry-after"), now), _number(lower.get("retry-after-ms"))
    if after is None and ms is not None:
        after = ms / 1000
    if after is not None:
        return after
    for prefix in ("x-ratelimit", "ratelimit"):
        reset = reset_seconds(lower.get(f"{prefix}-reset"), now)
        if reset is not None and (refused or _is_none_left(lower.get(f"{prefix}-remaining", "0"))):
            return max(0.0, reset)
    return None


def _is_none_left(remaining: str) -> bool:
    try:
        return not float(remaining) > 0
    except ValueError:
        return False


def reset_seconds(value: str | None, now: datetime) -> float | None:
    """
    Return the seconds up to the reset of a limit, negative if it has passed; None if nothing usable was said.

    :param value: of the header: Unix seconds, seconds from now, or a date.
    :param now: the present time, aware.
    """
    number = _number(value)
    if number is None:
        return _date_seconds(value or "", now)
    return number if number < FIRST_MOMENT else number - now.timestamp()


def _seconds_or_date(value: str | None, now: datetime) -> float | None:
    found = _number(value)
    if found is None:
        found = _date_seconds(value or "", now)
    return None if found is None else max(0.0, found)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _date_seconds(value: str, now: datetime) -> float | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = read(value)
            return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
        except (ValueError, IndexError, TypeError, OverflowError):
            continue
    return None


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    Tell how long to wait because the server asks for it: an hour at the most.

    :param headers: response headers; the names in any case.
    :param now: the present time, aware.
    :return: seconds, not negative; None if nothing usable was said.
    """
    asked = asked_seconds(headers, now)
    return None if asked is None else min(asked, LONGEST_WAIT)
