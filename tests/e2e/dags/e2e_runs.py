"""Every way to run something, in one DAG whose tasks do not depend on each other more than they must."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "enum": ["billing", "bug", "other"]}},
}
FAST = {"poll_interval": 0.5}

with DAG("e2e_runs", schedule=None, start_date=START, catchup=False):
    deferred = XpanderInvokeAgentOperator(
        task_id="deferred",
        agent_id="echo",
        input="deferred {{ run_id }}",
        # A name that Airflow's masking does not know to be sensitive: keeping it secret is up to us.
        user_tokens={"crm": "{{ var.value.crm_login }}"},
        mcp_servers=[{"name": "crm", "headers": {"x-login": "{{ var.value.crm_login }}"}}],
        deferrable=True,
        **FAST,
    )
    waiting = XpanderInvokeAgentOperator(
        task_id="waiting",
        agent_id="classifier",
        input={"text": "I was charged twice for {{ run_id }}"},
        output_schema=SCHEMA,
        deferrable=False,
        **FAST,
    )
    workflow = XpanderInvokeWorkflowOperator(
        task_id="workflow", workflow_id="triage", input="The app crashes", mode="sync", output_format="json"
    )

    @task
    def read(text: str, data: dict, parsed: dict) -> dict:
        """Tell what a downstream task gets."""
        return {"text": text, "data": data, "types": [type(one).__name__ for one in (text, data, parsed)]}

    read(deferred.output, waiting.output, workflow.output)

    mapped = XpanderInvokeAgentOperator.partial(
        task_id="mapped", agent_id="echo", deferrable=True, max_active_tis_per_dagrun=4, **FAST
    ).expand(input=[f"item {number}" for number in range(int(os.environ["E2E_MAPPED"]))])

with DAG("e2e_sensors", schedule=None, start_date=START, catchup=False):
    started = XpanderInvokeAgentOperator(
        task_id="started", agent_id="slow", input="take 4", wait_for_completion=False
    )
    for name, options in {
        "poke": {"deferrable": False},
        # Not shorter: a worker's supervisor may linger for seconds after the reschedule, and Airflow 3.3
        # fails a task that is queued again before it is gone.
        "reschedule": {"deferrable": False, "mode": "reschedule", "poke_interval": 8},
        "deferred": {"deferrable": True},
    }.items():
        XpanderTaskSensor(task_id=name, xpander_task_id=started.output, **{"poke_interval": 1, **options})

with DAG("e2e_failures", schedule=None, start_date=START, catchup=False, default_args={"retries": 2}):
    for name, options in {
        "failed": {"agent_id": "failing", "input": "failed", "deferrable": True, "retries": 0},
        "error": {"agent_id": "failing", "input": "error", "deferrable": False, "retries": 0},
        "stopped": {"agent_id": "failing", "input": "stopped", "deferrable": True, "retries": 0},
        "skipped": {
            "agent_id": "failing", "input": "stopped", "deferrable": True, "on_stopped": "skip", "retries": 0,
        },
        "late": {"agent_id": "slow", "input": "take 300", "deferrable": True, "timeout": 4, "retries": 0},
        "not_json": {"agent_id": "not-json", "input": "hi", "output_format": "json", "deferrable": True},
        "wrong_key": {"agent_id": "echo", "input": "hi", "xpander_conn_id": "xpander_wrong_key"},
        "unknown_agent": {"agent_id": "nobody", "input": "hi"},
        "no_connection": {"agent_id": "echo", "input": "hi", "xpander_conn_id": "nowhere", "retries": 0},
    }.items():  # fmt: skip
        XpanderInvokeAgentOperator(task_id=name, **FAST, **options)

with DAG("e2e_slow", schedule=None, start_date=START, catchup=False):
    XpanderInvokeAgentOperator(
        task_id="slow", agent_id="slow", input="take 12", deferrable=True, poll_interval=0.5
    )
