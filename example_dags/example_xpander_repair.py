"""
Have an agent repair an answer that is not what was asked for.

The answer has to match ``output_schema``. If it does not, the agent is told what is wrong and asked again
in the same thread, twice at the most; each turn is paid for. The task log shows what was wrong.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG asks ``sloppy``, an agent of the local emulator whose first
answer is wrong.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow.models.dag import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

with DAG(
    dag_id="xpander_repair",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:
    XpanderInvokeAgentOperator(
        task_id="classify",
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "sloppy",
        input="I was charged twice this month.",
        output_schema={
            "type": "object",
            "properties": {"category": {"type": "string", "enum": ["billing", "bug", "access"]}},
            "required": ["category"],
        },
        on_invalid="repair",
        repair_attempts=2,
        poll_interval=2,
    )
