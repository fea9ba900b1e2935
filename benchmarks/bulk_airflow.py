"""
The same rows as mapped tasks and in bulk, on a real local Airflow with PostgreSQL, and what each takes.

``python -m benchmarks.bulk_airflow [DAG ...]``, or ``make bench BENCH_ARGS="--only bulk"``. The emulator's
runs take ten seconds and it has no limits. It is a thread of this process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy

from airflow_provider_xpander.emulator import EmulatorServer, Settings
from benchmarks.bulk_rows import rows
from benchmarks.processes import Watcher
from dev.airflow_client import RUN_ENDS
from dev.database import airflow_database
from dev.local_airflow import AIRFLOW_VERSION, LocalAirflow
from dev.paths import ROOT, STATE
from dev.service import emulator_connection
from dev.waiting import wait_for

RUN_SECONDS = 10.0
# All calls are kept, because they are counted.
SETTINGS = Settings(run_seconds=RUN_SECONDS, keep_calls=100_000, keep_megabytes=1000)
DAGS = {
    "mapped_200": (200, "200 rows, mapped"),
    "bulk_200_1": (200, "200 rows in bulk, 1 a run"),
    "bulk_200_20": (200, "200 rows in bulk, 20 a run"),
    "bulk_10000_20": (10_000, "10,000 rows in bulk, 20 a run"),
    "bulk_10000_1": (10_000, "10,000 rows in bulk, 1 a run"),
}
IN_FLIGHT = 1000
"""Runs at a time of ten thousand rows, one a run: with the default of 50 it would take an hour or two."""
PARALLELISM = 16
IDLE_SECONDS = 30.0
HEADS = (
    "wall, s",
    "worker CPU, s",
    "task processes",
    "their lives, s",
    "CPU of triggerer / scheduler / API server, s",
    "requests",
    "task instances",
    "XCom rows",
    "transactions",
    "peak memory of a task / all tasks / triggerer, MB",
)
COUNTS = {
    "instances": "SELECT (SELECT count(*) FROM task_instance WHERE dag_id = :dag) "
    "+ (SELECT count(*) FROM task_instance_history WHERE dag_id = :dag)",
    "xcom": "SELECT count(*) FROM xcom WHERE dag_id = :dag",
}


class Bench:
    """
    Measures one DAG after the other.

    :param airflow: the running Airflow.
    :param service: what its connection points to.
    :param folder: where rows and results are.
    :param database_url: SQLAlchemy URL of Airflow's database.
    """

    def __init__(
        self, airflow: LocalAirflow, service: EmulatorServer, folder: Path, database_url: str
    ) -> None:
        self.airflow = airflow
        self.service = service
        self.folder = folder
        self._engine = sqlalchemy.create_engine(database_url)
        self._idle = 0.0

    def settle(self) -> None:
        """Let everything be imported, and see what an idle Airflow asks of its database."""
        self.run("bulk_200_20")
        before = self._transactions()
        time.sleep(IDLE_SECONDS)
        self._idle = (self._transactions() - before) / IDLE_SECONDS

    def run(self, dag_id: str, limit: float = 3600) -> dict[str, Any]:
        """
        Run a DAG and return what it took.

        :param dag_id: the DAG.
        :param limit: seconds that it may take.
        """
        count, _ = DAGS[dag_id]
        client = self.airflow.client
        client.unpause(dag_id)
        self.service.emulator.calls.clear()
        before, asked = self._transactions(), {name: self._count(sql, dag_id) for name, sql in COUNTS.items()}
        began = time.monotonic()
        with Watcher(self.airflow.components) as watcher:
            run_id = client.trigger(dag_id)
            state = wait_for(
                lambda: state if (state := client.run_state(dag_id, run_id)) in RUN_ENDS else None,
                limit=limit,
                what=f"the end of {dag_id}",
                interval=2,
            )
            took = time.monotonic() - began
            time.sleep(5)  # supervisors are a little behind
        transactions = self._transactions() - before - self._idle * (time.monotonic() - began)
        if state != "success" or self._answers(dag_id, run_id) != count:
            raise SystemExit(f"{dag_id} {run_id}: {state}\n{self.airflow.log_tail('scheduler')}")
        return {
            "seconds": took,
            "cpu": watcher.cpu,
            "starts": watcher.starts,
            "lived": watcher.lived,
            "requests": _kinds(self.service),
            "transactions": transactions,
            "peaks": watcher.peaks,
            **{name: self._count(sql, dag_id) - asked[name] for name, sql in COUNTS.items()},
        }

    def _answers(self, dag_id: str, run_id: str) -> int:
        """Count the answers, each row's once, that are good."""
        if dag_id.startswith("mapped"):
            return self._count(
                "SELECT count(*) FROM xcom WHERE dag_id = :dag AND key = 'return_value'", dag_id
            )
        parts = (self.folder / dag_id / run_id / "results").glob("*.jsonl")
        return len({json.loads(line)["id"] for part in parts for line in part.read_text().splitlines()})

    def _count(self, sql: str, dag_id: str) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(sqlalchemy.text(sql), {"dag": dag_id}).scalar_one())

    def _transactions(self) -> int:
        sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        return self._count(sql, "")


def _kinds(service: EmulatorServer) -> dict[str, int]:
    return Counter(
        "submits" if "/invoke" in call.path else "pages" if call.path == "/v1/tasks" else "reads"
        for call in list(service.emulator.calls)
    )


def line(name: str, found: dict[str, Any]) -> str:
    """
    Return a row of the table.

    :param name: of what was measured.
    :param found: what it took.
    """
    cpu, kinds, peaks = found["cpu"], found["requests"], found["peaks"]
    cells = (
        DAGS[name][1],
        f"{found['seconds']:.0f}",
        f"{cpu['workers']:.0f}",
        f"{found['starts']:,}",
        f"{found['lived']:.0f}",
        f"{cpu['triggerer']:.0f} / {cpu['scheduler']:.0f} / {cpu['api-server']:.0f}",
        f"{sum(kinds.values()):,}: " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()),
        f"{found['instances']:,}",
        f"{found['xcom']:,}",
        f"{found['transactions']:,.0f}",
        " / ".join(f"{size:.0f}" for size in peaks.values()),
    )
    return f"| {' | '.join(cells)} |"


@contextmanager
def running() -> Iterator[Bench]:
    """Start emulator, PostgreSQL and Airflow."""
    folder = STATE / "bench-bulk"
    shutil.rmtree(folder / "files", ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    for count in {count for count, _ in DAGS.values()}:
        lines = (json.dumps(row) + "\n" for row in rows(count))
        (folder / "files" / f"rows-{count}.jsonl").write_text("".join(lines))
    with (
        EmulatorServer(settings=Settings(run_seconds=RUN_SECONDS)) as service,
        airflow_database() as database,
    ):
        if database.url is None:
            sys.exit(f"This needs PostgreSQL: {database.why_sqlite}")
        env = {
            "AIRFLOW_CONN_XPANDER_DEFAULT": emulator_connection(service),
            "BULK_FOLDER": str(folder / "files"),
            "BULK_IN_FLIGHT": str(IN_FLIGHT),
        }
        with LocalAirflow(
            folder / "airflow",
            dags=[ROOT / "benchmarks" / "bulk_dags"],
            env=env,
            parallelism=PARALLELISM,
            database_url=database.url,
        ) as airflow:
            yield Bench(airflow, service, folder / "files", database.url)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dags", nargs="*", metavar="DAG", help=f"of {', '.join(DAGS)}; all by default")
    options = parser.parse_args()
    # Python dies of a SIGTERM without any clean-up; as a KeyboardInterrupt it ends what was started here.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running() as bench:
        print(f"Airflow {AIRFLOW_VERSION}, {PARALLELISM} slots, runs of {RUN_SECONDS:g} s\n")
        bench.settle()
        print(f"| | {' | '.join(HEADS)} |\n|---|{'--:|' * len(HEADS)}", flush=True)
        for dag_id in options.dags or DAGS:
            print(line(dag_id, bench.run(dag_id)), flush=True)


if __name__ == "__main__":
    main()
