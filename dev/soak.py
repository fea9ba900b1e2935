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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.database import airflow_database
from dev.local_airflow import AIRFLOW_VERSION, MAJOR, LocalAirflow
from dev.mass import mass
from dev.paths import ROOT, STATE
from dev.scenario import Scenario
from dev.service import emulator_connection
from dev.soak_kinds import KINDS, ON_ALL, Kind, add_fault, deal
from dev.waiting import WaitTimeout, wait_for

LATE_STOPS = 60.0
"""Seconds for stops that follow the end of the Airflow task."""


@dataclass
class Row:
    """What came of one kind."""

    tried: int = 0
    missed: int = 0
    """Tried in vain: the run was over before it could be killed, say."""
    duplicates: int = 0
    orphans: int = 0
    lost: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """How much of it must not be."""
        return self.duplicates + self.orphans + self.lost


def soak(
    airflow: LocalAirflow, service: EmulatorServer, *, runs: int, seed: int, wave: int
) -> dict[str, Row]:
    """
    Make so many runs, in waves, and return what came of each kind of fault.

    :param airflow: a running Airflow with the DAGs of ``tests/e2e/dags``.
    :param service: what its connection points to.
    :param runs: how many.
    :param seed: of the draw.
    :param wave: how many runs at a time.
    """
    draw = random.Random(seed)
    deck = draw.sample([name for _ in range(runs // len(KINDS) + 1) for name in KINDS], k=runs)
    rows = {name: Row() for name in (*KINDS, *ON_ALL)}
    started = time.monotonic()
    while deck:
        names, on_all = deal(deck, wave, draw)
        _wave(airflow, service, names, on_all, draw, rows)
        bad = sum(rows[name].bad for name in KINDS)
        over = f"{runs - len(deck)} of {runs} runs, {bad} bad"
        print(f"{time.monotonic() - started:5.0f} s  {over}{on_all and f' ({on_all})' or ''}", flush=True)
    return rows


def _wave(
    airflow: LocalAirflow,
    service: EmulatorServer,
    names: Sequence[str],
    on_all: str | None,
    draw: random.Random,
    rows: dict[str, Row],
) -> None:
    kinds = [KINDS[name] for name in names]
    scenarios = [_start(airflow, service, kind, draw) for kind in kinds]
    with ThreadPoolExecutor(len(kinds)) as pool:
        acting = [pool.submit(kind.act, one) for kind, one in zip(kinds, scenarios, strict=True)]
        if on_all:
            time.sleep(draw.uniform(2, 12))
            ON_ALL[on_all](airflow, service)
    for name, one, future in zip(names, scenarios, acting, strict=True):
        if problem := future.exception():
            rows[name].missed += 1
            rows[name].remarks.append(f"{one.dag_id} {one.run_id}: {problem!r}")
    # What goes wrong here shows in what is counted.
    with suppress(WaitTimeout):
        for one in scenarios:
            one.client.wait_for_run(one.dag_id, one.run_id, limit=300)
    with suppress(WaitTimeout):
        wait_for(lambda: not any(_alive(one) for one in scenarios), limit=LATE_STOPS, what="the last stops")
    time.sleep(2)  # what must not come comes late too
    for name, kind, scenario in zip(names, kinds, scenarios, strict=True):
        _judge(rows[name], kind, scenario)
        if on_all:
            _judge(rows[on_all], kind, scenario)
    service.emulator.faults.clear()


def _start(airflow: LocalAirflow, service: EmulatorServer, kind: Kind, draw: random.Random) -> Scenario:
    scenario = Scenario(airflow, service, f"kill_{kind.dag}", f"take {draw.randint(*kind.seconds)}")
    if kind.fault:
        add_fault(scenario, kind.fault)
    return scenario


def _alive(scenario: Scenario) -> list[str]:
    return [one for one in scenario.runs() if not scenario.emulator.status(one).is_terminal]


def _judge(row: Row, kind: Kind, scenario: Scenario) -> None:
    ids, alive = scenario.runs(), _alive(scenario)
    # The answer of the last run that was meant to be: a cleared task must not have that of the run before.
    last = ids[kind.runs - 1 :][:1]
    lost = kind.answer and not (scenario.xcom() and [scenario.xcom("xpander_task_id")] == last)
    duplicates = max(0, len(ids) - kind.runs)
    row.tried += 1
    row.duplicates += duplicates
    row.orphans += len(alive)
    row.lost += lost
    if lost or alive or duplicates:
        row.remarks.append(f"{scenario.dag_id} {scenario.run_id}: runs {ids}, alive {alive}, lost {lost}")


def table(rows: dict[str, Row]) -> str:
    """Return the table for people."""
    tried = {name: row for name, row in rows.items() if row.tried}
    # Those that hit a whole wave count each run a second time.
    kinds = [row for name, row in tried.items() if name in KINDS]
    total = Row(
        sum(row.tried for row in kinds),
        sum(row.missed for row in kinds),
        sum(row.duplicates for row in kinds),
        sum(row.orphans for row in kinds),
        sum(row.lost for row in kinds),
    )
    heads = ("tried", "missed", "duplicates", "orphans", "lost answers")
    lines = [f"{'fault':32}" + "".join(f" {head:>12}" for head in heads)]
    for name, row in {**tried, "all": total}.items():
        hit = f"+ {name}" if name in ON_ALL else name
        figures = (row.tried, row.missed, row.duplicates, row.orphans, row.lost)
        lines.append(f"{hit:32}" + "".join(f" {figure:12}" for figure in figures))
    return "\n".join([*lines, *(remark for row in tried.values() for remark in row.remarks)])


def main() -> int:
    """Run the soak and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mass", type=int, default=0, help="end so many deferred tasks at once, too")
    options = parser.parse_args()
    pids = STATE / "soak" / "pids"
    pids.mkdir(parents=True, exist_ok=True)
    good = True
    with EmulatorServer() as service, airflow_database() as database:
        if MAJOR == 2 and database.url is None:
            sys.exit(f"Airflow 2 needs PostgreSQL for this: {database.why_sqlite}")
        env = {
            "E2E_PIDS": str(pids),
            "E2E_DAWDLE": "6",
            "E2E_MAPPED": "1",
            "E2E_MANY": str(options.mass or 1),
            "AIRFLOW_CONN_XPANDER_DEFAULT": emulator_connection(service),
            "AIRFLOW_CONN_XPANDER_LIMITED": emulator_connection(service, requests_per_minute=100),
        }
        # SQLite locks up under more.
        parallelism, wave = (6, 10) if database.url else (4, 4)
        dags: list[Path] = [ROOT / "tests" / "e2e" / "dags"]
        with LocalAirflow(
            STATE / "soak" / "airflow",
            dags=dags,
            env=env,
            parallelism=parallelism,
            database_url=database.url,
        ) as airflow:
            if options.mass:
                came = mass(Scenario(airflow, service, "kill_many", ""), options.mass, limit=1200)
                print(f"Airflow {AIRFLOW_VERSION}: {came}", flush=True)
                good = came.is_right
            if options.runs:
                rows = soak(airflow, service, runs=options.runs, seed=options.seed, wave=wave)
                print(f"\nAirflow {AIRFLOW_VERSION}, seed {options.seed}\n{table(rows)}")
                good = good and not any(row.bad for row in rows.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
