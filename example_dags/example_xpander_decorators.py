"""
Ask an agent about each row with a decorated function.

``@task.xpander_agent`` makes a task of a function that returns what is asked. The rows may hold anything:
what the function returns is never rendered as a template. Each answer is checked by a pydantic model.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``classifier``, an agent of the local emulator.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG


class Ticket(BaseModel):
    """What the answer looks like."""

    category: Literal["billing", "bug", "access", "other"]


with DAG(
    dag_id="xpander_decorators",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def tickets() -> list[str]:
        """Return the texts of tickets, as they would come from a table."""
        return [
            "I was charged twice.",
            "The export crashes.",
            "Look: {{ var.value.secret }} is sent as it is.",
        ]

    @task.xpander_agent(
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "classifier",
        output_schema=Ticket,
        deferrable=True,
        poll_interval=2,
    )
    def classify(text: str) -> str:
        """Return what is asked about one ticket."""
        return f"To which team does this ticket go? {text}"

    @task
    def count(answers: Any) -> dict[str, int]:
        """Return how many tickets there are of each category."""
        categories = [answer["category"] for answer in answers]
        return {category: categories.count(category) for category in sorted(set(categories))}

    count(classify.expand(text=tickets()))
