"""
Ask a person in Airflow what to do about a run that is paused.

The agent waits for a person. The task shows that under "Required actions": keep waiting, or stop the run.
When the run goes on by itself, the question is closed and the task goes on.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``paused``, an agent of the local emulator. The link of the
task leads to the page of its run, where it can be resumed. Before Airflow 3.1, which asks nobody, the
task just waits.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow import __version__ as airflow_version

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow.models.dag import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

CAN_ASK = tuple(map(int, airflow_version.split(".")[:2])) >= (3, 1)

with DAG(
    dag_id="xpander_ask",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:
    XpanderInvokeAgentOperator(
        task_id="ask",
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "paused",
        input="Which of the two tables is to be dropped?",
        on_paused="ask" if CAN_ASK else "wait",
        deferrable=True,
        poll_interval=2,
        timeout=3600,
    )
