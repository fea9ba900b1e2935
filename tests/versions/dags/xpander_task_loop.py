"""A loop of tasks (Airflow 3.4), whose second iteration fails before it starts a run, and is tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task_group

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator


def stumble(context: Any) -> None:
    """Fail before anything is started."""
    ti = context["ti"]
    if (ti.region_index, ti.try_number) == (1, 1):
        raise RuntimeError("the first try of the second iteration")


@task_group
def ask() -> None:
    """Ask which iteration it is."""
    XpanderInvokeAgentOperator(
        task_id="ask",
        agent_id="echo",
        input="iteration {{ ti.region_index }}",
        poll_interval=0.1,
        pre_execute=stumble,
        retries=1,
        retry_delay=timedelta(0),
    )


with DAG("xpander_task_loop", schedule=None) as dag:
    ask.loop(max_iterations=3)
