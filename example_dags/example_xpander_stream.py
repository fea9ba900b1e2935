"""
Follow an agent in the task log while it works.

``mode="stream"`` holds a worker, because somebody has to read. If the stream breaks, the task goes on by
looking at the same run.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``storyteller``, an agent of the local emulator.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow.models.dag import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

with DAG(
    dag_id="xpander_stream",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:
    XpanderInvokeAgentOperator(
        task_id="follow",
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "storyteller",
        input="Why did the loads of last night fail?",
        mode="stream",
    )
