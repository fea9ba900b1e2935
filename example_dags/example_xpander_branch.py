"""
Let an agent choose which tasks run.

The agent reads a ticket and chooses one of three branches; the others are skipped. If it is not sure, the
ticket goes to a person.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``classifier``, an agent of the local emulator.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

BRANCHES = {
    "billing": "the customer speaks of money",
    "bug": "something does not work",
    "person": "anything else",
}

with DAG(
    dag_id="xpander_branch",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:

    @task.xpander_branch(
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "classifier",
        branches=BRANCHES,
        min_confidence=0.7,
        default="person",
        deferrable=True,
        poll_interval=2,
    )
    def route() -> str:
        """Return what is to be decided about."""
        return "I was charged twice this month."

    @task
    def work(on: str) -> str:
        """Do what is to be done in a branch."""
        return f"This goes to {on}."

    chosen = route()
    for name in BRANCHES:
        chosen >> work.override(task_id=name)(name)
