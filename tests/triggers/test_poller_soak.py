"""Two thousand waits and all that can happen to them, in a time that goes faster."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest
from airflow_side import Service

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.emulator import EmulatorServer, Fault, Settings
from airflow_provider_xpander.triggers import poller as poller_module
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

SPEED = 20.0
WAITS = 2000
POLL = 30.0
LONGEST = 400.0
"""Seconds that a run takes at the most; all times are of the fast clock."""
BOUND = 600.0
"""
Seconds after its end within which each run has to be noticed. On an idle machine it is the outage and some
intervals; a run that the lists have lost is looked at by itself after hours only.
"""


@pytest.fixture
def fast(xpander_server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Service:
    """An emulator and a connection in a time that is twenty times as fast."""
    fast_clock = clock.Clock(SPEED)
    monkeypatch.setattr(clock, "CLOCK", fast_clock)
    governor_module._governors.clear()
    settings = Settings(run_seconds=60, not_found_lag_seconds=10, list_lag_seconds=5)
    xpander_server.emulator.reset(settings)
    monkeypatch.setattr(xpander_server.emulator, "clock", fast_clock.time)
    service = Service(xpander_server, monkeypatch.setenv)
    service.connect(extra={"requests_per_minute": 0, "requests_per_hour": 0})
    return service


@pytest.mark.timeout(120)
@pytest.mark.parametrize("order", ["updated", "none"])
async def test_every_wait_gets_its_one_event_in_time(order: str, fast: Service) -> None:
    fast.configure({"list_order": order})
    rng = random.Random(4)
    ended: dict[str, float] = {}
    events: dict[str, list[dict[str, Any]]] = {}
    noticed: dict[str, float] = {}
    agents = ["slow"] * 8 + ["echo", "failing"]

    async def wait(task_id: str, agent_id: str, deadline: float | None) -> None:
        created = fast.task(task_id).created
        trigger = XpanderTaskTrigger(
            task_id, agent_id, poll_interval=POLL, deadline=deadline, created=created
        )
        async for event in trigger.run():
            noticed[task_id] = clock.CLOCK.time()
            events.setdefault(task_id, []).append(event.payload)

    started = clock.CLOCK.time()
    tasks, late, cancelled = [], set(), []
    for index in range(WAITS):
        agent_id = rng.choice(agents)
        seconds = rng.uniform(20, LONGEST)
        task_id = fast.start(agent_id, f"take {seconds:.1f}" if agent_id == "slow" else "hello")
        if index % 20 == 0:
            late.add(task_id)
        deadline = time.time() + clock.CLOCK.real(15.0) if task_id in late else None
        task = asyncio.create_task(wait(task_id, agent_id, deadline))
        tasks.append(task)
        if index % 50 == 1:
            cancelled.append((task_id, task))
        if index % 50 == 0:
            await asyncio.sleep(0.01)

    async def trouble() -> None:
        """Stops, bursts of 429, failing lists and an outage of half a minute."""
        emulator = fast.server.emulator
        await asyncio.sleep(clock.CLOCK.real(40))
        for task_id, task in cancelled:
            task.cancel()
            emulator.stop(task_id)
        for task_id in rng.sample(list(emulator.tasks), 100):
            emulator.stop(task_id)
        fast.add_fault(Fault.throttled(retry_after=5, times=6))
        await asyncio.sleep(clock.CLOCK.real(60))
        fast.add_fault(Fault.truncated(path="/v1/tasks$", times=2))
        await asyncio.sleep(clock.CLOCK.real(30))
        await asyncio.to_thread(fast.server.stop)
        await asyncio.sleep(clock.CLOCK.real(30))
        await asyncio.to_thread(fast.server.start)
        await asyncio.sleep(clock.CLOCK.real(20))
        fast.add_fault(Fault.throttled(times=4))

    troubling = asyncio.create_task(trouble())
    async with asyncio.timeout(100):
        await asyncio.gather(*tasks, return_exceptions=True)
        await troubling
    now = clock.CLOCK.time()
    for task_id, task in fast.server.emulator.tasks.items():
        end = task.last.at(now).finished_at
        if end is not None:
            ended[task_id] = end
    gone = {task_id for task_id, _ in cancelled}
    waited = set(fast.server.emulator.tasks) - gone
    assert {task_id: got for task_id, got in events.items() if len(got) != 1} == {}
    assert waited <= events.keys(), "every wait has its event"
    for task_id in waited - late:
        assert events[task_id][0]["end"] == "finished", events[task_id]
        assert events[task_id][0]["status"] == fast.status(task_id)
    delays = sorted(noticed[task_id] - ended[task_id] for task_id in waited - late)
    assert delays[0] > -1.0
    assert delays[-1] < BOUND, delays[-5:]
    for task_id in late:
        if events[task_id][0]["end"] == "timeout":
            assert noticed[task_id] - started < 15.0 + BOUND
    assert not poller_module._pollers
    requests = len(fast.requests("GET"))
    print(f"{requests} requests, delays p50 {delays[len(delays) // 2]:.0f} s, max {delays[-1]:.0f} s")
    one_by_one = sum(ended[task_id] - started for task_id in waited - late) / POLL
    assert requests < 0.5 * one_by_one
