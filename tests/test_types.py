"""The types that a DAG author sees: an own mypy checks the parameters of operators and sensor."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is in the newest environment only")

DAG = """
from datetime import timedelta

from pydantic import BaseModel

from airflow_provider_xpander.decorators import xpander_agent, xpander_workflow
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor


class Ticket(BaseModel):
    category: str


start = XpanderInvokeAgentOperator(
    task_id="start",
    agent_id="a",
    input={"text": "x", "files": ["https://example.com/a.pdf"]},
    output_schema=Ticket,
    mode="stream",
    timeout=timedelta(minutes=5),
    on_paused="wait",
    reattach="same_request",
    retries=2,
)
XpanderInvokeWorkflowOperator(task_id="flow", workflow_id="w", input="x", poll_interval=10)
XpanderTaskSensor(task_id="wait", xpander_task_id="t", on_paused="fail", poke_interval=10)


@xpander_agent(agent_id="a", output_schema=Ticket, poll_interval=10, retries=2)
def ask(text: str, times: int = 1) -> str:
    return text


ask("x", times=2)
ask.override(task_id="two").partial(times=3).expand(text=["x"])
"""
WRONG = [
    'XpanderInvokeAgentOperator(task_id="x", agent_id="a", mode="asynch")',
    'XpanderInvokeAgentOperator(task_id="x", agent_id="a", poll_interval="30")',
    'XpanderInvokeAgentOperator(task_id="x", agent_id=5)',
    'XpanderInvokeAgentOperator(task_id="x", agent_id="a", on_timeout="kill")',
    'XpanderInvokeAgentOperator(task_id="x", agent_id="a", reattach="never")',
    'XpanderInvokeWorkflowOperator(task_id="x", workflow_id="w", mcp_servers="crm")',
    'XpanderTaskSensor(task_id="x", xpander_task_id="t", on_paused="ask")',
    "xpander_agent(agent_id=5)(ask.function)",
    'xpander_workflow(workflow_id="w", mode="asynch")(ask.function)',
    "ask(5)",
]


def test_a_dag_is_checked_by_mypy(tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(DAG + "\n".join(WRONG) + "\n")
    root = Path(__file__).parent.parent
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={root / '.mypy_cache'}",
    ]
    done = subprocess.run(
        [*command, "--follow-imports=silent", str(tmp_path / "dag.py")],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    first = len(DAG.splitlines()) + 1
    marked = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert marked == set(range(first, first + len(WRONG))), done.stdout + done.stderr
