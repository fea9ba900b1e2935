"""
Let an agent of Airflow use an xpander.ai agent as a tool, with another one that stands by.

`@task.agent` runs an agent in Airflow, with a model of your choice. Its tool asks an agent on xpander.ai; if
that cannot answer, the one that stands by is asked. The model of this example is pydantic-ai's own test
model, which calls each tool once and needs no key: name your own with a connection of type `pydanticai`.

Needs the extra `common-ai` and the connection ``xpander_default``. The agents' ids are taken from the
environment variables ``XPANDER_AGENT_ID`` and ``XPANDER_STANDBY_ID``; without them the DAG asks an agent that
does not exist, so that `echo` of the local emulator answers in its place.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_xpander.managed_agents import HAS_COMMON_AI, XpanderManagedAgentHook

LLM = "xpander_example_llm"
os.environ.setdefault(
    f"AIRFLOW_CONN_{LLM.upper()}", '{"conn_type": "pydanticai", "extra": {"model": "test"}}'
)

with DAG(
    dag_id="xpander_managed_agents",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:
    if HAS_COMMON_AI:
        from airflow.providers.common.ai.managed_agents import FailoverManagedAgentClient
        from airflow.providers.common.ai.toolsets import ManagedAgentToolset

        hook = XpanderManagedAgentHook()
        analyst = FailoverManagedAgentClient(
            [
                hook.agent(os.environ.get("XPANDER_AGENT_ID") or "analyst"),
                hook.agent(os.environ.get("XPANDER_STANDBY_ID") or "echo"),
            ]
        )

        @task.agent(
            llm_conn_id=LLM,
            toolsets=[
                ManagedAgentToolset(
                    analyst,
                    tool_name="ask_load_analyst",
                    description="Knows the nightly loads of the warehouse, and why one may have failed.",
                    timeout=300,
                )
            ],
        )
        def report() -> str:
            """Return what the agent of Airflow is asked."""
            return "Why did the load of the orders fail last night? Ask the analyst, and sum up."

        report()
    else:

        @task
        def install() -> None:
            """Say what is missing."""
            print("This example needs: pip install 'airflow-provider-xpander[common-ai]'")

        install()
