"""Wait for something, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class WaitTimeout(Exception):
    """What was waited for did not happen within the limit."""


def wait_for(
    look: Callable[[], T | None],
    *,
    limit: float,
    what: str,
    interval: float = 0.5,
    explain: Callable[[], str] = lambda: "",
) -> T:
    """
    Call ``look`` until it returns something true, and return that.

    :param look: is called again and again.
    :param limit: seconds after which ``WaitTimeout`` is raised
    :param what: ends the sentence "waited 30 s for ..."
    :param interval: seconds between two looks
    :param explain: called when the limit is reached; its text (a log, a state) is added to the error
    """
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise WaitTimeout(f"waited {limit:g} s for {what}\n{explain()}".rstrip())
        time.sleep(interval)
