"""
Let a run fail, to see what the task says then.

The run ends with an error, and the task fails; its log says why, with the link to the run. It is tried
once more: a run that failed is started anew, and a run that is alive would be taken over.

Needs the connection ``xpander_default``, and asks ``failing``, an agent of the local emulator.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow.models.dag import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

with DAG(
    dag_id="xpander_failing",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:
    XpanderInvokeAgentOperator(
        task_id="fail",
        agent_id="failing",
        input="error",
        deferrable=True,
        poll_interval=2,
        retries=1,
        retry_delay=timedelta(seconds=5),
    )
