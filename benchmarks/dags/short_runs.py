"""Many deferred runs of one to three seconds, a dozen at a time."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

RUNS = int(os.environ["SHORT_RUNS"])

with DAG(
    "short_runs",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_tasks=RUNS,
):
    # No retries, so that a task that the scheduler fails stays failed. The pool counts deferred tasks too.
    XpanderInvokeAgentOperator.partial(
        task_id="ask", agent_id="slow", deferrable=True, poll_interval=0.5, retries=0, pool="dozen"
    ).expand(input=[f"take {1 + number % 5 / 2:g}" for number in range(RUNS)])
