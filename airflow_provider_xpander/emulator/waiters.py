"""The waits inside the server, each woken by what it waits for, so that a thousand of them cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Hashable

_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Waiters:
    """Who waits for what; may be used from any thread."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[_Waiter]] = {}
        self._lock = threading.Lock()

    def notify(self, key: Hashable) -> None:
        """
        Wake those who wait for something.

        :param key: what has changed, the id of a task for example.
        """
        with self._lock:
            waiting = self._waiting.pop(key, set())
        _wake(waiting)

    def notify_all(self) -> None:
        """Wake everybody."""
        with self._lock:
            waiting = {waiter for waiters in self._waiting.values() for waiter in waiters}
            self._waiting.clear()
        _wake(waiting)

    async def wait(self, key: Hashable, seconds: float, unless: Callable[[], bool]) -> None:
        """
        Wait to be woken.

        :param key: what is waited for.
        :param seconds: for so long at most.
        :param unless: do not wait if this holds already. It is asked when a change cannot be missed any more.
        """
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        waiter = (loop, woken)
        with self._lock:
            self._waiting.setdefault(key, set()).add(waiter)
        timer = loop.call_later(seconds, _settle, woken)
        try:
            if not unless():
                await woken
        finally:
            timer.cancel()
            with self._lock:
                waiters = self._waiting.get(key, set())
                waiters.discard(waiter)
                if not waiters:
                    self._waiting.pop(key, None)


def _wake(waiting: set[_Waiter]) -> None:
    for loop, woken in waiting:
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, woken)


def _settle(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
