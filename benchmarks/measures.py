"""Measures of a process that waits: time of the processor, memory, and how long its loop is held."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

TICK = 0.02


def memory() -> int:
    """Return the bytes of memory that this process has in use."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Lag:
    """
    How late a callback of the loop is that only ticks, from now on.

    Time in which the machine ran something else is left out. It is to take as little time as it can: what is
    measured beside it may take no more.
    """

    def __init__(self) -> None:
        self.late: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        self._last, self._queued = time.monotonic(), self._read()
        self._timer = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Tick no more."""
        self._timer.cancel()
        os.close(self._file)

    def _tick(self) -> None:
        now, queued = time.monotonic(), self._read()
        self.late.append(max(0.0, now - self._last - TICK - (queued - self._queued)))
        self._last, self._queued = now, queued
        self._timer = self._loop.call_later(TICK, self._tick)

    def _read(self) -> float:
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9


def quantile(values: list[float], share: float) -> float:
    """
    Return the value below which such a share lies.

    :param values: the values.
    :param share: from 0 to 1.
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
