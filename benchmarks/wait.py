"""One contender in a process of its own: it waits for N runs for some time; the result is a line of JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import ssl
import sys
import time
import urllib.request
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.measures import Lag, memory, quantile


def ask(port: int, ca: str, path: str) -> Any:
    """
    Ask the server something that does not count.

    :param port: of the server, on 127.0.0.1.
    :param ca: path of the server's CA.
    :param path: path and query.
    """
    context = ssl.create_default_context(cafile=ca)
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
    )
    with opener.open(f"https://127.0.0.1:{port}{path}", timeout=60) as answer:
        return json.load(answer)


async def idle_cost() -> float:
    """Return the seconds of the processor that measuring takes by itself, a second."""
    began, cpu = time.monotonic(), time.process_time()
    await asyncio.sleep(6.0)
    return (time.process_time() - cpu) / (time.monotonic() - began)


async def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """
    Wait, and return what it took.

    :param settings: of the measurement.
    """
    port, ca, poll = settings["port"], settings["ca"], settings["poll"]
    speed, origin, seconds = settings["speed"], settings["origin"], settings["seconds"]
    name = settings["contender"]
    more = {"speed": speed, "origin": origin} if name == "xpander" else {}
    wait = CONTENDERS[name](port, ca, poll, **more)
    found: dict[str, float] = {}
    errors: list[str] = []

    async def one(number: int, run_id: str, created: float) -> None:
        try:
            await wait(run_id, number, created)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            found[run_id] = origin + (time.time() - origin) * speed

    # What is imported or built on first use belongs to nobody's waits.
    warm = [asyncio.create_task(one(0, "warm", origin)) for _ in range(2)]
    await asyncio.sleep(1.0)
    for task in warm:
        task.cancel()
    await asyncio.gather(*warm, return_exceptions=True)
    errors.clear()
    lag = Lag()
    idle = await idle_cost()
    runs = await asyncio.to_thread(ask, port, ca, "/_begin")
    mine = {run_id: times for run_id, times in runs.items() if run_id[0].isdigit()}
    before_requests = await asyncio.to_thread(ask, port, ca, "/_stats")
    before = memory()
    gc.freeze()  # a full collection over all objects of Airflow is nobody's doing
    await asyncio.sleep(0.1)
    lag.late.clear()
    began, cpu = time.monotonic(), time.process_time()
    tasks = []
    # As fast as a triggerer takes triggers in: fifty in a round of its loop.
    for number, (run_id, (created, _)) in enumerate(mine.items(), start=1):
        tasks.append(asyncio.create_task(one(number, run_id, created)))
        if number % 50 == 0:
            await asyncio.sleep(0.02)
    await asyncio.sleep(max(0.0, 1.5 * poll - (time.monotonic() - began)))
    measured = len(lag.late)
    held = memory() - before
    await asyncio.sleep(0.1)
    del lag.late[measured:]  # measuring the memory has held the loop
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))
    late = list(lag.late)
    cpu, took = time.process_time() - cpu, time.monotonic() - began
    end = origin + (time.time() - origin) * speed
    after_requests = await asyncio.to_thread(ask, port, ca, "/_stats")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    cpu -= took * (idle + await idle_cost()) / 2
    lag.stop()
    # Late is what was not found although it ended two intervals before the end of the measurement.
    delays, missed = [], 0
    for run_id, (_, ends) in mine.items():
        if run_id in found and ends <= end:
            delays.append((found[run_id] - ends) / speed / poll)
        elif ends < end - 2 * poll * speed:
            missed += 1
    asked = {
        key: after_requests["requests"].get(key, 0) - before_requests["requests"].get(key, 0)
        for key in ("get", "list")
    }
    return {
        "contender": settings["label"],
        "n": len(mine),
        "requests": sum(asked.values()),
        "pages": asked["list"],
        "handshakes": after_requests["handshakes"] - before_requests["handshakes"],
        "refused": after_requests["refused"],
        "cpu": cpu,
        "kib_each": held / len(mine) / 1024,
        "lag_ms": max(late) * 1000,
        "lag_p99_ms": quantile(late, 0.99) * 1000,
        "ended": len(delays),
        "missed": missed,
        "p50": quantile(delays, 0.5),
        "p95": quantile(delays, 0.95),
        "max": max(delays, default=float("nan")),
        "errors": len(errors),
        "error": errors[0][:200] if errors else None,
    }


def log_as_a_triggerer() -> None:
    """Let lines of triggers be written as in a triggerer: as JSON, one at a time."""
    from airflow.sdk.log import configure_logging

    logs = open(os.path.join(os.environ["AIRFLOW_HOME"], "triggerer.log"), "wb", buffering=0)  # noqa: SIM115
    configure_logging(json_output=True, output=logs, sending_to_supervisor=True)
    logging.disable(logging.CRITICAL)  # lines of HTTP libraries are nobody's waits


if __name__ == "__main__":
    log_as_a_triggerer()
    print("RESULT " + json.dumps(asyncio.run(measure(json.loads(sys.argv[1])))), flush=True)
