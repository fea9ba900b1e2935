"""Waiting inside the server, in a way that never keeps the server from closing."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Hashable
from typing import TypeVar

from airflow_provider_xpander.emulator.state import Emulator

# Nobody is woken by another clock than the real one, or by a change behind the emulator's back.
_TICK_SECONDS = 0.02
_GLANCE_SECONDS = 1.0
T = TypeVar("T")


class ServerClosing(Exception):
    """The server is being stopped and waits for nothing any more."""


def _never() -> None:
    return None


async def wait(
    emulator: Emulator,
    seconds: float | None,
    until: Callable[[], bool] = lambda: False,
    *,
    key: Hashable = None,
    next_at: Callable[[], float | None] = _never,
) -> bool:
    """
    Wait until a condition holds, but no longer than some seconds or until the server closes.

    :param emulator: what closes.
    :param seconds: how long to wait at most, in real time and not the emulator's; None is no limit.
    :param until: the condition.
    :param key: what the condition is about; whoever changes that wakes the wait.
    :param next_at: when the condition may come true by itself, in the emulator's seconds; None is never.
    :return: whether the condition holds.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while not until():
        left = _GLANCE_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0 or emulator.closing:
            return False
        at = next_at()
        if not emulator.keeps_real_time:
            left = min(left, _TICK_SECONDS)
        elif at is not None:
            # Timers may be early by some of their resolution.
            left = min(left, max(at - emulator.now(), 0.0) + 0.001)
        await emulator.waiters.wait(key, min(left, _GLANCE_SECONDS), lambda: until() or emulator.closing)
    return True


async def in_thread(emulator: Emulator, work: Callable[[], T]) -> T:
    """
    Do work that may block, in a thread that nobody waits for when the server closes.

    :param emulator: what closes.
    :param work: what to do.
    :return: what it returns.
    :raises ServerClosing: the server closes first.
    """
    done: concurrent.futures.Future[T] = concurrent.futures.Future()
    done.add_done_callback(lambda _: emulator.waiters.notify(done))

    def act() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # whatever it is, it is raised where the result is awaited
            done.set_exception(error)

    threading.Thread(target=act, name="xpander-emulator-agent", daemon=True).start()
    if not await wait(emulator, None, done.done, key=done):
        raise ServerClosing("The emulator is being stopped")
    return done.result()
