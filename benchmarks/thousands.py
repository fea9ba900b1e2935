"""
`make bench-cluster`: many deferred tasks at once on a real cluster of Airflow, beside a peer's.

Each contender's tasks submit runs to the benchmarks' server, which holds them until all tasks are deferred.
After a time in which nothing ends it draws their ends. ``nothing`` is a task that only defers and resumes, as
long as Airflow lets it: what it takes is Airflow's own.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from benchmarks.measures import quantile
from benchmarks.run import server
from benchmarks.wait import ask
from dev.cluster import TRIGGERERS, WORKERS, Cluster, local_cluster
from dev.local_airflow import AIRFLOW_VERSION
from dev.paths import ROOT, STATE
from dev.waiting import wait_for

POLL = 5
"""Everybody's interval in seconds: the 30 s of a clock that is six times as fast."""
ENDS = (10.0, 100.0)
"""Seconds after which runs end, from and to: one to ten minutes of that clock."""
STILL = 60.0
"""Seconds for which all tasks are deferred and no run ends."""
BLOCKED = "async thread was blocked"
MIB = 1024 * 1024


@dataclass
class Came:
    """
    What a contender took.

    :param name: of the contender.
    :param tasks: how many it had.
    :param states: how many ended in each state.
    :param begin: seconds until all were deferred.
    :param requests: sent while all were deferred and no run ended, and from the first end to the last.
    :param blocked: warnings of the triggerers that something held their loop: by phase.
    :param memory: MiB of both triggerers: before, and while all were deferred.
    :param triggerers: seconds of processor of both, while all were deferred and no run ended.
    :param workers: seconds of processor of both workers for each task, start of processes and all.
    :param connections: to the database at the most.
    :param delays: seconds from the end of each run to the event of its trigger.
    """

    name: str
    tasks: int
    states: dict[str, int] = field(default_factory=dict)
    begin: float = 0.0
    requests: list[int] = field(default_factory=list)
    blocked: list[int] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    triggerers: float = 0.0
    workers: float = 0.0
    connections: int = 0
    delays: list[float] = field(default_factory=list)


class Measurement:
    """
    One contender on a running cluster.

    :param cluster: the cluster, which has had no tasks of the contender.
    :param at: port and CA of the benchmarks' server.
    :param name: of the contender.
    :param tasks: how many it has.
    """

    def __init__(self, cluster: Cluster, at: dict[str, Any], name: str, tasks: int) -> None:
        self.cluster, self.at = cluster, at
        self.dag_id = f"deferred_{name}"
        self.came = Came(name, tasks)
        self._url = cluster.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")

    def run(self, limit: float) -> Came:
        """
        Run all tasks and return what it took.

        :param limit: seconds for the start of all tasks, and again for their end.
        """
        came, began = self.came, time.monotonic()
        worked, blocked = self._cpu(WORKERS), self._blocked()
        came.memory.append(self._memory())
        run_id = self.cluster.client.trigger(self.dag_id)
        if came.name != "nothing":
            self._wait(lambda: self._states().get("deferred", 0) >= came.tasks, limit, "all to be deferred")
            came.begin = time.monotonic() - began
            time.sleep(4 * POLL)  # the last triggers start, and take their first looks
            came.blocked.append(self._blocked() - blocked)
            blocked = self._blocked()
            asked, spent = self._requests(), self._cpu(TRIGGERERS)
            self._pause(STILL)
            came.memory.append(self._memory())
            came.triggerers = self._cpu(TRIGGERERS) - spent
            came.requests.append(self._requests() - asked)
            came.blocked.append(self._blocked() - blocked)
            blocked, asked = self._blocked(), self._requests()
            ends = ask(self.at["port"], self.at["ca"], "/_end")
            self._pause(ENDS[1] + 2 * POLL)
            came.requests.append(self._requests() - asked)
            came.blocked.append(self._blocked() - blocked)
        self._wait(lambda: self._ended() >= came.tasks, limit, "all to have ended")
        came.states = self._states()
        came.workers = (self._cpu(WORKERS) - worked) / came.tasks
        if came.name != "nothing":
            came.delays = list(self._delays(run_id, {key: end for key, (_, end) in ends.items()}))
        return came

    def _wait(self, is_over: Any, limit: float, what: str) -> None:
        def look() -> bool:
            self._sample()
            return bool(is_over())

        wait_for(look, limit=limit, what=what, interval=3, explain=lambda: str(self._states()))

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._sample()
            time.sleep(min(3, left))

    def _sample(self) -> None:
        found = self._ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        self.came.connections = max(self.came.connections, found[0][0] - 1)

    def _states(self) -> dict[str, int]:
        return dict(
            self._ask(
                "SELECT coalesce(state, 'none'), count(*) FROM task_instance WHERE dag_id = %s GROUP BY 1",
                self.dag_id,
            )
        )

    def _ended(self) -> int:
        states = self._states()
        return sum(states.get(state, 0) for state in ("success", "failed", "upstream_failed"))

    def _ask(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self._url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def _requests(self) -> int:
        stats = ask(self.at["port"], self.at["ca"], "/_stats")
        return sum(stats["requests"].values())

    def _processes(self, names: Sequence[str]) -> Iterator[psutil.Process]:
        for name in names:
            yield from self.cluster.components[name].processes()

    def _cpu(self, names: Sequence[str]) -> float:
        # What a task's process has taken is in the sum of the children of the one that has waited for it.
        times = [process.cpu_times() for process in self._processes(names)]
        return float(sum(one.user + one.system + one.children_user + one.children_system for one in times))

    def _memory(self) -> float:
        return float(sum(process.memory_full_info().uss for process in self._processes(TRIGGERERS))) / MIB

    def _blocked(self) -> int:
        logs = (self.cluster.components[name].log_file for name in TRIGGERERS)
        return sum(log.read_text(errors="replace").count(BLOCKED) for log in logs)

    def _delays(self, run_id: str, ends: dict[str, float]) -> Iterator[float]:
        # The server counts the databricks provider's runs as it makes them, its first being another.
        by_number = dict(enumerate(ends.values()))
        folder = self.cluster.home / "logs" / f"dag_id={self.dag_id}" / f"run_id={run_id}"
        for path in folder.glob("task_id=wait/**/attempt=*.log.trigger.*.log"):
            for line in path.read_text(errors="replace").splitlines():
                if '"Trigger fired event"' not in line:
                    continue
                told = json.loads(line)
                fired = datetime.fromisoformat(told["timestamp"]).timestamp()
                if match := re.search(r"'xpander_task_id': '([^']+)'", told["result"]):
                    yield fired - ends[match[1]]
                elif match := re.search(r"'run_id': (\d+)", told["result"]):
                    yield fired - by_number[int(match[1])]


def table(came: Sequence[Came]) -> str:
    """
    Return what all took as a table.

    :param came: of each contender.
    """
    heads = (
        "contender", "tasks", "states", "all deferred after, s", f"requests in {STILL:.0f} s, none ends",
        "requests until all have ended", "blocked warnings: starting / waiting / ending",
        "triggerers, MiB before / with all",
        f"triggerers, CPU s in {STILL:.0f} s", "workers, CPU s a task", "database connections",
        "event after p50 / p95 / max, s",
    )  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    for one in came:
        delays = " / ".join(f"{quantile(one.delays, share):.1f}" for share in (0.5, 0.95, 1))
        cells = (
            one.name, f"{one.tasks:,}", one.states, f"{one.begin:.0f}", *(one.requests or ("", "")),
            " / ".join(map(str, one.blocked)), " / ".join(f"{mib:.0f}" for mib in one.memory),
            f"{one.triggerers:.1f}", f"{one.workers:.2f}", one.connections, delays,
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def environment(at: dict[str, Any], tasks: int) -> dict[str, str]:
    """
    Return what the DAGs and their connections need.

    :param at: port and CA of the benchmarks' server.
    :param tasks: how many each DAG has.
    """
    none = {"requests_per_minute": 0, "requests_per_hour": 0}
    connections = {
        "XPANDER": {
            "conn_type": "xpander",
            "host": f"https://127.0.0.1:{at['port']}",
            "password": "xpander-benchmark-key-0000",
            "extra": {"verify": at["ca"], **none},
        },
        "DATABRICKS": {
            "conn_type": "databricks",
            "host": "https://127.0.0.1",
            "port": at["port"],
            "password": "benchmark-token",
        },
    }
    return {
        **{f"AIRFLOW_CONN_{name}_DEFAULT": json.dumps(one) for name, one in connections.items()},
        "SSL_CERT_FILE": at["ca"],
        "REQUESTS_CA_BUNDLE": at["ca"],
        "DEFERRED_POLL": str(POLL),
        "DEFERRED_TASKS": str(tasks),
        "AIRFLOW__CORE__MAX_MAP_LENGTH": "10000",
        "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "64",
    }


def main() -> int:
    """Measure, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=500, help="tasks of each contender")
    parser.add_argument("--who", action="append", default=[], help="xpander, databricks, nothing")
    parser.add_argument("--limit", type=float, default=1500, help="seconds for all tasks to start, or to end")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    came: list[Came] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.who or ["nothing", "xpander", "databricks"]:
            tasks = min(options.n, 100) if name == "nothing" else options.n
            # A server and a cluster for each: nobody has the memory or the logs of the one before.
            with server(Path(folder), speed=1.0, held=True, ends=ENDS) as at:
                home = STATE / "thousands" / f"airflow-{AIRFLOW_VERSION}"
                with local_cluster(
                    home, dags=(ROOT / "benchmarks" / "deferred_dags",), env=environment(at, tasks)
                ) as cluster:
                    print(f"{name}: the cluster is up", flush=True)
                    came.append(Measurement(cluster, at, name, tasks).run(options.limit))
            print(table(came), flush=True)
    return 0 if all(set(one.states) == {"success"} for one in came) else 1


if __name__ == "__main__":
    sys.exit(main())
