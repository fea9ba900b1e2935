"""DAGs that fail and tell an agent."""

from __future__ import annotations

from typing import Any

from airflow import DAG

from airflow_provider_xpander._compat import BaseOperator, Context
from airflow_provider_xpander.notifications import XpanderNotifier


class FailOperator(BaseOperator):
    """Fail."""

    def execute(self, context: Context) -> Any:
        """Fail for a reason."""
        raise ValueError("the table orders is locked") from KeyError("orders")


with DAG("xpander_notifying", schedule=None) as notifying:
    FailOperator(
        task_id="load",
        on_failure_callback=XpanderNotifier(agent_id="echo", input="Why did {{ ti.task_id }} fail?"),
    )
