"""
Measures how long triggers hold their event loop at a time.

As a program it does so in a process in which nothing was used before, as in a triggerer that has just
started: what is imported or built on first use counts. It prints the result in seconds.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable

TICK = 0.002


async def longest_hold(work: Callable[[], Awaitable[object]]) -> float:
    """
    Return the longest time in seconds for which a coroutine that only ticks was kept waiting.

    Time in which this thread was ready, but the machine ran something else, is left out.
    """
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        last, last_queued = time.monotonic(), _queued()
        while True:
            await asyncio.sleep(TICK)
            now, queued = time.monotonic(), _queued()
            longest = max(longest, now - last - TICK - (queued - last_queued))
            last, last_queued = now, queued

    ticker = asyncio.ensure_future(tick())
    await asyncio.sleep(5 * TICK)
    try:
        await work()
        await asyncio.sleep(5 * TICK)
    finally:
        ticker.cancel()
    return longest


def _queued() -> float:
    """Return for how many seconds this thread has waited for a processor so far; 0 where nobody counts."""
    try:
        with open(f"/proc/self/task/{threading.get_native_id()}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


async def poll(task_ids: list[str], conn_id: str) -> list[object]:
    """Run a trigger for each task to its event."""
    from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

    async def wait_for(task_id: str) -> object:
        async for event in XpanderTaskTrigger(task_id, xpander_conn_id=conn_id, poll_interval=0.1).run():
            return event.payload
        return None

    return await asyncio.gather(*map(wait_for, task_ids))


async def _main(conn_id: str, task_ids: list[str]) -> None:
    events: list[object] = []

    async def work() -> None:
        events.extend(await poll(task_ids, conn_id))

    cold = await longest_hold(work)
    warm = await longest_hold(work)
    ends = {event["end"] if isinstance(event, dict) else event for event in events}
    print(f"RESULT {cold} {warm} {' '.join(map(str, ends))}")


if __name__ == "__main__":
    # What a triggerer has done before its first trigger runs: it has read it from the database, decrypted.
    from airflow.models.connection import Connection

    Connection(conn_id="loads-all-models")

    import airflow_provider_xpander.triggers.xpander  # noqa: F401

    logging.disable(logging.INFO)
    # A full collection over all objects of Airflow takes longer than any trigger may, and is not its doing.
    gc.collect()
    gc.freeze()
    asyncio.run(_main(sys.argv[1], sys.argv[2:]))
