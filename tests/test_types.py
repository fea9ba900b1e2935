"""The types that a DAG author sees: an own mypy checks the parameters of operators and sensor."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from airflow_provider_xpander.operators.base import RUN_PARAMETERS, XpanderRequestOperator
from airflow_provider_xpander.operators.branch import NOT_TAKEN as NOT_OF_BRANCHES
from airflow_provider_xpander.operators.branch import XpanderBranchOperator
from airflow_provider_xpander.operators.enrich import NOT_TAKEN as NOT_OF_ROWS
from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator

NOT_TAKEN = {XpanderBranchOperator: {*NOT_OF_BRANCHES, "workflow_id"}, XpanderEnrichOperator: {*NOT_OF_ROWS}}

DAG = """
from datetime import timedelta

from pydantic import BaseModel

from airflow_provider_xpander.decorators import xpander_agent, xpander_branch, xpander_workflow
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.notifications import XpanderNotifier
from airflow_provider_xpander.operators.branch import XpanderBranchOperator
from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor
from airflow_provider_xpander.triggers.events import XpanderTaskEventTrigger

BRANCHES = {"refund": "money back", "reply": "a question"}


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
XpanderBranchOperator(task_id="route", agent_id="a", input="x", branches=BRANCHES, timeout=60, retries=1)
XpanderEnrichOperator(
    task_id="enrich",
    agent_id="a",
    rows=[{"id": 1}],
    key="id",
    input="x",
    output_schema=Ticket,
    result_path="file:///tmp/x",
    deferrable=True,
    retries=3,
)


@xpander_branch(agent_id="a", branches=BRANCHES, default="reply", min_confidence=0.5, on_timeout="leave")
def choose(text: str) -> str:
    return text


choose("x")
XpanderNotifier(agent_id="a", max_per_hour=5)
XpanderTaskEventTrigger(agent_id="a", statuses=["completed"])
with XpanderHook() as hook:
    answer: str | None = hook.get_task("t").title
"""
ENRICH = (
    'XpanderEnrichOperator(task_id="x", rows=[], key="id", input="x", output_schema={}, result_path="x", '
)
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
    'XpanderBranchOperator(task_id="x", agent_id="a", input="x")',
    'XpanderBranchOperator(task_id="x", agent_id=5, branches=BRANCHES)',
    'XpanderBranchOperator(task_id="x", agent_id="a", branches=BRANCHES, poll_interval="30")',
    'XpanderBranchOperator(task_id="x", agent_id="a", branches=BRANCHES, on_invalid="raw")',
    ENRICH + "agent_id=5)",
    ENRICH + 'agent_id="a", deferrable="yes")',
    ENRICH + 'agent_id="a", write_mode="replace")',
    ENRICH + 'agent_id="a", on_kill_action="kill")',
    "xpander_branch(agent_id=5, branches=BRANCHES)(ask.function)",
    'xpander_branch(agent_id="a", branches=BRANCHES, mode="asynch")(ask.function)',
    "choose(5)",
    'XpanderNotifier(agent_id="a", max_per_hour="5")',
    'XpanderTaskEventTrigger(agent_id="a", poll_interval="30")',
]


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is in the newest environment only")
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


@pytest.mark.parametrize(
    ("operator", "its_own"),
    [
        (XpanderBranchOperator, {"on_invalid"}),
        (XpanderEnrichOperator, {"input", "output_schema", "result_path"}),
    ],
)
def test_an_operator_repeats_the_parameters_that_it_takes(operator: type, its_own: set[str]) -> None:
    """Else a type checker would know nothing of a parameter that is new."""
    of_all = inspect.signature(XpanderRequestOperator.__init__).parameters
    own = inspect.signature(operator.__init__).parameters  # type: ignore[misc]
    for name in RUN_PARAMETERS - its_own:
        if name in own:
            assert (own[name].annotation, own[name].default) == (
                of_all[name].annotation,
                of_all[name].default,
            )
        else:
            assert name in NOT_TAKEN[operator], name
