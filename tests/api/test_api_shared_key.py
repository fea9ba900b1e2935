"""
Processes that share one key: a mass clear and an outage under the published limits, in simulated time.

Two triggerers stop the runs of all tasks, sixteen slots of workers start them anew, and the service is away
for half a minute. What is refused is what all of them together have sent above the limits: processes of one
host know of each other, those of other hosts only by what is refused.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import (
    NoReply,
    Outcome,
    Reply,
    Send,
    Sleep,
    Step,
    exchange,
    governed,
)
from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.host_budget import HostBudget
from airflow_provider_xpander.api.models import InvokeRequest, Target
from airflow_provider_xpander.api.retry import ONCE, RetryPolicy
from airflow_provider_xpander.api.routes import as_poll, get_task, invoke_async, list_tasks, stop_task

PER_MINUTE, PER_HOUR = 100, 1000
LATENCY = 0.2
TRIGGERERS, SLOTS = 2, 16
STOPS_AT_ONCE = 8
LAST_STOP = RetryPolicy(attempts=1000, cap=30.0, patience=3600.0)
AWAY = (20.0, 50.0)
RETRY_DELAY = 300.0
TASK = {"id": "t", "agent_id": "a", "status": "stopped", "created_at": "2026-11-26T00:00:00Z"}
BODY = json.dumps(TASK | {"items": [], "total": 0, "page": 1, "per_page": 50, "total_pages": 1}).encode()


@dataclass
class Simulation:
    """The service, its limits, and all processes; time goes by when nobody has anything to do."""

    now: float = 0.0
    accepted: int = 0
    refused: int = 0
    _times: deque[float] = field(default_factory=deque)
    _turns: list[tuple[float, int, Any, Outcome]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)

    def time(self) -> float:
        return 1.8e9 + self.now

    def steady(self) -> float:
        return self.now

    def real(self, seconds: float) -> float:
        return seconds

    def spawn(self, process: Generator[Step, Outcome, None], delay: float = 0.0) -> None:
        heapq.heappush(self._turns, (self.now + delay, next(self._order), process, None))

    def run(self, until: float) -> None:
        while self._turns and self._turns[0][0] < until:
            self.now, _, process, outcome = heapq.heappop(self._turns)
            try:
                step = process.send(outcome)
            except StopIteration:
                continue
            delay, found = (step.seconds, None) if isinstance(step, Sleep) else (LATENCY, None)
            if isinstance(step, Send):
                found = self._reply()
            heapq.heappush(self._turns, (self.now + delay, next(self._order), process, found))

    def _reply(self) -> Outcome:
        if AWAY[0] <= self.now < AWAY[1]:
            return NoReply("the service is away", sent=False)
        while self._times and self.now - self._times[0] >= 3600:
            self._times.popleft()
        wait = max(self._until_fewer(PER_MINUTE, 60), self._until_fewer(PER_HOUR, 3600))
        if wait > 0:
            self.refused += 1
            return Reply(429, {"Retry-After": str(math.ceil(wait))}, b'{"detail": "Too many requests"}')
        self._times.append(self.now)
        self.accepted += 1
        return Reply(200, {}, BODY)

    def _until_fewer(self, limit: int, seconds: float) -> float:
        return self._times[-limit] + seconds - self.now if len(self._times) >= limit else 0.0


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    simulation = Simulation()
    monkeypatch.setattr(clock, "CLOCK", simulation)
    random.seed(16)  # chance decides who comes back first after a refusal
    return simulation


def stops(governor: Governor, left: list[str], done: list[str]) -> Generator[Step, Outcome, None]:
    """One of a triggerer's stops at a time, until none is left."""
    while left:
        run = left.pop()
        yield from governed(exchange(stop_task(run), LAST_STOP), governor, patience=3600)
        done.append(run)


def polls(governor: Governor, waiting: Sequence[object]) -> Generator[Step, Outcome, None]:
    """A triggerer's looks at the list, every half minute, while there are tasks."""
    while waiting:
        with suppress(XpanderError):
            yield from governed(exchange(as_poll(list_tasks(per_page=50)), ONCE), governor)
        yield Sleep(30)


def attempts(
    left: list[tuple[float, int]], started: list[int], process: Callable[[], Governor]
) -> Generator[Step, Outcome, None]:
    """A slot of a worker: each attempt is a process of its own."""
    failed: Counter[int] = Counter()
    while left:
        due, number = heapq.heappop(left)
        # What is tried again holds no slot meanwhile; here it does if there is nothing else to do.
        yield Sleep(max(0.0, due - clock.CLOCK.steady()) + 1.5)
        governor = process()
        submit = invoke_async(Target.agent("a"), InvokeRequest.model_validate({"input": "hello"}))
        try:
            yield from governed(exchange(get_task("t"), RetryPolicy()), governor)
            yield from governed(exchange(submit, RetryPolicy()), governor)
            started.append(number)
        except XpanderError:
            delay = min(3600.0, RETRY_DELAY * 2 ** failed[number])  # retry_exponential_backoff
            failed[number] += 1
            heapq.heappush(left, (clock.CLOCK.steady() + delay, number))


@pytest.mark.parametrize(
    ("tasks", "hosts", "hours", "refused"),
    [
        pytest.param(200, 1, 1, 0.01, id="one host, within an hour's limit"),
        pytest.param(400, 1, 4, 0.03, id="one host, more than an hour's limit"),
        pytest.param(
            2000, 1, 8, 0.03, id="one host, six times an hour's limit", marks=pytest.mark.timeout(900)
        ),
        pytest.param(200, 3, 1, 0.4, id="three hosts, within an hour's limit"),
        pytest.param(400, 3, 4, 0.4, id="three hosts, more than an hour's limit"),
    ],
)
def test_a_mass_clear_and_an_outage_lose_nothing_and_are_refused_no_more_than_is_said(
    simulation: Simulation, tmp_path: Path, tasks: int, hosts: int, hours: float, refused: float
) -> None:
    def process(number: int) -> Governor:
        folder = tmp_path / str(number % hosts)
        folder.mkdir(exist_ok=True)
        governor = Governor(PER_MINUTE, PER_HOUR)
        governor.host = HostBudget("https://x", "key", lambda: folder)
        return governor

    stopped: list[str] = []
    waiting, started = [(0.0, number) for number in range(tasks)], list[int]()
    for number in range(TRIGGERERS):
        governor = process(number)
        left = [f"run-{run}" for run in range(number, tasks, TRIGGERERS)]
        for _ in range(STOPS_AT_ONCE):
            simulation.spawn(stops(governor, left, stopped))
        simulation.spawn(polls(governor, waiting))
    for number in range(SLOTS):
        simulation.spawn(attempts(waiting, started, partial(process, number)))
    simulation.run(until=hours * 3600)
    assert (len(stopped), sorted(started)) == (tasks, list(range(tasks)))
    assert simulation.refused <= refused * simulation.accepted, (simulation.accepted, simulation.refused)
