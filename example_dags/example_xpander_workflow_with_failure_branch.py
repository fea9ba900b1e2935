"""
Run a workflow, and go another way when it fails.

``triage`` runs the workflow. When it succeeds, ``use_answer`` gets the answer and ``ask_a_person`` is
skipped; when it fails, only ``ask_a_person`` runs. ``close`` follows whichever of the two has succeeded, so
that the DAG run is a success both ways.

Trigger the DAG with the parameter ``workflow_id``: in the local emulator ``triage`` succeeds and ``broken``
fails. The default is taken from the environment variable ``XPANDER_WORKFLOW_ID``, or else ``triage``.
Needs the connection ``xpander_default``.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG
    from airflow.models.param import Param

from airflow_provider_xpander.operators.xpander import XpanderInvokeWorkflowOperator

with DAG(
    dag_id="xpander_workflow_with_failure_branch",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "workflow_id": Param(
            os.environ.get("XPANDER_WORKFLOW_ID") or "triage",
            type="string",
            description="The workflow to run. In the emulator: triage (succeeds) or broken (fails).",
        )
    },
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:
    triage = XpanderInvokeWorkflowOperator(
        task_id="triage",
        workflow_id="{{ params.workflow_id }}",
        input="The nightly load of table `orders` failed: column `price` is missing.",
        deferrable=True,
        # The emulator answers at once. Leave this out for a real workflow: the default, 30 seconds,
        # spares the service's rate limit.
        poll_interval=2,
    )

    @task
    def use_answer(answer: Any) -> None:
        """Work with the answer."""
        print(answer)

    @task(trigger_rule="one_failed")
    def ask_a_person() -> None:
        """Tell somebody that the workflow has failed; its own words stand in the log of ``triage``."""
        print("The workflow failed, please have a look at the load yourself.")

    @task(trigger_rule="one_success")
    def close() -> None:
        """Carry on, whichever way it went."""

    failed = ask_a_person()
    triage >> failed
    [use_answer(triage.output), failed] >> close()
