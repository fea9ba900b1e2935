"""Runs that are killed and cleared: each DAG has one task, ``run``, which waits in a way of its own."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.bulk.ledger import Ledger
from airflow_provider_xpander.bulk.tables import TableWriter
from airflow_provider_xpander.operators.attempt import Attempt
from airflow_provider_xpander.operators.base import XpanderRequestOperator
from airflow_provider_xpander.operators.bulk.ask import Asker
from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

try:
    from airflow.sdk import DAG, get_current_context
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG
    from airflow.operators.python import get_current_context


def notes(ti: Any, suffix: object) -> Path:
    """Return the file by which the test and the processes of one run of a DAG tell each other something."""
    return Path(os.environ["E2E_PIDS"], f"{ti.dag_id}.{ti.run_id}.{suffix}".replace("/", "_"))


def note_pid(context: Any) -> None:
    """Tell the test which process is the worker of this try, and which Celery worker has started it."""
    with notes(context["ti"], "workers").open("a") as file:
        file.write(f"{Path(tempfile.gettempdir()).stem}\n")
    with notes(context["ti"], context["ti"].try_number).open("a") as file:
        file.write(f"{os.getpid()}\n")


def dawdle() -> None:
    """Wait at this very point until the test kills this process, or lets it go."""
    ti = get_current_context()["ti"]
    notes(ti, "dawdles").touch()
    go = notes(ti, "go")
    give_up = time.monotonic() + float(os.environ["E2E_DAWDLE"])
    while time.monotonic() < give_up and not go.exists():
        time.sleep(0.1)


@contextmanager
def dawdling_before(owner: type, method: str) -> Iterator[None]:
    """Dawdle each time that a method is about to do its work."""
    real = getattr(owner, method)

    def slow(*args: Any, **kwargs: Any) -> Any:
        dawdle()
        return real(*args, **kwargs)

    with mock.patch.object(owner, method, slow):
        yield


@contextmanager
def dawdling_after(owner: type, method: str) -> Iterator[None]:
    """Dawdle each time that a method has done its work."""
    real = getattr(owner, method)

    def slow(*args: Any, **kwargs: Any) -> Any:
        done = real(*args, **kwargs)
        dawdle()
        return done

    with mock.patch.object(owner, method, slow):
        yield


class SlowToDefer(XpanderInvokeAgentOperator):
    """Stays a while between the submit and the deferral."""

    def execute(self, context: Any) -> Any:
        """Submit, dawdle, defer."""
        with dawdling_before(Attempt, "defer_on"):
            return super().execute(context)


class SlowToResume(XpanderInvokeAgentOperator):
    """Stays a while before it fetches the answer."""

    def execute_complete(self, context: Any, event: Any, **kwargs: Any) -> Any:
        """Dawdle, then resume."""
        dawdle()
        return super().execute_complete(context, event, **kwargs)


class SlowBulk(XpanderEnrichOperator):
    """Stays a while before it takes up the runs of a wave."""

    def execute_complete(self, context: Any, event: Any) -> Any:
        """Dawdle, then go on."""
        dawdle()
        return super().execute_complete(context, event)


class SlowToRead(XpanderEnrichOperator):
    """Stays a while where it reads its rows, to write them down."""

    def source(self, context: Any) -> Any:
        """Dawdle, then read."""
        dawdle()
        return super().source(context)


class SlowAfterIntent(XpanderEnrichOperator):
    """Stays a while when it has noted what it is about to start."""

    def execute(self, context: Any) -> Any:
        """Begin, slowly."""
        with dawdling_after(Ledger, "intend"):
            return super().execute(context)


class SlowAfterSubmit(XpanderEnrichOperator):
    """Stays a while when a run is started, and not yet noted to be."""

    def execute(self, context: Any) -> Any:
        """Begin, slowly."""
        with dawdling_after(Asker, "_invoke"):
            return super().execute(context)


class SlowToFetch(XpanderEnrichOperator):
    """Stays a while after it has read the first answer of a wave."""

    def execute_complete(self, context: Any, event: Any) -> Any:
        """Go on, slowly."""
        with dawdling_after(Client, "call"):
            return super().execute_complete(context, event)


ANSWERS = Path(os.environ.get("E2E_PIDS", "/tmp"), "answers.db")
os.environ.setdefault("AIRFLOW_CONN_E2E_ANSWERS", json.dumps({"conn_type": "sqlite", "host": str(ANSWERS)}))


class SlowToWrite(XpanderEnrichOperator):
    """Stays a while when answers are in the table, and not yet noted to be there."""

    def execute(self, context: Any) -> Any:
        """Make a table of this run's own, and begin."""
        with closing(sqlite3.connect(ANSWERS)) as database:
            database.execute(f"CREATE TABLE IF NOT EXISTS {self.write_table} (id INTEGER, seconds INTEGER)")
        return super().execute(context)

    def execute_complete(self, context: Any, event: Any) -> Any:
        """Go on, slowly."""
        with dawdling_after(TableWriter, "write"):
            return super().execute_complete(context, event)


# Three packs, so three remote runs.
BULK = {
    "agent_id": "slow-rows",
    "rows": [{"id": number} for number in range(6)],
    "key": "id",
    "output_schema": {"type": "object", "properties": {"seconds": {"type": "integer"}}},
    "rows_per_run": 2,
    "result_path": f"file://{os.environ.get('E2E_PIDS', '/tmp')}/bulk/{{{{ dag.dag_id }}}}/{{{{ run_id }}}}",
    "deferrable": True,
}

KINDS: dict[str, tuple[type[XpanderRequestOperator], dict[str, Any]]] = {
    "deferred": (XpanderInvokeAgentOperator, {"deferrable": True}),
    "worker": (XpanderInvokeAgentOperator, {"deferrable": False}),
    "sync": (XpanderInvokeAgentOperator, {"mode": "sync"}),
    "stream": (XpanderInvokeAgentOperator, {"mode": "stream", "deferrable": False}),
    "slow_to_defer": (SlowToDefer, {"deferrable": True}),
    "slow_to_resume": (SlowToResume, {"deferrable": True}),
    "deferred_timeout": (XpanderInvokeAgentOperator, {"deferrable": True, "timeout": 5, "retries": 0}),
    "worker_timeout": (XpanderInvokeAgentOperator, {"deferrable": False, "timeout": 5, "retries": 0}),
    "sync_timeout": (XpanderInvokeAgentOperator, {"mode": "sync", "timeout": 5, "retries": 0}),
    "stream_timeout": (
        XpanderInvokeAgentOperator,
        {"mode": "stream", "deferrable": False, "timeout": 5, "retries": 0},
    ),
    "leave": (XpanderInvokeAgentOperator, {"deferrable": True, "on_kill_action": "leave"}),
    "bulk": (XpanderEnrichOperator, BULK),
    "bulk_worker": (XpanderEnrichOperator, BULK | {"deferrable": False}),
    "bulk_slow_to_read": (SlowToRead, BULK),
    "bulk_slow_after_intent": (SlowAfterIntent, BULK),
    "bulk_slow_after_submit": (SlowAfterSubmit, BULK),
    "bulk_slow_to_resume": (SlowBulk, BULK),
    "bulk_slow_to_fetch": (SlowToFetch, BULK),
    "bulk_slow_to_write": (
        SlowToWrite,
        BULK | {"write_table": '"{{ run_id }}"', "write_conn_id": "e2e_answers", "write_mode": "append"},
    ),
    "no_retries": (XpanderInvokeAgentOperator, {"deferrable": False, "retries": 0}),
}

for kind, (operator, options) in KINDS.items():
    with DAG(
        f"kill_{kind}",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        params={"text": "take 5"},
    ) as dag:
        operator(
            **{
                "task_id": "run",
                "agent_id": "slow",
                "input": "{{ params.text }}",
                "poll_interval": 0.5,
                "timeout": float(os.environ["E2E_TIMEOUT"]) if "E2E_TIMEOUT" in os.environ else None,
                "retries": 3,
                "retry_delay": timedelta(seconds=float(os.environ.get("E2E_RETRY_DELAY", "1"))),
                "pre_execute": note_pid,
                **options,
            }
        )
    globals()[dag.dag_id] = dag

with DAG("kill_many", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    # Its connection has the service's own limit: the stops of a mass clear must not pass it.
    XpanderInvokeAgentOperator.partial(
        task_id="run",
        agent_id="slow",
        xpander_conn_id="xpander_limited",
        deferrable=True,
        poll_interval=30,
        retries=3,
        retry_delay=timedelta(seconds=float(os.environ.get("E2E_RETRY_DELAY", "1"))),
    ).expand(input=["take 6000"] * int(os.environ.get("E2E_MANY", "1")))
