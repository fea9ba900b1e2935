"""One run of a DAG with one task, and what the service has seen of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil
import sqlalchemy

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.local_airflow import LocalAirflow
from dev.waiting import wait_for

T = TypeVar("T")


class Scenario:
    """
    Starts a run of a DAG whose task is ``run``.

    :param airflow: the running Airflow.
    :param emulator: the service.
    :param dag_id: the DAG.
    :param text: what the agent is asked.
    """

    def __init__(self, airflow: LocalAirflow, emulator: EmulatorServer, dag_id: str, text: str) -> None:
        self.airflow = airflow
        self.client = airflow.client
        self.emulator = emulator.emulator
        self.dag_id = dag_id
        self.run_id = self.client.trigger(dag_id, {"text": text})
        self.killed_try = 1

    @property
    def tries(self) -> int:
        """The tries of the Airflow task, from the one on whose worker was killed."""
        return self.client.task_instance(self.dag_id, self.run_id, "run").try_number - self.killed_try + 1

    def runs(self) -> list[str]:
        """Return the ids of the remote runs that were created, in their order."""
        return [run.task_id for run in self.emulator.runs() if f" {self.run_id} [" in run.body["title"]]

    def rows_paid(self) -> list[int]:
        """Return the rows that completed runs of a bulk task were asked about, in their order."""
        paid = []
        for run in self.emulator.runs():
            if run.task_id in self.runs() and self.emulator.status(run.task_id) == "completed":
                pack = json.loads(run.body["input"]["text"].rpartition("\n\n")[2])
                paid += [row["row"]["id"] for row in pack.get("rows") or [{"row": pack}]]
        return sorted(paid)

    def rows_written(self) -> list[int] | None:
        """Return the rows in the table of a bulk task, in their order; None if it has no table."""
        with closing(sqlite3.connect(Path(self.airflow.env["E2E_PIDS"], "answers.db"))) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [self.run_id]).fetchone():
                return None
            return [row for (row,) in database.execute(f'SELECT id FROM "{self.run_id}" ORDER BY id')]

    @property
    def bulk_folder(self) -> Path:
        """The ``result_path`` of a bulk task."""
        return Path(self.airflow.env["E2E_PIDS"], "bulk", self.dag_id, self.run_id)

    def stops(self, task_id: str) -> int:
        return self.emulator.stops(task_id)

    def xcom(self, key: str = "return_value") -> Any:
        return self.client.xcom(self.dag_id, self.run_id, "run", key)

    def wait_for(self, look: Callable[[], T | None], *, limit: float, what: str, interval: float = 0.5) -> T:
        """
        Wait as :func:`dev.waiting.wait_for`, for as much longer as this Airflow may be late.

        :param look: as there.
        :param limit: as there.
        :param what: as there.
        :param interval: as there.
        """
        return wait_for(look, limit=limit + self.airflow.late, what=what, interval=interval)

    def wait_until_started(self) -> None:
        self.wait_for(self.runs, limit=90, what="the remote run", interval=0.1)
        self.wait_for(
            lambda: self._pids(self._newest_try), limit=30, what="the worker's process", interval=0.1
        )

    def wait_until_deferred(self) -> None:
        # The trigger has to run: before, Airflow tells nobody that the task is ended.
        self.wait_for(lambda: self.triggers() > 0, limit=120, what="the trigger", interval=0.2)
        self.client.wait_for_task(self.dag_id, self.run_id, "run", {"deferred"})

    @property
    def workers(self) -> list[str]:
        """The workers of a cluster that have had the task, one after the other."""
        path = self._notes("workers")
        return path.read_text().split() if path.exists() else []

    def triggers(self) -> int:
        """Count the triggers of the task, mapped ones too, that a triggerer has started: each has a log."""
        folder = self.airflow.home / "logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        return sum(1 for _ in folder.glob("task_id=run/**/attempt=*.log.trigger.*.log"))

    def wait_until_resumed(self) -> None:
        self.wait_for(
            lambda: len(self._pids(self._newest_try)) >= 2, limit=90, what="the resumed task", interval=0.1
        )

    def wait_until_gone_on(self) -> None:
        """Wait until a process goes on with the deferred task: the resumed one, or that of the next try."""
        deferred = self._newest_try
        wait_for(
            lambda: self._newest_try > deferred or len(self._pids(deferred)) >= 2,
            limit=90,
            what="a process that goes on",
            interval=0.1,
        )

    def kill_worker(self, process: int) -> None:
        """
        Kill the process that has the task, once the run exists, and let those that come after it go on.

        :param process: of the try: 1 for the one that starts the run, 2 for the one that resumes the task.
        """
        self.wait_for(self.runs, limit=90, what="the remote run", interval=0.1)
        self.kill_process(process)

    def kill_process(self, process: int) -> None:
        """
        Kill the process that has the task, whether there is a run or not, and let the next ones go on.

        :param process: of the try, as above.
        """
        self.killed_try, pid = self.wait_for(
            lambda: self._living(process), limit=90, what=f"process {process} of a try", interval=0.1
        )
        os.kill(pid, signal.SIGKILL)
        self.let_go()

    def wait_until_it_dawdles(self) -> None:
        """Wait until a process of a slow DAG is at the very point where it waits to be killed."""
        self.wait_for(self._notes("dawdles").exists, limit=120, what="the slow process", interval=0.1)

    def wait_until_tried_again(self) -> None:
        self.wait_for(
            lambda: self._newest_try > self.killed_try, limit=120, what="the next try", interval=0.1
        )

    def let_go(self) -> None:
        """Tell the processes of a slow DAG that nobody is going to kill them any more."""
        self._notes("go").touch()

    def clear(self) -> None:
        self.client.clear(self.dag_id, self.run_id, "run")

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def succeeds(self, limit: float = 120) -> None:
        """
        Wait for success, and check that there was one run, no stop, and that its answer has arrived.

        :param limit: seconds to wait at the most.
        """
        state = self.client.wait_for_run(self.dag_id, self.run_id, limit=limit)
        assert state == "success"
        runs = self.runs()
        assert len(runs) == 1, f"{len(runs)} runs were created"
        assert self.stops(runs[0]) == 0
        assert self.xcom("xpander_task_id") == runs[0]
        assert self.xcom(), "the answer is missing"

    def is_stopped(self, task_id: str | None = None) -> None:
        """
        Wait until the run was stopped, once.

        :param task_id: the run; None for the only one.
        """
        run = task_id or self.runs()[0]
        self.wait_for(lambda: self.stops(run), limit=60, what="the stop", interval=0.2)
        assert self.stops(run) == 1

    @contextmanager
    def another_triggerer(self) -> Iterator[None]:
        """Give the trigger to a triggerer that exists in the database only, and take it back."""
        url = self.airflow.env.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
        engine = sqlalchemy.create_engine(url or f"sqlite:///{self.airflow.home}/airflow.db")
        later = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=5)
        try:
            with engine.begin() as connection:
                job = connection.execute(sqlalchemy.text("SELECT max(id) FROM job")).scalar() + 1000
                connection.execute(
                    sqlalchemy.text(
                        "INSERT INTO job (id, job_type, state, latest_heartbeat, start_date, hostname) "
                        "VALUES (:id, 'TriggererJob', 'running', :later, :later, 'elsewhere')"
                    ),
                    {"id": job, "later": later},
                )
                connection.execute(
                    sqlalchemy.text(
                        "UPDATE trigger SET triggerer_id = :id WHERE id = "
                        "(SELECT trigger_id FROM task_instance WHERE dag_id = :dag AND run_id = :run)"
                    ),
                    {"id": job, "dag": self.dag_id, "run": self.run_id},
                )
            yield
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("DELETE FROM job WHERE id = :id"), {"id": job})
                connection.execute(
                    sqlalchemy.text("UPDATE trigger SET triggerer_id = NULL WHERE triggerer_id = :id"),
                    {"id": job},
                )
        finally:
            engine.dispose()

    @property
    def _newest_try(self) -> int:
        # A try may have failed before its worker could be killed, e.g. while the service was away.
        return next(number for number in range(9, 0, -1) if number == 1 or self._notes(number).exists())

    def _living(self, process: int) -> tuple[int, int] | None:
        number = self._newest_try
        pid = next(iter(self._pids(number)[process - 1 :]), None)
        return (number, pid) if pid is not None and psutil.pid_exists(pid) else None

    def _pids(self, try_number: int) -> list[int]:
        path = self._notes(try_number)
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def _notes(self, suffix: object) -> Path:
        return Path(self.airflow.env["E2E_PIDS"], f"{self.dag_id}.{self.run_id}.{suffix}".replace("/", "_"))
