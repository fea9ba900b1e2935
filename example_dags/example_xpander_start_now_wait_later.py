"""
Start an agent now, do other work meanwhile, and wait for its answer later.

With ``wait_for_completion=False`` the operator returns as soon as the run has been accepted, and its return
value is the id of the run. The sensor takes that id and returns the agent's answer. A sensor only looks:
whatever becomes of it, the run goes on.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``slow``, an agent of the local emulator that takes its time.
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
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

with DAG(
    dag_id="xpander_start_now_wait_later",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:
    start = XpanderInvokeAgentOperator(
        task_id="start",
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "slow",
        input="Write the morning report about last night's loads.",
        wait_for_completion=False,
    )

    @task
    def other_work() -> int:
        """Stand for whatever the pipeline can do without the answer."""
        return sum(range(1_000))

    wait = XpanderTaskSensor(
        task_id="wait",
        xpander_task_id=start.output,
        deferrable=True,
        # The emulator answers within seconds. Leave this out for a real agent: the default, a minute,
        # spares the service's rate limit.
        poke_interval=2,
    )

    @task
    def publish(answer: str, figure: int) -> str:
        """Put the agent's answer and our own figure together."""
        return f"{answer}\n\nToday's figure: {figure}"

    figure = other_work()
    start >> figure
    publish(wait.output, figure)
