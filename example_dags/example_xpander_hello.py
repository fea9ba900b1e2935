"""
Ask one agent one question.

The task starts a run of the agent and is then deferred: while the agent thinks, a trigger looks after the
run and no worker is occupied. The answer becomes the task's return value in XCom.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``echo``, an agent of the local emulator.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

with DAG(
    dag_id="xpander_hello",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:
    ask = XpanderInvokeAgentOperator(
        task_id="ask",
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "echo",
        input="Say hello to the readers of {{ run_id }}.",
        deferrable=True,
        # The emulator answers at once. Leave this out for a real agent: the default, 30 seconds,
        # spares the service's rate limit.
        poll_interval=2,
    )

    @task
    def show(answer: str) -> None:
        """Print the answer into the task's log."""
        print(answer)

    show(ask.output)
