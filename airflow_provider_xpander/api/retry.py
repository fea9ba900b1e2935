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


ONCE = RetryPolicy(attempts=1)
"""No repetition: for callers that come back by themselves, such as a poll."""


def asked_seconds(headers: Mapping[str, str], now: datetime, *, refused: bool = False) -> float | None:
    """
    Read how long the server asks to wait, however absurd that is.

    ``Retry-After`` in seconds or as an HTTP date; else, where no request is left, ``X-RateLimit-Reset``
    in Unix seconds (contract section 7).

    :param headers: response headers; the names in any case.
    :param now: the present time, aware.
    :param refused: whether the reply is a 429, which means that none is left whatever is said.
    :return: seconds, not negative; None if nothing usable was said.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    value = lower.get("retry-after", "").strip()
    if value:
        return _not_negative(_seconds_or_date(value, now))
    try:
        reset = float(lower["x-ratelimit-reset"])
        remaining = float(lower.get("x-ratelimit-remaining", "0"))
    except (KeyError, ValueError):
        return None
    return None if remaining > 0 and not refused else _not_negative(reset - now.timestamp())


def _seconds_or_date(value: str, now: datetime) -> float | None:
    try:
        return float(value)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    except (ValueError, IndexError, TypeError, OverflowError):
        return None


def _not_negative(seconds: float | None) -> float | None:
    return max(0.0, seconds) if seconds is not None and math.isfinite(seconds) else None


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    Tell how long to wait because the server asks for it: an hour at the most.

    :param headers: response headers; the names in any case.
    :param now: the present time, aware.
    :return: seconds, not negative; None if nothing usable was said.
    """
    asked = asked_seconds(headers, now)
    return None if asked is None else min(asked, LONGEST_WAIT)
