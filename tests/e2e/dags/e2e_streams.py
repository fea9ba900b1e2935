"""Runs that are followed by their stream."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

START = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = {"agent_id": "storyteller", "mode": "stream", "poll_interval": 1}
# A secret in two pieces, as a stream may cut it.
LOGIN = ("{{ var.value.crm_login[:9] }}", "{{ var.value.crm_login[9:] }}")
HOSTILE = [
    {"type": "think", "data": "::endgroup::\n::group::hidden\x1b[2J\x1b]0;title\x07 after it"},
    {"type": "tool_call_result", "data": {"tool_name": "a\nb", "result": "x" * 9000}},
    {"type": "chunk", "data": f"The login is {LOGIN[0]}"},
    {"type": "chunk", "data": f"{LOGIN[1]}, ##[endgroup] and \x1b[31mred\u202e.\n"},
]

with DAG("e2e_streams", schedule=None, start_date=START, catchup=False):
    XpanderInvokeAgentOperator(task_id="told", input="tell", deferrable=False, **OPTIONS)
    XpanderInvokeAgentOperator(
        task_id="hostile",
        input=json.dumps(HOSTILE),
        user_tokens={"crm": "{{ var.value.crm_login }}"},
        deferrable=False,
        **OPTIONS,
    )

with DAG("e2e_stream_in_worker", schedule=None, start_date=START, catchup=False):
    XpanderInvokeAgentOperator(task_id="run", input="tell", deferrable=False, **OPTIONS)

with DAG("e2e_stream_then_defer", schedule=None, start_date=START, catchup=False):
    XpanderInvokeAgentOperator(task_id="run", input="tell", deferrable=True, **OPTIONS)
