"""The kinds of kills and faults that the soak draws from."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import PrivateAttr

from airflow_provider_xpander.emulator import Emulator, Fault
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.local_airflow import LocalAirflow
from dev.scenario import Scenario

INVOKE = "/invoke(/async)?$"
SHORT, LONG, ENDLESS = (5, 12), (20, 25), (600, 600)
"""Seconds that a run takes, from and to: it ends by itself, is still there when it is killed, never ends."""


@dataclass(frozen=True)
class Kind:
    """
    One kind of kill or fault.

    :param dag: the DAG of ``e2e_kills``, without its prefix.
    :param act: what happens to the run, once it is under way.
    :param fault: a fault for the run's first submit.
    :param seconds: how long the remote run takes, from and to.
    :param runs: how many remote runs are right.
    :param answer: whether there has to be an answer at the end.
    """

    dag: str
    act: Callable[[Scenario], None] = lambda scenario: None
    fault: Fault | None = None
    seconds: tuple[int, int] = SHORT
    runs: int = 1
    answer: bool = True

    @property
    def bears_more(self) -> bool:
        """Whether the triggerer or the service may go away too: a stop would be left to nobody."""
        return self.answer and self.runs == 1


class FaultOfRun(Fault):
    """A fault for the requests that have the id of one DAG run in the title."""

    _emulator: Emulator = PrivateAttr()
    _run_id: str = PrivateAttr()

    def take(self, method: str, path: str) -> bool:
        """Count a request and tell whether the fault hits it."""
        # The request that is asked about is the one that was noted last.
        body = self._emulator.calls[-1].body or {}
        return f" {self._run_id} [" in str(body.get("title")) and super().take(method, path)


def add_fault(scenario: Scenario, fault: Fault) -> None:
    """Let a run's next request that fits go wrong, and nobody else's."""
    one = FaultOfRun(**fault.model_dump())
    one._emulator, one._run_id = scenario.emulator, scenario.run_id
    scenario.emulator.add_fault(one)


def _kill_when(ready: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.kill_worker()

    return act


def _clear_when(ready: Callable[[Scenario], object]) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.clear()

    return act


def _mark_when(ready: Callable[[Scenario], None], state: str) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", state)

    return act


def _mark_run_when(ready: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.client.set_run_state(scenario.dag_id, scenario.run_id, "failed")

    return act


def _fail(scenario: Scenario) -> None:
    scenario.wait_until_deferred()
    scenario.emulator.finish(scenario.runs()[0], "failed")


def _ended(scenario: Scenario) -> None:
    scenario.client.wait_for_run(scenario.dag_id, scenario.run_id)


DEFERRED, STARTED = Scenario.wait_until_deferred, Scenario.wait_until_started

KINDS: dict[str, Kind] = {
    "nothing": Kind("deferred"),
    "submit answered 504": Kind("deferred", fault=Fault.html(504, path=INVOKE, act_first=True)),
    "submit's connection broken": Kind("worker", fault=Fault.dropped(path=INVOKE, act_first=True)),
    "submit's answer cut off": Kind("deferred", fault=Fault.truncated(path=INVOKE)),
    "submit refused 503": Kind("deferred", fault=Fault.html(503, path=INVOKE)),
    "sync answered 504": Kind("sync", fault=Fault.html(504, path=INVOKE, act_first=True)),
    "worker killed during the submit": Kind(
        "deferred", _kill_when(STARTED), fault=Fault.slow(6, path=INVOKE, act_first=True)
    ),
    "worker killed before deferral": Kind("slow_to_defer", _kill_when(STARTED)),
    "worker killed in its wait": Kind("worker", _kill_when(STARTED)),
    "worker killed in a sync call": Kind("sync", _kill_when(STARTED)),
    "worker killed at the resume": Kind("slow_to_resume", _kill_when(Scenario.wait_until_resumed)),
    "run failed": Kind("deferred", _fail, seconds=LONG, runs=2),
    "cleared when over": Kind("deferred", _clear_when(_ended), runs=2),
    "cleared while deferred": Kind("deferred", _clear_when(DEFERRED), seconds=LONG, runs=2),
    "cleared while running": Kind("worker", _clear_when(STARTED), seconds=LONG, runs=2),
    "marked failed while deferred": Kind(
        "deferred", _mark_when(DEFERRED, "failed"), seconds=ENDLESS, answer=False
    ),
    "marked success while deferred": Kind(
        "deferred", _mark_when(DEFERRED, "success"), seconds=ENDLESS, answer=False
    ),
    "marked failed while running": Kind(
        "worker", _mark_when(STARTED, "failed"), seconds=ENDLESS, answer=False
    ),
    "DAG run marked failed": Kind("deferred", _mark_run_when(DEFERRED), seconds=ENDLESS, answer=False),
    "timed out while deferred": Kind("deferred_timeout", seconds=ENDLESS, answer=False),
    "timed out while running": Kind("worker_timeout", seconds=ENDLESS, answer=False),
    "timed out in a sync call": Kind("sync_timeout", seconds=ENDLESS, answer=False),
}


def _triggerer_killed(airflow: LocalAirflow, service: EmulatorServer) -> None:
    airflow.kill("triggerer")
    airflow.start("triggerer")


def _triggerer_stopped(airflow: LocalAirflow, service: EmulatorServer) -> None:
    airflow.stop("triggerer", limit=30)
    airflow.start("triggerer")


def _service_away(airflow: LocalAirflow, service: EmulatorServer) -> None:
    service.stop()
    time.sleep(10)
    service.start()


ON_ALL: dict[str, Callable[[LocalAirflow, EmulatorServer], None]] = {
    "triggerer killed": _triggerer_killed,
    "triggerer stopped": _triggerer_stopped,
    "service away for 10 s": _service_away,
}
"""What hits a whole wave at once, on top of what each run has."""


def deal(deck: list[str], wave: int, draw: random.Random) -> tuple[list[str], str | None]:
    """
    Take the next wave from the deck.

    :param deck: names of kinds, which are removed.
    :param wave: how many to take at the most.
    :param draw: decides what hits the whole wave.
    :return: the kinds, and what hits them all or None.
    """
    on_all = draw.choices([None, *ON_ALL], weights=[3, 1, 1, 1])[0]
    fit = [name for name in deck if KINDS[name].bears_more] if on_all else list(deck)
    if not fit:
        fit, on_all = list(deck), None
    taken = fit[:wave]
    for name in taken:
        deck.remove(name)
    return taken, on_all
