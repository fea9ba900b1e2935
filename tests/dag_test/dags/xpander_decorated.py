"""The DAGs of decorated functions that ``dag.test()`` runs."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from airflow_provider_xpander._compat import AIRFLOW_VERSION

if AIRFLOW_VERSION.startswith("2."):
    from airflow import DAG
    from airflow.decorators import task, task_group
else:
    from airflow.sdk import DAG, task, task_group

POLL = 0.1
# What is not to be rendered: it may come from anybody, and a secret of this Airflow would go to the service.
TEMPLATE = "{{ conn.get('xpander_default').password }}"


class Ticket(BaseModel):
    """What the answers of some tasks look like."""

    category: str


with DAG("xpander_decorated", schedule=None, default_args={"poll_interval": POLL}) as decorated:

    @task
    def rows() -> list[dict[str, Any]]:
        """Return data that holds templates."""
        return [{"row": f"{TEMPLATE} {number}", "more": {"deep": TEMPLATE}} for number in range(2)]

    @task
    def texts() -> list[str]:
        """Return texts that hold templates."""
        return [TEMPLATE]

    @task.xpander_agent(agent_id="echo", deferrable=True)
    def ask(row: str, more: Any = None, greeting: str = "hi", ti: Any = None) -> str:
        """Return the input of a run."""
        return f"{greeting} {row} {json.dumps(more)} for {ti.task_id}"

    @task.xpander_agent(agent_id="echo", multiple_outputs=True)
    def triage(text: str) -> Ticket:
        """Return the input of a run whose answer is a ticket."""
        return json.dumps({"category": text})  # type: ignore[return-value]

    @task.xpander_workflow(workflow_id="triage")
    def flow() -> dict[str, str]:
        """Return the input of a workflow."""
        return {"text": "The export crashes"}

    @task_group
    def group() -> None:
        """Hold a task."""
        ask.override(task_id="inner")("in a group")

    found = rows()
    ask.override(task_id="expanded").partial(greeting="{{ run_id }}").expand(row=["a", TEMPLATE])
    ask.override(task_id="each").expand_kwargs(found)
    ask.override(task_id="one_by_one").expand(row=texts())
    ticket = triage("bug")
    ask.override(task_id="chained")(ticket["category"])
    flow()
    group()

with DAG("xpander_decorated_native", schedule=None, render_template_as_native_obj=True) as native:

    @task.xpander_agent(agent_id="echo", poll_interval=POLL)
    def count(number: Any) -> str:
        """Return a text that looks like a number."""
        return f"{number + 1}.10"

    count("{{ 6 }}")
