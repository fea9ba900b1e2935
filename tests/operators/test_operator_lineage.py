"""Lineage of a run as OpenLineage gets it, through its own provider and its own client's classes."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from airflow_side import POLL, FakeTaskInstance, Service, run_through

from airflow_provider_xpander.api.errors import XpanderTaskError
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Airflow's OpenLineage provider are not ours


def told(operator: Any, when: str) -> dict[str, dict[str, Any]]:
    """Return what the OpenLineage provider would send: job and run facets, as its client writes them."""
    from airflow.providers.openlineage.extractors.base import DefaultExtractor
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    extractor = DefaultExtractor(operator)
    ti = FakeTaskInstance()
    lineage = {
        "start": extractor.extract,
        "complete": lambda: extractor.extract_on_complete(ti),
        "failure": lambda: extractor.extract_on_failure(ti),
    }[when]()
    event = RunEvent(
        eventTime="2026-11-22T07:00:00Z",
        eventType=RunState.COMPLETE,
        run=Run(runId=str(uuid.uuid4()), facets=lineage.run_facets),
        job=Job(namespace="ns", name="dag.task", facets=lineage.job_facets),
        producer="https://example.com/tests",
    )
    sent = json.loads(Serde.to_json(event))
    return {**sent["job"]["facets"], **sent["run"].get("facets", {})}


def own(facet: dict[str, Any]) -> dict[str, Any]:
    assert facet["_producer"].startswith("https://")
    assert facet["_schemaURL"].startswith("https://")
    return {name: value for name, value in facet.items() if not name.startswith("_")}


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
def test_a_completed_run(deferrable: bool, service: Service) -> None:
    operator = XpanderInvokeAgentOperator(
        task_id="ask", agent_id="echo", version="7", input="a b", poll_interval=POLL, deferrable=deferrable
    )
    assert own(told(operator, "start")["xpander_job"]) == {"type": "agent", "id": "echo", "version": "7"}
    ti = FakeTaskInstance()
    run_through(operator, ti.context())
    facets = told(operator, "complete")
    assert own(facets["xpander_job"]) == {"type": "agent", "id": "echo", "version": "7"}
    assert own(facets["xpander_run"]) == {
        "taskId": ti.xcom["xpander_task_id"],
        "status": "completed",
        "url": "https://app.xpander.ai/agents/echo",
        "model": "emulated-1",
        "modelProvider": "openai",
        "inputTokens": 182,
        "outputTokens": 2,
        "totalTokens": 184,
        "durationSeconds": ti.xcom["xpander_task"]["duration"],
    }


def test_a_run_that_failed(service: Service) -> None:
    operator = XpanderInvokeWorkflowOperator(
        task_id="ask", workflow_id="broken", input="x", poll_interval=POLL
    )
    with pytest.raises(XpanderTaskError):
        run_through(operator, FakeTaskInstance().context())
    facets = told(operator, "failure")
    assert own(facets["xpander_job"]) == {"type": "workflow", "id": "broken"}
    assert facets["xpander_run"]["status"] == "failed"
    assert facets["xpander_run"]["totalTokens"] > 0


def test_a_run_that_goes_on_or_was_never_started(service: Service) -> None:
    operator = XpanderInvokeAgentOperator(
        task_id="ask", agent_id="slow", input="take 60", wait_for_completion=False
    )
    assert "xpander_run" not in told(operator, "failure")
    ti = FakeTaskInstance()
    operator.execute(ti.context())
    facet = own(told(operator, "complete")["xpander_run"])
    assert facet["taskId"] == ti.xcom["xpander_task_id"]
    assert "durationSeconds" not in facet


def test_counts_of_tokens_are_not_taken_for_secrets(service: Service) -> None:
    from airflow.providers.openlineage.utils.utils import OpenLineageRedactor

    try:
        from airflow.sdk._shared.secrets_masker import _secrets_masker
    except ImportError:
        from airflow.utils.log.secrets_masker import _secrets_masker
    operator = XpanderInvokeAgentOperator(task_id="ask", agent_id="echo", input="a b", poll_interval=POLL)
    run_through(operator, FakeTaskInstance().context())
    facets = operator.get_openlineage_facets_on_complete(None).run_facets
    redacted = OpenLineageRedactor.from_masker(_secrets_masker()).redact(facets)
    assert redacted["xpander_run"].inputTokens == 182
    assert redacted["xpander_run"].taskId == facets["xpander_run"].taskId
