"""Four bulk tasks side by side, a part of the rows and a folder each."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator

PARTS, ROWS = 4, 6
FOLDER = os.environ.get("E2E_ANSWERS", "/tmp")

with DAG("e2e_bulk", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    XpanderEnrichOperator.partial(
        task_id="part",
        agent_id="classifier",
        key="id",
        input="Classify the ticket.",
        output_schema={"type": "object", "properties": {"category": {"type": "string"}}},
        rows_per_run=2,
        result_path=f"file://{FOLDER}/bulk/{{{{ run_id }}}}/{{{{ ti.map_index }}}}",
        deferrable=True,
        poll_interval=1,
    ).expand(
        rows=[
            [{"id": f"{part}-{row}", "text": f"ticket {part}-{row}"} for row in range(ROWS)]
            for part in range(PARTS)
        ]
    )
