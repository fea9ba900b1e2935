"""What is measured of a process that waits: time of the processor, memory, and how long its loop is held."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

TICK = 0.01


def memory() -> int:
    """Return the bytes of memory that this process has in use."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _queued() -> float:
    with open(f"/proc/self/task/{threading.get_native_id()}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9


class Lag:
    """How late a coroutine is that only ticks; time in which the machine ran something else is left out."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def watch(self) -> None:
        """Tick until cancelled."""
        last, queued = time.monotonic(), _queued()
        while True:
            await asyncio.sleep(TICK)
            now, more = time.monotonic(), _queued()
            self.late.append(max(0.0, now - last - TICK - (more - queued)))
            last, queued = now, more

    def longest(self) -> float:
        """Return the longest in seconds."""
        return max(self.late, default=0.0)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which such a share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
