"""Limits of requests: so many in any minute and in any hour, and what the headers say about them."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

from airflow_provider_xpander.emulator.settings import Settings


@dataclass(frozen=True)
class Standing:
    """
    How a request stands with the limit that is nearest.

    :param limit: requests that are allowed in its window.
    :param left: requests that it still has room for.
    :param reset: when it has room for one more, in epoch seconds of the emulator's clock.
    :param wait: seconds after which a refused request may come again; None if it was not refused.
    """

    limit: int
    left: int
    reset: float
    wait: float | None

    def headers(self) -> dict[str, str]:
        """Return what every answer says about it, in whole seconds (contract section 7)."""
        said = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.left),
            "X-RateLimit-Reset": str(math.ceil(self.reset)),
        }
        return said if self.wait is None else {"Retry-After": str(math.ceil(self.wait)), **said}


class _Window:
    """Moments of the requests that were let through in the last so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.moments: deque[float] = deque()

    def trim(self, now: float) -> None:
        while self.moments and self.moments[0] + self.seconds <= now:
            self.moments.popleft()

    def standing(self, limit: int, now: float, *, refused: bool) -> Standing:
        # A limit that was lowered meanwhile has room once more than one has left.
        over = max(0, len(self.moments) - limit)
        reset = self.moments[over] + self.seconds
        return Standing(limit, max(0, limit - len(self.moments)), reset, reset - now if refused else None)


class RequestLimits:
    """Count of the requests in sliding windows; thread-safe. It begins when a limit is set."""

    def __init__(self) -> None:
        self._minute = _Window(60.0)
        self._hour = _Window(3600.0)
        self._lock = threading.Lock()

    def take(self, settings: Settings, now: float) -> Standing | None:
        """
        Let a request through and count it, or refuse it; None if there is no limit.

        :param settings: they have the limits.
        :param now: epoch seconds of the emulator's clock.
        """
        both = ((self._minute, settings.requests_per_minute), (self._hour, settings.requests_per_hour))
        limited = [(window, limit) for window, limit in both if limit]
        if not limited:
            return None
        with self._lock:
            for window, _ in limited:
                window.trim(now)
            full = [(window, limit) for window, limit in limited if len(window.moments) >= limit]
            if not full:
                for window, _ in limited:
                    window.moments.append(now)
            standings = [window.standing(limit, now, refused=bool(full)) for window, limit in full or limited]
        return min(standings, key=lambda one: (one.left, -one.reset))

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._minute.moments.clear()
            self._hour.moments.clear()
