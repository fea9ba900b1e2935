"""Answers that are checked, repaired, hostile, large, or none of what was asked for."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, task
from pydantic import BaseModel

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.xcom import xcom_restore

START = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = "dags.e2e_answer_models.Ticket"
HOSTILE = {
    "__type": "datetime",
    "__var": 5,
    "deep": [{"__classname__": "os.system", "__version__": 1, "__data__": ["true"]}],
    "big": [2**70, -(2**70), "~100", f"~{2**70}"],
    "xpander_task_id": "forged",
    "text": "\x1b[31mred\x1b[0m ::group::hidden ##[endgroup]",
}
MEGABYTES = "{{ 'x' * 5000000 }}"


class Verdict(BaseModel):
    """A model of this file."""

    category: str
    priority: int = 3


FAST = {"poll_interval": 0.5}
REPAIR = FAST | {"on_invalid": "repair"}

with DAG("e2e_answers", schedule=None, start_date=START, catchup=False):
    by_class = XpanderInvokeAgentOperator(
        task_id="by_class", agent_id="sloppy", input="charged twice", output_schema=Verdict,
        deferrable=False, **REPAIR,
    )  # fmt: skip
    by_path = XpanderInvokeAgentOperator(
        task_id="by_path", agent_id="sloppy", input="The app crashes, truncated", output_schema=MODEL,
        deferrable=True, **REPAIR,
    )  # fmt: skip
    mapped = XpanderInvokeAgentOperator.partial(
        task_id="mapped", agent_id="classifier", output_schema=Verdict, **REPAIR
    ).expand(input=["charged twice"])
    raw = XpanderInvokeAgentOperator(
        task_id="raw", agent_id="not-json", input=HOSTILE["text"], output_format="json",
        on_invalid="raw", **FAST,
    )  # fmt: skip
    hostile = XpanderInvokeAgentOperator(
        task_id="hostile", agent_id="echo", input=json.dumps(HOSTILE), output_format="json", deferrable=True,
        **REPAIR,
    )  # fmt: skip
    large = XpanderInvokeAgentOperator(task_id="large", agent_id="echo", input=MEGABYTES, mode="sync", **FAST)
    filed = XpanderInvokeAgentOperator(
        task_id="filed", agent_id="echo", input=MEGABYTES, deferrable=True, max_xcom_bytes=1000,
        result_path=f"file://{os.environ['E2E_ANSWERS']}/{{{{ run_id }}}}/", **FAST,
    )  # fmt: skip

    @task
    def read(hostile: dict, large: str, filed: dict) -> dict:
        """Tell what a downstream task gets."""
        restored = xcom_restore(hostile)
        return {
            "type": type(hostile).__name__,
            "same": restored == HOSTILE,
            "length": len(large),
            "size": filed["size"],
        }

    read(hostile.output, large.output, filed.output)

with DAG("e2e_answers_failing", schedule=None, start_date=START, catchup=False, default_args={"retries": 2}):
    for name, options in {
        "invalid": {"agent_id": "sloppy", "input": "charged twice", "output_schema": MODEL},
        "beyond_repair": {
            "agent_id": "sloppy", "input": "charged twice, wrong 9", "output_schema": MODEL,
            "on_invalid": "repair", "repair_attempts": 2, "deferrable": True,
        },
        "too_large": {"agent_id": "echo", "input": "x" * 2000, "max_xcom_bytes": 1000},
        "no_model": {"agent_id": "echo", "input": "hi", "output_schema": "dags.e2e_answer_models.Nothing"},
    }.items():  # fmt: skip
        XpanderInvokeAgentOperator(task_id=name, poll_interval=0.5, **options)
