"""
Runs of ten minutes under an enforced limit of 1,000 requests an hour, as fast as it lets.

So many slots (an Airflow pool) each submit a run, defer, and read its answer when the trigger has fired.
Submits and answers go over this process's governor, as the worker's hook sends them; waits over the trigger.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

from airflow_provider_xpander.api import clock
from benchmarks.contenders import xpander
from benchmarks.measures import quantile
from benchmarks.wait import ask

SLOTS = 75
"""What 1,000 requests an hour feed: 75 slots x 2 requests in 600 s and a little are some 850."""


async def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """
    Run for some hours of the fast clock and return what came of it.

    :param settings: of the measurement.
    """
    port, ca, speed = settings["port"], settings["ca"], settings["speed"]
    wait = xpander(port, ca, 30.0 / speed, speed=speed, origin=settings["origin"], limits=True)
    from airflow_provider_xpander.api.exchange import exchange, governed
    from airflow_provider_xpander.api.governor import governor_of
    from airflow_provider_xpander.api.models import InvokeRequest, Target
    from airflow_provider_xpander.api.retry import RetryPolicy
    from airflow_provider_xpander.api.routes import get_task, invoke_async
    from airflow_provider_xpander.triggers.shared_client import shared_client

    end = clock.CLOCK.time() + settings["hours"] * 3600
    read_at: list[tuple[float, float, float]] = []

    async def slot(number: int) -> None:
        async with shared_client("xpander_default") as client:
            await client.refresh(60.0)
            governor = governor_of(client.settings)
            while clock.CLOCK.time() < end:
                call = invoke_async(Target.agent("agent-1"), InvokeRequest.model_validate({"input": "hello"}))
                task = await client.run(governed(exchange(call, RetryPolicy()), governor, patience=7200))
                assert task.created_at is not None
                await wait(task.id, number, task.created_at.timestamp())
                noticed = clock.CLOCK.time()
                steps = governed(exchange(get_task(task.id), RetryPolicy()), governor, patience=7200)
                answer = await client.run(steps)
                assert answer.finished_at is not None
                ended = answer.finished_at.timestamp()
                read_at.append((clock.CLOCK.time(), noticed - ended, clock.CLOCK.time() - ended))

    began = clock.CLOCK.time()
    slots = [asyncio.create_task(slot(number)) for number in range(SLOTS)]
    await asyncio.wait(slots, timeout=settings["hours"] * 3600 / speed)
    stats = await asyncio.to_thread(ask, port, ca, "/_stats")
    problems = [task.exception() for task in slots if task.done() and not task.cancelled()]
    for task in slots:
        task.cancel()
    await asyncio.gather(*slots, return_exceptions=True)
    # The first hour begins with an empty window; what counts is the long run.
    steady = [entry for entry in read_at if entry[0] >= began + 3600]
    hours = settings["hours"] - 1
    return {
        "runs an hour": round(len(steady) / hours, 1),
        "noticed after, p50 / p95 / max s": [
            round(quantile([e[1] for e in steady], q), 1) for q in (0.5, 0.95, 1)
        ],
        "answer read after, p50 / p95 / max s": [
            round(quantile([e[2] for e in steady], q), 1) for q in (0.5, 0.95, 1)
        ],
        "refused": stats["refused"],
        "requests": stats["requests"],
        "hours": settings["hours"],
        "real seconds": round(time.time() - settings["origin"], 1),
        "problems": [str(problem) for problem in problems if problem][:3],
    }


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print("RESULT " + json.dumps(asyncio.run(measure(json.loads(sys.argv[1])))), flush=True)
