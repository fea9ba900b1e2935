"""DAGs that ask a person, where Airflow can (3.1 and newer)."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.operators.branch import XpanderBranchOperator
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

dags: dict[str, Any] = {}
if HAS_HUMAN_IN_THE_LOOP:
    from airflow.sdk import DAG, task

    POLL = 0.1
    SCHEMA = {"type": "object", "properties": {"team": {"enum": ["a", "b"]}}, "required": ["team"]}

    @task
    def use(value: Any = None) -> Any:
        """Return what was handed on."""
        return value

    with DAG("xpander_approves", schedule=None) as dags["approves"]:

        @task.xpander_agent(agent_id="clerk", output_schema=SCHEMA, require_approval=True, poll_interval=POLL)
        def classify() -> str:
            """Return what is asked."""
            return "Which team?"

        use(classify())

    with DAG("xpander_nobody_approves", schedule=None) as dags["nobody approves"]:
        ask = XpanderInvokeAgentOperator(
            task_id="classify",
            agent_id="clerk",
            input="Which team?",
            require_approval=True,
            approval_timeout=0.5,
            on_approval_timeout="skip",
            poll_interval=POLL,
        )
        use(ask.output)

    with DAG("xpander_chooses", schedule=None) as dags["chooses"]:
        choose = XpanderBranchOperator(
            task_id="choose",
            agent_id="router",
            input="x",
            branches={"refund": "about money", "reply": "anything else"},
            min_confidence=0.9,
            on_unsure="ask",
            poll_interval=POLL,
        )
        choose >> [use.override(task_id="refund")(), use.override(task_id="reply")()]

    with DAG("xpander_stops", schedule=None) as dags["stops"]:
        XpanderInvokeAgentOperator(
            task_id="ask", agent_id="clerk", input="x", on_paused="ask", on_stopped="skip", poll_interval=POLL
        )
