"""
`make soak`: many runs, a kill or fault drawn at random for each, and the table of what came of it.

Each run is one of the DAGs of ``tests/e2e/dags/e2e_kills.py`` on a real local Airflow. At the end the
service's own record is compared with what Airflow has: a second run is a duplicate, a run that goes on
although its Airflow task has ended is an orphan, an answer that was paid for and is not in XCom is lost.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.database import airflow_database
from dev.local_airflow import AIRFLOW_VERSION, MAJOR, LocalAirflow
from dev.mass import mass
from dev.paths import ROOT, STATE
from dev.scenario import Scenario
from dev.service import emulator_connection
from dev.soak_hits import AT_ONCE, ON_ALL, Hits
from dev.soak_kinds import KINDS, Kind, add_fault, deal, slow_rows
from dev.traffic import Limits, limits_of, under_limits
from dev.waiting import WaitTimeout, wait_for

DAGS = ROOT / "tests" / "e2e" / "dags"
PIDS = STATE / "soak" / "pids"
LATE_STOPS = 60.0
"""Seconds for stops that follow the end of the Airflow task."""
USUAL_LIMITS: Limits = (100, 0)
"""Of the connection of the tasks that are ended all at once; the service itself has none."""


@dataclass(frozen=True)
class Outcome:
    """
    What came of one run.

    :param name: of its kind.
    :param kind: its kind.
    :param on_all: what hit its whole wave besides, if anything did.
    :param run: its DAG and run id.
    :param ids: of the remote runs.
    :param stops: 1 for each that was stopped: after a clear, trigger and next attempt may both do so.
    :param alive: remote runs that go on.
    :param answer: whether the Airflow task has the answer of the last remote run that is right.
    :param tries: of the Airflow task.
    :param problem: why the kill could not be carried out, e.g. because the run was over too soon.
    :param workers: of a cluster, that have had the Airflow task, one after the other.
    """

    name: str
    kind: Kind = field(repr=False)
    on_all: str | None
    run: str
    ids: tuple[str, ...]
    stops: tuple[int, ...]
    alive: tuple[str, ...]
    answer: bool
    tries: int
    problem: str | None
    workers: tuple[str, ...] = ()

    @property
    def duplicates(self) -> int:
        """How many remote runs there are too many."""
        return max(0, len(self.ids) - len(self.kind.stops))

    @property
    def orphans(self) -> int:
        """How many remote runs go on although nobody waits for them."""
        return len(self.alive)

    @property
    def lost(self) -> bool:
        """Whether an answer has not arrived."""
        return self.kind.answer and not self.answer

    @property
    def is_bad(self) -> bool:
        """Whether money or an answer was lost."""
        return bool(self.duplicates or self.orphans or self.lost)


def soak(
    airflow: LocalAirflow, service: EmulatorServer, *, runs: int, seed: int, wave: int, hits: Hits = ON_ALL
) -> Iterator[Outcome]:
    """
    Make so many runs, in waves, and yield what came of each as the waves end.

    :param airflow: a running Airflow with the DAGs of ``tests/e2e/dags``.
    :param service: what its connection points to.
    :param runs: how many.
    :param seed: of the draw.
    :param wave: how many runs at a time.
    :param hits: what may hit a whole wave.
    """
    draw = random.Random(seed)
    deck = draw.sample([name for _ in range(runs // len(KINDS) + 1) for name in KINDS], k=runs)
    started = time.monotonic()
    while deck:
        names, on_all = deal(deck, wave, draw, hits)
        came = run_wave(airflow, service, names, on_all, draw, hits)
        yield from came
        passed = f"{time.monotonic() - started:5.0f} s"
        print(
            "\n".join([f"{passed}  {runs - len(deck)} of {runs} runs  {on_all or ''}", *odd(came)]),
            flush=True,
        )


def run_wave(
    airflow: LocalAirflow,
    service: EmulatorServer,
    names: Sequence[str],
    on_all: str | None,
    draw: random.Random,
    hits: Hits = ON_ALL,
    kinds: Mapping[str, Kind] = KINDS,
) -> list[Outcome]:
    """
    Make one run of each of these kinds at the same time, and return what came of each.

    :param airflow: as above.
    :param service: as above.
    :param names: of the kinds.
    :param on_all: what hits all of them besides, or None.
    :param draw: for lengths and moments.
    :param hits: what there is that can hit all of them.
    :param kinds: what there is to be named.
    """
    service.emulator.agent("slow-rows").answers(slow_rows)
    scenarios = [_start(airflow, service, kinds[name], draw) for name in names]
    with ThreadPoolExecutor(len(names)) as pool:
        acting = [pool.submit(kinds[name].act, one) for name, one in zip(names, scenarios, strict=True)]
        if on_all:
            time.sleep(0 if on_all in AT_ONCE else draw.uniform(2, 12))
            hits[on_all](airflow, service)
    # What goes wrong here shows in what is counted.
    with suppress(WaitTimeout):
        for one in scenarios:
            one.client.wait_for_run(one.dag_id, one.run_id, limit=300 + airflow.late)
    with suppress(WaitTimeout):
        wait_for(lambda: not any(_alive(one) for one in scenarios), limit=LATE_STOPS, what="the last stops")
    time.sleep(2)  # what must not come comes late too
    service.emulator.faults.clear()
    return [
        _outcome(name, kinds[name], on_all, one, future.exception())
        for name, one, future in zip(names, scenarios, acting, strict=True)
    ]


def _start(airflow: LocalAirflow, service: EmulatorServer, kind: Kind, draw: random.Random) -> Scenario:
    scenario = Scenario(airflow, service, f"kill_{kind.dag}", f"take {draw.randint(*kind.seconds)}")
    if kind.fault:
        add_fault(scenario, kind.fault)
    return scenario


def _alive(scenario: Scenario) -> tuple[str, ...]:
    return tuple(one for one in scenario.runs() if not scenario.emulator.status(one).is_terminal)


def _outcome(
    name: str, kind: Kind, on_all: str | None, scenario: Scenario, problem: BaseException | None
) -> Outcome:
    ids = tuple(scenario.runs())
    # The answer of the last run that was meant to be: a cleared task must not have that of the run before.
    right = ids[len(kind.stops) - 1 :][:1]
    return Outcome(
        name=name,
        kind=kind,
        on_all=on_all,
        run=f"{scenario.dag_id} {scenario.run_id}",
        ids=ids,
        stops=tuple(min(1, scenario.stops(one)) for one in ids),
        alive=_alive(scenario),
        answer=_is_answered(kind, scenario, right),
        tries=scenario.tries,
        problem=None if problem is None else repr(problem),
        workers=tuple(scenario.workers),
    )


def _is_answered(kind: Kind, scenario: Scenario, right: tuple[str, ...]) -> bool:
    answer = scenario.xcom()
    if not kind.rows:
        return bool(answer) and (scenario.xcom("xpander_task_id"),) == right
    if not answer:
        return False
    files = Path(urlsplit(answer["urls"]["results"]).path).glob("*.jsonl")
    rows = [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]
    each_once = list(range(kind.rows))
    # The service's own record: no row is in two runs that completed.
    return bool(
        answer["counts"]["answered"] == kind.rows
        and sorted(rows) == each_once == scenario.rows_paid()
        and scenario.rows_written() == (each_once if kind.table else None)
    )


def table(came: Sequence[Outcome], hits: Hits = ON_ALL) -> str:
    """
    Return the table for people: each kind; then, counted again, what hit whole waves; remarks.

    :param came: what came of each run.
    :param hits: what may have hit whole waves.
    """
    heads = ("tried", "missed", "duplicates", "orphans", "lost answers")
    groups = {name: [one for one in came if one.name == name] for name in KINDS}
    groups |= {f"+ {name}": [one for one in came if one.on_all == name] for name in hits}
    groups["all"] = list(came)
    lines = [f"{'fault':32}" + "".join(f" {head:>12}" for head in heads)]
    for name, ones in groups.items():
        figures = (
            len(ones),
            sum(one.problem is not None for one in ones),
            sum(one.duplicates for one in ones),
            sum(one.orphans for one in ones),
            sum(one.lost for one in ones),
        )
        if ones:
            lines.append(f"{name:32}" + "".join(f" {figure:12}" for figure in figures))
    return "\n".join([*lines, *odd(came)])


def odd(came: Sequence[Outcome]) -> list[str]:
    """
    Return the runs that somebody should look at.

    :param came: what came of each run.
    """
    return [str(one) for one in came if one.is_bad or one.problem or one.stops != one.kind.stops]


@contextmanager
def _airflow(service: EmulatorServer, many: int, limits: Limits) -> Iterator[tuple[LocalAirflow, int]]:
    """Run a local Airflow, and tell how many runs it bears at a time."""
    with airflow_database() as database:
        if MAJOR == 2 and database.url is None:
            sys.exit(f"Airflow 2 needs PostgreSQL for this: {database.why_sqlite}")
        # SQLite locks up under more.
        parallelism, wave = (8, 12) if database.url else (4, 4)
        with LocalAirflow(
            STATE / "soak" / "airflow",
            dags=[DAGS],
            env=environment(service, PIDS, many, limits),
            parallelism=parallelism,
            database_url=database.url,
        ) as airflow:
            yield airflow, wave


@contextmanager
def _cluster(service: EmulatorServer, many: int, limits: Limits) -> Iterator[tuple[LocalAirflow, int]]:
    """Run a cluster, and tell how many runs it bears at a time."""
    from dev.cluster import local_cluster

    with local_cluster(
        STATE / "soak" / "cluster", dags=(DAGS,), env=environment(service, PIDS, many, limits)
    ) as cluster:
        yield cluster, 16


def environment(
    service: EmulatorServer, pids: Path, many: int, limits: Limits = USUAL_LIMITS
) -> dict[str, str]:
    """
    Return what the DAGs of the soak need.

    :param service: what their connections lead to.
    :param pids: folder where workers note their process ids.
    :param many: mapped tasks of the DAG that is ended all at once.
    :param limits: requests that each of its processes may send in a minute and in an hour.
    """
    per_minute, per_hour = limits
    pids.mkdir(parents=True, exist_ok=True)
    return {
        "E2E_PIDS": str(pids),
        "E2E_DAWDLE": "60",
        "E2E_MAPPED": "1",
        "E2E_MANY": str(many),
        "AIRFLOW_CONN_XPANDER_DEFAULT": emulator_connection(service),
        "AIRFLOW_CONN_XPANDER_LIMITED": emulator_connection(
            service, requests_per_minute=per_minute, requests_per_hour=per_hour
        ),
    }


def main() -> int:
    """Run the soak and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wave", type=int, default=0, help="so many at a time, instead of what fits")
    parser.add_argument("--mass", type=int, default=0, help="end so many deferred tasks at once, too")
    parser.add_argument(
        "--limits",
        type=limits_of,
        metavar="MINUTE,HOUR",
        help="with --mass: requests that the service takes, and an outage of 30 s during the clear",
    )
    parser.add_argument("--cluster", action="store_true", help="on two of everything (make soak-on-cluster)")
    options = parser.parse_args()
    hits: Hits = ON_ALL
    if options.cluster:
        from dev.cluster_hits import ON_SOAK as hits
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    good = True
    where = _cluster if options.cluster else _airflow
    limits = options.limits or USUAL_LIMITS
    with EmulatorServer() as service, where(service, options.mass or 1, limits) as (airflow, fit):
        wave = options.wave or fit
        if options.runs:
            came: list[Outcome] = []
            # What has come so far counts, should somebody lose patience.
            with suppress(KeyboardInterrupt):
                came.extend(
                    soak(airflow, service, runs=options.runs, seed=options.seed, wave=wave, hits=hits)
                )
            print(f"\nAirflow {AIRFLOW_VERSION}, seed {options.seed}\n{table(came, hits)}\n", flush=True)
            good = not any(one.is_bad for one in came)
        if options.mass:
            with under_limits(service, options.limits) as outage:
                scenario = Scenario(airflow, service, "kill_many", "")
                ended = mass(scenario, options.mass, limit=1200, during_clear=outage)
            print(f"Airflow {AIRFLOW_VERSION}: {ended}", flush=True)
            good = good and ended.is_right
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
