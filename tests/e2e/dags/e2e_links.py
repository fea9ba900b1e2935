"""Tasks whose links are looked at while they wait, each in its own way."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

with DAG("e2e_links", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    started = XpanderInvokeAgentOperator(
        task_id="started", agent_id="slow", input="take 60", wait_for_completion=False
    )
    XpanderInvokeAgentOperator(
        task_id="deferred", agent_id="slow", input="take 20", deferrable=True, poll_interval=1
    )
    XpanderTaskSensor(task_id="sensor", xpander_task_id=started.output, deferrable=True, poke_interval=1)

with DAG("e2e_links_worker", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    XpanderInvokeAgentOperator(
        task_id="worker", agent_id="slow", input="take 15", deferrable=False, poll_interval=1
    )
    XpanderInvokeAgentOperator(task_id="refused", agent_id="nobody", input="hi")
