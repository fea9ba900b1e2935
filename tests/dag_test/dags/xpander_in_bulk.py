"""DAGs with bulk tasks that ``dag.test()`` runs."""

from __future__ import annotations

import os
from typing import Any

from airflow import DAG

from airflow_provider_xpander._compat import BaseOperator, Context
from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator

ROOM = "XPANDER_TEST_BULK"
"""Environment variable with the URL of the folder that all write below."""
SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "enum": ["billing", "bug", "access"]}},
    "required": ["category"],
}
COMMON: dict[str, Any] = {
    "agent_id": "classifier",
    "key": "id",
    "input": "Classify the ticket of {{ ds or run_id }}.",
    "output_schema": SCHEMA,
    "poll_interval": 0.1,
    "rows_per_run": 3,
}
PLACE = os.environ.get(ROOM, "file:///tmp") + "/{{ run_id }}/"


class TicketsOperator(BaseOperator):
    """Return rows with braces in them, which are data and no template."""

    def execute(self, context: Context) -> Any:
        """Return the rows."""
        return [{"id": number, "text": f"{{{{ ds }}}} ticket {number}"} for number in range(1, 8)]


with DAG("xpander_bulk", schedule=None) as bulk:
    tickets = TicketsOperator(task_id="tickets")
    XpanderEnrichOperator(
        task_id="deferred", rows=tickets.output, result_path=PLACE + "deferred", deferrable=True, **COMMON
    )
    XpanderEnrichOperator(
        task_id="worker", rows=tickets.output, result_path=PLACE + "worker", deferrable=False, **COMMON
    )
    XpanderEnrichOperator.partial(
        task_id="mapped", result_path=PLACE + "mapped/{{ ti.map_index }}", deferrable=True, **COMMON
    ).expand(rows=[[{"id": part, "text": f"ticket {part}"}] for part in range(4)])

with DAG("xpander_bulk_sql", schedule=None, params={"least": 3}) as sql:
    XpanderEnrichOperator(
        task_id="table",
        rows="SELECT id, text FROM tickets WHERE id >= {{ params.least }} ORDER BY id",
        rows_conn_id="tickets_db",
        write_table="labels",
        write_conn_id="tickets_db",
        write_mode="upsert",
        result_path=PLACE + "table",
        deferrable=True,
        **COMMON,
    )
