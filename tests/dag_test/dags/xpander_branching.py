"""The DAGs with branches that ``dag.test()`` runs."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander._compat import AIRFLOW_VERSION
from airflow_provider_xpander.operators.branch import XpanderBranchOperator

if AIRFLOW_VERSION.startswith("2."):
    from airflow import DAG
    from airflow.decorators import task, task_group
else:
    from airflow.sdk import DAG, task, task_group

POLL = 0.1
BRANCHES = {"billing": "about money", "urgent": "cannot wait", "group": "anything else"}


@task
def end() -> None:
    """Do nothing."""


def below(chooser: Any) -> None:
    """Put the branches below the task that chooses, and a task after them."""

    @task_group
    def group() -> None:
        end.override(task_id="first")() >> end.override(task_id="second")()  # type: ignore[operator]

    joined = end.override(task_id="joined", trigger_rule="none_failed_min_one_success")()
    for branch in (end.override(task_id="billing")(), end.override(task_id="urgent")(), group()):
        chooser >> branch >> joined


with DAG("xpander_branch_one", schedule=None) as one:
    below(
        XpanderBranchOperator(
            task_id="choose", agent_id="router", input="x", branches=BRANCHES, poll_interval=POLL
        )
    )

with DAG("xpander_branch_several", schedule=None) as several:

    @task.xpander_branch(
        agent_id="router", branches=BRANCHES, multiple=True, deferrable=True, poll_interval=POLL
    )
    def choose(text: str) -> str:
        """Return what is to be decided about."""
        return text

    below(choose("{{ run_id }}"))
