"""Many deferred tasks of the databricks provider."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow.providers.databricks.operators.databricks import DatabricksSubmitRunOperator
from airflow.sdk import DAG

with DAG(
    "deferred_databricks",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_tasks=10_000,
):
    DatabricksSubmitRunOperator.partial(
        task_id="wait",
        notebook_task={"notebook_path": "/benchmark"},
        existing_cluster_id="benchmark",
        deferrable=True,
        polling_period_seconds=int(os.environ["DEFERRED_POLL"]),
        retries=0,
    ).expand(run_name=[f"run {number}" for number in range(int(os.environ["DEFERRED_TASKS"]))])
