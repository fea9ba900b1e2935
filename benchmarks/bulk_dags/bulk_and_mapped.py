"""The same rows as mapped tasks and in bulk; files and folders are in the environment."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

FOLDER = Path(os.environ["BULK_FOLDER"])
INPUT = "Classify it."
COMMON: dict[str, Any] = {
    "task_id": "ask",
    "agent_id": "classifier",
    "output_schema": {
        "type": "object",
        "properties": {"category": {"type": "string"}},
        "required": ["category"],
    },
    "deferrable": True,
    "retries": 0,
}
IN_FLIGHT = int(os.environ["BULK_IN_FLIGHT"])


def dag(name: str) -> DAG:
    """Return a DAG that is only ever triggered, with as many tasks at a time as Airflow lets run."""
    return DAG(
        name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_tasks=1000
    )


with dag("mapped_200"):
    rows = [json.loads(line) for line in (FOLDER / "rows-200.jsonl").read_text().splitlines()]
    XpanderInvokeAgentOperator.partial(**COMMON).expand(
        input=[f"{INPUT}\n\n{json.dumps(row)}" for row in rows]
    )

for count, size, in_flight in ((200, 1, 50), (200, 20, 50), (10_000, 20, 50), (10_000, 1, IN_FLIGHT)):
    with dag(f"bulk_{count}_{size}") as bulk:
        XpanderEnrichOperator(
            **COMMON,
            rows=f"file://{FOLDER}/rows-{count}.jsonl",
            key="id",
            input=INPUT,
            rows_per_run=size,
            max_in_flight=in_flight,
            result_path=f"file://{FOLDER}/{{{{ dag.dag_id }}}}/{{{{ run_id }}}}",
        )
    globals()[bulk.dag_id] = bulk
