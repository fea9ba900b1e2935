"""Answers and branches that a person decides on. Only for Airflow that can ask."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP, BaseOperator, Context
from airflow_provider_xpander.operators.branch import XpanderBranchOperator
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator


class NothingOperator(BaseOperator):
    """Do nothing."""

    def execute(self, context: Context) -> None:
        """Do nothing."""


if HAS_HUMAN_IN_THE_LOOP:
    SETTINGS = {"schedule": None, "start_date": datetime(2026, 1, 1, tzinfo=UTC), "catchup": False}
    with DAG("approval", params={"text": ""}, **SETTINGS) as approval:
        XpanderInvokeAgentOperator(
            task_id="run",
            agent_id="classifier",
            input="{{ params.text }}",
            output_schema={
                "type": "object",
                "properties": {"category": {"enum": ["billing", "bug", "access"]}},
                "required": ["category"],
            },
            deferrable=True,
            poll_interval=0.5,
            require_approval=True,
            approval_timeout=600,
        )
    with DAG("branch_asks", params={"text": ""}, **SETTINGS) as branch_asks:
        choose = XpanderBranchOperator(
            task_id="run",
            agent_id="classifier",
            input="{{ params.text }}",
            branches={"billing": "about money", "bug": "something is broken"},
            min_confidence=1,
            on_unsure="ask",
            deferrable=True,
            poll_interval=0.5,
        )
        choose >> [NothingOperator(task_id="billing"), NothingOperator(task_id="bug")]
