"""Runs that pause, and tasks that ask what to do about it. Only for Airflow that can ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

if HAS_HUMAN_IN_THE_LOOP:
    for kind, deferrable in {"deferred": True, "worker": False}.items():
        with DAG(
            f"ask_{kind}",
            schedule=None,
            start_date=datetime(2026, 1, 1, tzinfo=UTC),
            catchup=False,
            params={"text": ""},
        ) as dag:
            XpanderInvokeAgentOperator(
                task_id="run",
                agent_id="paused",
                input="{{ params.text }}",
                on_paused="ask",
                deferrable=deferrable,
                poll_interval=0.5,
                retries=1,
                retry_delay=timedelta(seconds=1),
            )
        globals()[dag.dag_id] = dag
