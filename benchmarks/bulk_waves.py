"""
Bulk tasks against the emulator: what ten thousand rows take, and rows an hour under the published limits.

``python -m benchmarks.bulk_waves``. Worker and triggerer are this process, without Airflow's own parts; under
the limits its clock goes thirty times as fast.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow_provider_xpander.api import clock, governor
from airflow_provider_xpander.emulator import EmulatorServer, Settings
from benchmarks.bulk_rows import rows

RUN_SECONDS = 10.0
LIMITS = {"requests_per_minute": 100, "requests_per_hour": 1000}
SPEED = 30.0
SCHEMA = {"type": "object", "properties": {"category": {"type": "string"}}, "required": ["category"]}


class TaskInstance(SimpleNamespace):
    """What an operator asks of its task instance."""

    def xcom_push(self, key: str, value: Any) -> None:
        """
        Take an XCom.

        :param key: its key.
        :param value: its value.
        """


@dataclass
class Course:
    """
    A bulk task from its beginning, wave by wave.

    :param server: the service.
    :param count: of rows.
    :param size: rows that one run is asked about.
    :param limits: those of the connection.
    """

    server: EmulatorServer
    count: int
    size: int
    limits: dict[str, int]
    worker: float = 0.0
    """Seconds that the worker was busy."""
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp()))

    def waves(self) -> Iterator[int]:
        """Run the task, and yield the number of answers after each wave."""
        from airflow_provider_xpander._compat import TaskDeferred
        from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator

        os.environ["AIRFLOW_CONN_XPANDER_DEFAULT"] = json.dumps(
            {"conn_type": "xpander", "host": self.server.url, "password": self.server.api_key,
             "extra": {"requests_per_minute": 0, "requests_per_hour": 0} | self.limits}
        )  # fmt: skip
        ti = TaskInstance(
            dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=1, max_tries=0, start_date=None
        )
        context: Any = {"ti": ti, "params": {}}
        task = XpanderEnrichOperator(
            task_id="t", agent_id="classifier", rows=list(rows(self.count)), key="id", input="Classify it.",
            output_schema=SCHEMA, rows_per_run=self.size, deferrable=True, result_path=self.folder.as_uri(),
        )  # fmt: skip
        event: Any = None
        while True:
            began = time.monotonic()
            try:
                task.execute(context) if event is None else task.execute_complete(context, event)
                return
            except TaskDeferred as deferred:
                trigger = deferred.trigger
            finally:
                self.worker += time.monotonic() - began
            event = asyncio.run(_fire(trigger))
            yield self.answers()

    def answers(self) -> int:
        """Return how many answers were written."""
        return sum(1 for part in (self.folder / "results").glob("*") for _ in part.open())

    def requests(self) -> Counter[str]:
        """Return how many requests of each kind there were."""
        return Counter(
            "submits" if "/invoke" in call.path else "pages" if call.path == "/v1/tasks" else "reads"
            for call in list(self.server.emulator.calls)
        )


async def _fire(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    return None


def without_limits(count: int, size: int) -> str:
    """
    Run a task to its end, and return what it took.

    :param count: of rows.
    :param size: rows that one run is asked about.
    """
    with EmulatorServer(settings=Settings(run_seconds=RUN_SECONDS)) as server:
        course, began = Course(server, count, size, {}), time.monotonic()
        waves = sum(1 for _ in course.waves())
        kinds = course.requests()
    return (
        f"{count:,} rows, {size} a run: {time.monotonic() - began:.0f} s, {waves} deferrals, "
        f"{course.worker:.0f} s of the worker, {kinds.total():,} requests {dict(kinds)}"
    )


def under_limits(size: int, hours: float) -> str:
    """
    Run a task for some hours of a faster clock, and return how many rows it has done.

    :param size: rows that one run is asked about.
    :param hours: how long.
    """
    clock.CLOCK = clock.Clock(speed=SPEED)
    governor._governors.clear()
    try:
        with EmulatorServer(settings=Settings(run_seconds=RUN_SECONDS / SPEED)) as server:
            course, began, waves = Course(server, 100_000, size, LIMITS), time.monotonic(), 0
            for _ in course.waves():
                waves += 1
                passed = (time.monotonic() - began) * SPEED / 3600
                if passed >= hours:
                    break
            done = course.answers()
    finally:
        clock.CLOCK = clock.Clock()
    return f"{size} a run, under the limits: {done:,} rows in {passed:.2f} h, {waves} deferrals"


def main() -> None:
    """Measure and print."""
    print(without_limits(10_000, 20), flush=True)
    print(without_limits(200, 1), flush=True)
    for size in (20, 1):
        print(under_limits(size, 2), flush=True)


if __name__ == "__main__":
    main()
