"""
Let an agent look into a task that fails, in two ways.

``load`` fails. Its callback is a notifier: it starts an agent's run with the errors, the number of the try
and the link to the log, and does not wait for it. The answer is in the console of xpander.ai.

``triage`` runs because ``load`` has failed. It waits for the answer of an agent, for when the DAG itself is
to go on with it; the DAG run is a success then.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``echo``, an agent of the local emulator, which answers what it
was told.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_xpander.notifications import XpanderNotifier
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

AGENT = os.environ.get("XPANDER_AGENT_ID") or "echo"

with DAG(
    dag_id="xpander_notifier",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:

    @task(
        on_failure_callback=XpanderNotifier(
            agent_id=AGENT,
            input="The task {{ ti.task_id }} has failed. Name the likely cause in two sentences.",
            max_per_hour=5,
        )
    )
    def load() -> None:
        """Load a table that is not as it should be."""
        try:
            {"id": 17}["price"]
        except KeyError as error:
            raise ValueError("orders.csv, row 1: a column is missing") from error

    triage = XpanderInvokeAgentOperator(
        task_id="triage",
        agent_id=AGENT,
        input="The load of {{ dag_run.run_id }} has failed. Who has to be told?",
        trigger_rule="one_failed",
        deferrable=True,
        poll_interval=2,
    )
    load() >> triage
