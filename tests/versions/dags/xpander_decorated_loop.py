"""A loop of decorated tasks (Airflow 3.4), each of which is asked what its function returns."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task_group

from airflow_provider_xpander.decorators import xpander_agent


@task_group
def ask() -> None:
    """Ask which iteration it is."""

    @xpander_agent(agent_id="echo", poll_interval=0.1)
    def decorated(ti: Any = None) -> str:
        return f"iteration {ti.region_index}"

    decorated()


with DAG("xpander_decorated_loop", schedule=None) as dag:
    ask.loop(max_iterations=3)
