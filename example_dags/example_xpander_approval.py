"""
Have a person approve an answer before it goes on.

The agent classifies a ticket. Its answer is shown under "Required actions": approve it, edit it, ask again
with a comment, or reject it. The next task gets what was approved.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``classifier``, an agent of the local emulator. Before Airflow
3.1, which asks nobody, the answer goes on at once.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from airflow import __version__ as airflow_version

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

CAN_ASK = tuple(map(int, airflow_version.split(".")[:2])) >= (3, 1)

with DAG(
    dag_id="xpander_approval",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:

    @task.xpander_agent(
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "classifier",
        output_schema={
            "type": "object",
            "properties": {
                "category": {"type": "string", "enum": ["billing", "bug", "access"]},
                "summary": {"type": "string"},
            },
            "required": ["category", "summary"],
        },
        require_approval=CAN_ASK,
        approval_timeout=3600 if CAN_ASK else None,
        deferrable=True,
        poll_interval=2,
    )
    def classify() -> str:
        """Return what is asked."""
        return "I was charged twice this month."

    @task
    def send(ticket: dict[str, Any]) -> str:
        """Use what was approved."""
        return f"To {ticket['category']}: {ticket['summary']}"

    send(classify())
