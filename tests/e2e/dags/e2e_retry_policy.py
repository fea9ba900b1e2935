"""A task whose retries come when the service asks for them; Airflow 3.3 and later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_xpander._compat import HAS_RETRY_POLICY
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.retry_policy import XpanderRetryPolicy

with DAG("e2e_retry_policy", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    XpanderInvokeAgentOperator(
        task_id="run",
        agent_id="echo",
        input="in time",
        retries=1,
        retry_delay=timedelta(hours=1),
        **({"retry_policy": XpanderRetryPolicy()} if HAS_RETRY_POLICY else {}),
    )
