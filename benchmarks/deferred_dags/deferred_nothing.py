"""Many tasks that only defer and resume: what each costs Airflow itself."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator


class Nothing(BaseOperator):
    """Defers for a moment."""

    def __init__(self, *, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=15)), method_name="resume")

    def resume(self, context: Any, event: Any) -> int:
        """Return something short, which goes into XCom."""
        return self.number


with DAG(
    "deferred_nothing",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_tasks=10_000,
):
    Nothing.partial(task_id="wait", retries=0).expand(number=list(range(int(os.environ["DEFERRED_TASKS"]))))
