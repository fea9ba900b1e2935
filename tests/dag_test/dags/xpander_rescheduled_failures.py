"""A DAG whose task is rescheduled when it is throttled; only Airflow 3.4 can do that."""

from __future__ import annotations

from datetime import timedelta

from airflow import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.retry_policy import HAS_RESCHEDULE, XpanderRetryPolicy

throttled = None
if HAS_RESCHEDULE:
    with DAG("xpander_throttled", schedule=None) as throttled:
        XpanderInvokeAgentOperator(
            task_id="ask",
            agent_id="echo",
            input="hello",
            poll_interval=0.1,
            deferrable=False,
            retries=0,
            retry_delay=timedelta(seconds=0),
            retry_policy=XpanderRetryPolicy(),
        )
