"""
`make soak`: many runs, a kill or fault drawn at random for each, and the table of what came of it.

Each run is one of the DAGs of ``tests/e2e/dags/e2e_kills.py`` on a real local Airflow. At the end the
service's own record is compared with what Airflow has: a second run is a duplicate, a run that goes on
although its Airflow task has ended is an orphan, an answer that was paid for and is not in XCom is lost.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.local_airflow import AIRFLOW_VERSION, LocalAirflow
from dev.paths import STATE
from dev.scenario import Scenario
from dev.service import emulator_connection

INVOKE = "/invoke(/async)?$"
WAVE = 4
"""Runs at a time: SQLite locks up under more."""


@dataclass(frozen=True)
class Trial:
    """
    One kind of kill or fault.

    :param dag: the DAG, without its prefix.
    :param act: what happens to the run, once it is under way.
    :param fault: a fault for the next submit.
    :param runs: how many remote runs are right.
    :param answer: whether there has to be an answer at the end.
    """

    dag: str
    act: Callable[[Scenario], None] = lambda scenario: None
    fault: Callable[[], Fault] | None = None
    runs: int = 1
    answer: bool = True


def _kill_when(ready: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.kill_worker()

    return act


def _clear(scenario: Scenario) -> None:
    scenario.wait_until_deferred()
    scenario.clear()


def _mark(ready: Callable[[Scenario], None], state: str) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", state)

    return act


TRIALS: dict[str, Trial] = {
    "nothing": Trial("deferred"),
    "submit answered 504": Trial("deferred", fault=lambda: Fault.html(504, path=INVOKE, act_first=True)),
    "submit's connection broken": Trial("worker", fault=lambda: Fault.dropped(path=INVOKE, act_first=True)),
    "sync answered 504": Trial("sync", fault=lambda: Fault.html(504, path=INVOKE, act_first=True)),
    "submit refused 503": Trial("deferred", fault=lambda: Fault.html(503, path=INVOKE)),
    "worker killed before deferral": Trial("slow_to_defer", _kill_when(Scenario.wait_until_started)),
    "worker killed in its wait": Trial("worker", _kill_when(Scenario.wait_until_started)),
    "worker killed at the resume": Trial("slow_to_resume", _kill_when(Scenario.wait_until_resumed)),
    "cleared while deferred": Trial("deferred", _clear, runs=2),
    "marked failed while deferred": Trial(
        "deferred", _mark(Scenario.wait_until_deferred, "failed"), answer=False
    ),
    "marked failed while running": Trial(
        "worker", _mark(Scenario.wait_until_started, "failed"), answer=False
    ),
    "timed out": Trial("deferred_timeout", answer=False),
}
ON_ALL = {"triggerer killed": "triggerer", "service away for 10 s": "service"}
"""Faults that hit a whole wave at once, on top of what each run has."""


@dataclass
class Row:
    """What came of one kind."""

    tried: int = 0
    duplicates: int = 0
    orphans: int = 0
    lost: int = 0
    remarks: list[str] = field(default_factory=list)


def soak(airflow: LocalAirflow, emulator: EmulatorServer, *, runs: int, seed: int) -> dict[str, Row]:
    """
    Make so many runs, in waves, and return what came of each kind of fault.

    :param airflow: a running Airflow with the DAGs of ``tests/e2e/dags``.
    :param emulator: the service that its connection points to.
    :param runs: how many.
    :param seed: of the draw.
    """
    draw = random.Random(seed)
    names = [name for _ in range(runs // len(TRIALS) + 1) for name in TRIALS][:runs]
    draw.shuffle(names)
    rows = {name: Row() for name in (*TRIALS, *ON_ALL)}
    started = time.monotonic()
    for first in range(0, runs, WAVE):
        wave = names[first : first + WAVE]
        on_all = draw.choices([None, *ON_ALL], weights=[6, 1, 1])[0]
        _wave(airflow, emulator, wave, on_all, draw, rows)
        bad = sum(row.duplicates + row.orphans + row.lost for row in rows.values())
        print(
            f"{time.monotonic() - started:5.0f} s  {first + len(wave)} of {runs} runs, {bad} bad", flush=True
        )
    return rows


def _wave(
    airflow: LocalAirflow,
    emulator: EmulatorServer,
    names: list[str],
    on_all: str | None,
    draw: random.Random,
    rows: dict[str, Row],
) -> None:
    # A triggerer that dies with a kill would leave the stop to nobody, as docs/guarantees.md says.
    if on_all and any(not TRIALS[name].answer or TRIALS[name].runs > 1 for name in names):
        on_all = None
    for name in names:
        fault = TRIALS[name].fault
        if fault is not None:
            emulator.emulator.add_fault(fault())
    with ThreadPoolExecutor(len(names)) as pool:
        seconds = [draw.randint(4, 10) for _ in names]
        scenarios = [_start(airflow, emulator, *pair) for pair in zip(names, seconds, strict=True)]
        acting = [pool.submit(TRIALS[name].act, one) for name, one in zip(names, scenarios, strict=True)]
        if on_all == "triggerer killed":
            time.sleep(draw.uniform(1, 8))
            airflow.kill("triggerer")
            airflow.start("triggerer")
        elif on_all:
            time.sleep(draw.uniform(1, 8))
            emulator.stop()
            time.sleep(10)
            emulator.start()
        for future in acting:
            future.result()
    for one in scenarios:
        one.client.wait_for_run(one.dag_id, one.run_id, limit=240)
    time.sleep(3)  # stops that follow the end of the Airflow task
    for name, scenario in zip(names, scenarios, strict=True):
        _judge(rows[name], TRIALS[name], scenario)
        if on_all:
            _judge(rows[on_all], TRIALS[name], scenario)
    emulator.emulator.faults.clear()


def _start(airflow: LocalAirflow, emulator: EmulatorServer, name: str, seconds: int) -> Scenario:
    trial = TRIALS[name]
    return Scenario(airflow, emulator, f"kill_{trial.dag}", f"take {seconds if trial.answer else 600}")


def _judge(row: Row, trial: Trial, scenario: Scenario) -> None:
    ids = scenario.runs()
    alive = [one for one in ids if not scenario.emulator.status(one).is_terminal]
    row.tried += 1
    row.duplicates += max(0, len(ids) - trial.runs)
    row.orphans += len(alive)
    if trial.answer and not scenario.xcom():
        row.lost += 1
        row.remarks.append(f"{scenario.dag_id} {scenario.run_id}: no answer, runs {ids}")
    if alive or len(ids) > trial.runs:
        row.remarks.append(f"{scenario.dag_id} {scenario.run_id}: runs {ids}, alive {alive}")


def table(rows: dict[str, Row]) -> str:
    """Return the table for people."""
    lines = [f"{'fault':32} {'tried':>6} {'duplicates':>11} {'orphans':>8} {'lost answers':>13}"]
    lines += [
        f"{name:32} {row.tried:6} {row.duplicates:11} {row.orphans:8} {row.lost:13}"
        for name, row in rows.items()
        if row.tried
    ]
    return "\n".join([*lines, *(remark for row in rows.values() for remark in row.remarks)])


def bad(rows: dict[str, Row]) -> Counter[str]:
    """Return the sums of what must not be."""
    total: Counter[str] = Counter()
    for row in rows.values():
        total.update(duplicates=row.duplicates, orphans=row.orphans, lost=row.lost)
    return total


def main() -> int:
    """Run the soak and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pids = STATE / "soak" / "pids"
    pids.mkdir(parents=True, exist_ok=True)
    env = {"E2E_PIDS": str(pids), "E2E_DAWDLE": "6", "E2E_MAPPED": "1"}
    with EmulatorServer() as emulator:
        env["AIRFLOW_CONN_XPANDER_DEFAULT"] = emulator_connection(emulator)
        dags = Path(__file__).parents[1] / "tests" / "e2e" / "dags"
        with LocalAirflow(STATE / "soak" / "airflow", dags=[dags], env=env) as airflow:
            rows = soak(airflow, emulator, runs=options.runs, seed=options.seed)
    print(f"\nAirflow {AIRFLOW_VERSION}, seed {options.seed}\n{table(rows)}")
    return 1 if any(bad(rows).values()) else 0


if __name__ == "__main__":
    sys.exit(main())
