"""
The race between the scheduler and the end of a short deferral, on a real local Airflow under load.

Usage: ``python -m benchmarks.deferral_race --runs 200 --age 10``. Runs of one to three seconds, a dozen at a
time, beside two processes that only burn the processor. Airflow's scheduler fails a task that is resumed
before it has seen the end of the worker that has deferred it. ``--age 0`` is how it is without
``[xpander] min_deferral_age``.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.airflow_client import RUN_ENDS, AirflowClient
from dev.database import airflow_database
from dev.local_airflow import AIRFLOW_VERSION, LocalAirflow
from dev.paths import ROOT, STATE
from dev.service import emulator_connection
from dev.waiting import WaitTimeout, wait_for

DAG_ID = "short_runs"
TASK_ID = "ask"
MISMATCH = "finished with state success, but the task instance's state attribute is"
HELD_BACK = "queued but still running"
"""Airflow 2.11 holds a task back for some ten seconds while its first worker still counts as running."""
BURN = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"
AS_SHIPPED = {
    # Elsewhere the local Airflow is quicker than Airflow's own defaults, to lose this race less often.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "5",
}

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d+")
WORKER_SEEN = re.compile(r"Received executor event with state success for .*map_index=(\d+)")


@dataclass(frozen=True)
class Came:
    """
    What came of one measurement.

    :param runs: how many task instances there were.
    :param mismatches: task instances that the scheduler's log calls finished in another state.
    :param held_back: task instances that were resumed so early that the executor has held them back.
    :param states: how many task instances ended in each state.
    :param billed: runs that the service has started.
    :param answers: answers in XCom.
    :param seen: seconds from each deferral until the scheduler has seen the worker's end, in order.
    :param minutes: that it all took.
    """

    runs: int
    mismatches: int
    held_back: int
    states: Counter[str]
    billed: int
    answers: int
    seen: list[float]
    minutes: float


@contextmanager
def busy(loops: int, limit: float) -> Iterator[None]:
    """
    Keep the processor busy.

    :param loops: how many processes do.
    :param limit: seconds after which they end by themselves.
    """
    processes = [subprocess.Popen([sys.executable, "-c", BURN, str(limit)]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def measure(airflow: LocalAirflow, service: EmulatorServer, runs: int, limit: float) -> Came:
    """
    Make the runs, wait for them, and count.

    :param airflow: a running Airflow with the DAG of ``benchmarks/dags``.
    :param service: what its connection points to.
    :param runs: how many.
    :param limit: seconds to wait at the most.
    """
    started = time.monotonic()
    run_id = airflow.client.trigger(DAG_ID)
    told = started

    def look() -> str | None:
        nonlocal told
        state = airflow.client.run_state(DAG_ID, run_id)
        if time.monotonic() - told > 20:
            told = time.monotonic()
            print(f"{told - started:5.0f} s  {states(airflow.client, run_id)}", flush=True)
        return state if state in RUN_ENDS else None

    try:
        wait_for(look, limit=limit, what="the end of all runs", interval=2)
    except WaitTimeout as error:
        print(error, flush=True)
    minutes = (time.monotonic() - started) / 60
    log = airflow.components["scheduler"].log_file.read_text(errors="replace")
    return Came(
        runs=runs,
        mismatches=tasks_with(MISMATCH, log),
        held_back=tasks_with(HELD_BACK, log),
        states=states(airflow.client, run_id),
        billed=len(service.emulator.runs()),
        answers=sum(
            airflow.client.xcom(DAG_ID, run_id, TASK_ID, map_index=index) is not None for index in range(runs)
        ),
        seen=sorted(until_seen(log, airflow.home / "logs" / f"dag_id={DAG_ID}" / f"run_id={run_id}")),
        minutes=minutes,
    )


def states(client: AirflowClient, run_id: str) -> Counter[str]:
    """
    Count the task instances by their state.

    :param client: of the Airflow.
    :param run_id: of the DAG run.
    """
    return Counter(str(one.state) for one in client.task_instances(DAG_ID, run_id))


def tasks_with(words: str, log: str) -> int:
    """
    Count the task instances of which a log says something, each once.

    :param words: what it says.
    :param log: of the scheduler.
    """
    found = (re.search(r"map_index=(\d+)", line) for line in log.splitlines() if words in line)
    return len({match[1] if match else "" for match in found})


def until_seen(log: str, folder: Path) -> Iterator[float]:
    """
    Yield the seconds from each deferral until the scheduler has seen the worker's end.

    :param log: of the scheduler.
    :param folder: with the logs of the tasks.
    """
    seen: dict[str, datetime] = {}
    for line in log.splitlines():
        if match := WORKER_SEEN.search(line):
            seen.setdefault(match[1], _time_of(line))
    for path in folder.glob(f"task_id={TASK_ID}/map_index=*/attempt=1.log"):
        lines = (line for line in path.read_text(errors="replace").splitlines() if "as DEFERRED" in line)
        deferral = next(lines, None)
        index = path.parent.name.removeprefix("map_index=")
        if deferral and index in seen:
            yield (seen[index] - _time_of(deferral)).total_seconds()


def _time_of(line: str) -> datetime:
    match = TIME.search(line)
    if match is None:
        raise ValueError(f"no time in {line!r}")
    return datetime.fromisoformat(match[0].replace(",", ".")).replace(tzinfo=UTC)


def table(age: float, came: Came) -> str:
    """
    Return what came of it as a table.

    :param age: seconds that a deferral lasts at the least.
    :param came: what came of it.
    """
    seen = came.seen or [float("nan")]
    quantiles = " / ".join(f"{seen[int(share * (len(seen) - 1))]:.1f}" for share in (0.5, 0.95, 1.0))
    row = {
        "Airflow": AIRFLOW_VERSION,
        "min_deferral_age, s": f"{age:g}",
        "tasks": came.runs,
        "state mismatches": came.mismatches,
        "held back": came.held_back,
        "failed tasks": came.states["failed"],
        "runs billed": came.billed,
        "answers": came.answers,
        "worker's end seen after p50 / p95 / max, s": quantiles,
        "minutes": f"{came.minutes:.1f}",
    }
    lines = (row, ["--:"] * len(row), map(str, row.values()))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Measure and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--age", type=float, default=10.0, help="[xpander] min_deferral_age in seconds")
    parser.add_argument("--loops", type=int, default=2, help="processes that burn the processor")
    parser.add_argument("--limit", type=float, default=1500, help="seconds to wait for the runs at the most")
    options = parser.parse_args()
    # Python dies of a SIGTERM without any clean-up; as a KeyboardInterrupt it ends what was started here.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with EmulatorServer() as service, airflow_database() as database:
        if database.url is None:
            sys.exit(f"This needs PostgreSQL: {database.why_sqlite}")
        env = {
            "AIRFLOW_CONN_XPANDER_DEFAULT": emulator_connection(service),
            "AIRFLOW__XPANDER__MIN_DEFERRAL_AGE": str(options.age),
            "SHORT_RUNS": str(options.runs),
            **AS_SHIPPED,
        }
        home = STATE / "deferral_race" / f"airflow-{AIRFLOW_VERSION}"
        with LocalAirflow(
            home, dags=[ROOT / "benchmarks" / "dags"], env=env, parallelism=12, database_url=database.url
        ) as airflow:
            airflow.airflow("pools", "set", "dozen", "12", "runs in flight", "--include-deferred")
            print(f"Airflow {AIRFLOW_VERSION} is up", flush=True)
            with busy(options.loops, limit=options.limit + 60):
                came = measure(airflow, service, options.runs, options.limit)
            print(f"{dict(came.states)}\n{table(options.age, came)}", flush=True)
    return 0 if came.mismatches == 0 and came.answers == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
