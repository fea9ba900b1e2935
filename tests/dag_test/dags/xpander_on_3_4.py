"""DAGs with what only Airflow 3.4 has: failures that are rescheduled, and loops of tasks."""

from __future__ import annotations

from datetime import timedelta

from airflow import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.retry_policy import HAS_RESCHEDULE, XpanderRetryPolicy

throttled = loop = None
if HAS_RESCHEDULE:
    from airflow.sdk import task_group

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

    with DAG("xpander_loop", schedule=None) as loop:

        @task_group
        def rounds() -> None:
            """Ask about two texts in each round."""
            XpanderInvokeAgentOperator.partial(
                task_id="ask", agent_id="echo", poll_interval=0.1, deferrable=False
            ).expand(input=["one", "two"])

        rounds.loop(max_iterations=2)
