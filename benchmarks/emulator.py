"""The emulator's own costs: start, requests a second, memory at 1,000 runs and streams, stop."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx

from airflow_provider_xpander.emulator import DEFAULT_API_KEY

RUNS = 1_000
BODY = {"input": {"text": "take 3600"}}
MIB = 1024 * 1024


def memory(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096 / MIB


async def rate(pid: int, send: Callable[[], Awaitable[httpx.Response]], count: int) -> str:
    """Return how many requests a second are answered, and what each costs the emulator."""
    slots = asyncio.Semaphore(20)

    async def one() -> None:
        async with slots:
            (await send()).raise_for_status()

    started, used = time.monotonic(), cpu(pid)
    await asyncio.gather(*(one() for _ in range(count)))
    each = (cpu(pid) - used) / count * 1000
    return f"{count / (time.monotonic() - started):.0f} a second, {each:.1f} ms of processor each"


async def measure(url: str, pid: int) -> None:
    """Print what requests and streams cost."""
    limits = httpx.Limits(max_connections=RUNS + 100, max_keepalive_connections=100)
    headers = {"x-api-key": DEFAULT_API_KEY}
    print(f"memory at the start: {memory(pid):.0f} MiB")
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=60, trust_env=False
    ) as client:

        def start() -> Awaitable[httpx.Response]:
            return client.post("/v1/agents/slow/invoke/async", json=BODY)

        print(f"submits: {await rate(pid, start, RUNS)}")
        print(f"memory with {RUNS} runs: {memory(pid):.0f} MiB")
        task_id = (await client.get("/v1/tasks")).json()["items"][0]["id"]
        print(f"reads of a task: {await rate(pid, lambda: client.get(f'/v1/tasks/{task_id}'), RUNS)}")
        path = "/v1/tasks?agent_id=slow&per_page=50"
        print(f"pages of a list of {RUNS}: {await rate(pid, lambda: client.get(path), RUNS // 5)}")
        opened = asyncio.Semaphore(0)

        async def follow() -> None:
            async with client.stream("POST", "/v1/agents/slow/invoke/stream", json=BODY) as answer:
                opened.release()
                await answer.aread()

        started, used = time.monotonic(), cpu(pid)
        streams = [asyncio.create_task(follow()) for _ in range(RUNS)]
        for _ in streams:
            await opened.acquire()
        took, each = time.monotonic() - started, (cpu(pid) - used) / RUNS * 1000
        print(f"{RUNS} streams open after {took:.1f} s, {each:.1f} ms of processor each")
        print(f"memory with {2 * RUNS} runs and {RUNS} streams: {memory(pid):.0f} MiB")
        before = cpu(pid)
        await asyncio.sleep(5)
        print(f"processor while they wait: {(cpu(pid) - before) / 5:.1%}")
        started = time.monotonic()
        await client.post("/_emulator/clock", json={"advance": 3600})
        await asyncio.gather(*streams)
        print(f"all ended {time.monotonic() - started:.1f} s after their time had come")


def cpu(pid: int) -> float:
    """Return the seconds of processor that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """Start an emulator, measure, and stop it."""
    started = time.monotonic()
    command = [sys.executable, "-m", "airflow_provider_xpander.emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        print(f"start: {time.monotonic() - started:.2f} s")
        try:
            asyncio.run(measure(url, process.pid))
            started = time.monotonic()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        print(f"SIGTERM: {time.monotonic() - started:.2f} s")


if __name__ == "__main__":
    main()
