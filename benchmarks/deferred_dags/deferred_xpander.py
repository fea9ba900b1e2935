"""Many deferred tasks of this provider."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow.sdk import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

with DAG(
    "deferred_xpander",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_tasks=10_000,
):
    XpanderInvokeAgentOperator.partial(
        task_id="wait",
        agent_id="agent-1",
        deferrable=True,
        poll_interval=float(os.environ["DEFERRED_POLL"]),
        retries=0,
    ).expand(input=[f"run {number}" for number in range(int(os.environ["DEFERRED_TASKS"]))])
