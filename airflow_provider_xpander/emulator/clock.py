"""The emulator's time: a function that gives epoch seconds, so that tests can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]


class ManualClock:
    """
    A clock that stands still until it is told to advance.

    :param now: first reading, in epoch seconds.
    """

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time in epoch seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """
        Move the time forward.

        :param seconds: by how much.
        """
        self.now += seconds


def timestamp(epoch: float | None) -> str | None:
    """
    Write epoch seconds as the service does: UTC, six fractional digits, ``Z`` (contract section 4).

    :param epoch: seconds; None stays None.
    """
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
