"""
Enrich a table: let an agent classify each support ticket.

1. ``read_tickets`` reads the rows of ``data/support_tickets.csv``, next to this file.
2. ``classify`` is mapped over them: one run of the agent for each ticket. ``output_schema`` makes each answer
   a dict with the fields that the table needs, and is what it is checked by. All forty wait at the same time
   and occupy no worker.
3. ``write_table`` joins rows and answers, writes them as CSV, and returns the path of that file.

Needs the connection ``xpander_default``. What can be set from outside:

- ``XPANDER_AGENT_ID``: the agent; without it ``classifier``, an agent of the local emulator
- ``XPANDER_EXAMPLE_POLL_INTERVAL``: seconds between two looks at a run; 2 suits the emulator, 30 the service
- ``XPANDER_EXAMPLE_OUTPUT``, or the DAG's parameter ``output_path``: the file to write
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG
    from airflow.models.param import Param

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

TICKETS = Path(__file__).parent / "data" / "support_tickets.csv"
OUTPUT = os.environ.get("XPANDER_EXAMPLE_OUTPUT") or str(Path(tempfile.gettempdir(), "enriched_tickets.csv"))

TICKET_SCHEMA = {
    "type": "object",
    "properties": {
        "category": {
            "type": "string",
            "enum": ["billing", "bug", "access", "feature", "performance", "security", "question", "other"],
        },
        "priority": {"type": "string", "enum": ["low", "medium", "high", "urgent"]},
        "sentiment": {"type": "string", "enum": ["negative", "neutral", "positive"]},
        "summary": {"type": "string", "description": "One sentence of at most 20 words."},
    },
    "required": ["category", "priority", "sentiment", "summary"],
    "additionalProperties": False,
}


def as_prompt(ticket: dict[str, str]) -> str:
    """Return what the agent reads: the ticket as its customer wrote it."""
    return f"{ticket['subject']}\n\n{ticket['body']}"


with DAG(
    dag_id="xpander_enrich_tickets",
    # "@daily" in production. None here: unpausing it starts nothing, each trigger starts one run.
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"output_path": Param(OUTPUT, type="string", description="The CSV file to write.")},
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def read_tickets() -> list[dict[str, str]]:
        """Read the rows of the table."""
        with TICKETS.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @task
    def write_table(
        tickets: list[dict[str, str]],
        answers: Iterable[dict[str, Any]],
        params: dict[str, Any] | None = None,
    ) -> str:
        """Write rows and answers side by side; Airflow fills in ``params``."""
        rows = [{**ticket, **answer} for ticket, answer in zip(tickets, answers, strict=True)]
        path = Path((params or {})["output_path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=[*tickets[0], *TICKET_SCHEMA["properties"]])
            writer.writeheader()
            writer.writerows(rows)
        return str(path)

    tickets = read_tickets()
    classify = XpanderInvokeAgentOperator.partial(
        task_id="classify",
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "classifier",
        additional_context="The input is a support ticket. Classify it for the people who will work on it.",
        output_schema=TICKET_SCHEMA,
        # An answer that does not match is sent back to the agent once, to be corrected.
        on_invalid="repair",
        deferrable=True,
        poll_interval=float(os.environ.get("XPANDER_EXAMPLE_POLL_INTERVAL") or "2"),
        # A retry finds the run that its first try has started, so nothing is paid for twice.
        retries=2,
        retry_delay=timedelta(seconds=10),
        # The grid names each ticket by its subject instead of by a number.
        map_index_template="{{ task.input.splitlines()[0] }}",
    ).expand(input=tickets.map(as_prompt))
    write_table(tickets, classify.output)
