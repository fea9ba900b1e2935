"""Waiting inside the server, in a way that never keeps the server from closing."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from airflow_provider_xpander.emulator.state import Emulator

_TICK_SECONDS = 0.02
T = TypeVar("T")


class ServerClosing(Exception):
    """The server is being stopped and waits for nothing any more."""


async def wait(emulator: Emulator, seconds: float | None, until: Callable[[], bool] = lambda: False) -> bool:
    """
    Wait until a condition holds, but no longer than some seconds or until the server closes.

    The real time counts here and not the emulator's clock, whose time may stand still.

    :param emulator: what closes.
    :param seconds: how long to wait at most; None is no limit.
    :param until: the condition.
    :return: whether the condition holds.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while not until():
        left = _TICK_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0 or emulator.closing:
            return False
        # The condition may come true by a call of another thread, so it has to be looked at.
        await asyncio.sleep(min(left, _TICK_SECONDS))
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

    def act() -> None:
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=act, name="xpander-emulator-agent", daemon=True).start()
    if not await wait(emulator, None, done.done):
        raise ServerClosing("The emulator is being stopped")
    return done.result()
