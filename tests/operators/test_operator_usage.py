"""Usage of a run: in XCom and in Airflow's metrics, however the run has ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from airflow_side import POLL, FakeTaskInstance, Service, run_through
from metrics import Metrics, metrics

from airflow_provider_xpander.api.errors import XpanderTaskError
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

__all__ = ["metrics"]

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    return XpanderInvokeAgentOperator(
        **{"task_id": "ask", "agent_id": "echo", "input": "a b c", "poll_interval": POLL} | kwargs
    )


@WAYS
def test_a_completed_run_is_in_the_summary_and_counted_once(
    deferrable: bool, service: Service, metrics: Metrics
) -> None:
    ti = FakeTaskInstance()
    run_through(agent(deferrable=deferrable), ti.context())
    summary = ti.xcom["xpander_task"]
    assert summary["tokens"]["prompt_tokens"] == 183
    assert (summary["llm_model_name"], summary["llm_model_provider"]) == ("emulated-1", "openai")
    begun, ended = (datetime.fromisoformat(summary[name]) for name in ("started_at", "finished_at"))
    assert summary["duration"] == (ended - begun).total_seconds() > 0
    tags = {"agent_id": "echo", "status": "completed"}
    assert metrics.of("xpander.run.ended") == [(1, tags)]
    assert metrics.of("xpander.run.tokens") == [
        (183, {**tags, "type": "input"}),
        (3, {**tags, "type": "output"}),
    ]
    assert metrics.of("xpander.run.duration") == [(summary["duration"], tags)]
    # Plain StatsD has names alone.
    assert metrics.of("xpander.run.completed") == [(1, tags)]
    assert metrics.of("xpander.run.input_tokens") == [(183, tags)]
    assert metrics.of("xpander.run.output_tokens") == [(3, tags)]


@WAYS
@pytest.mark.parametrize("status", ["failed", "error", "stopped"])
def test_a_run_that_failed_too(deferrable: bool, status: str, service: Service, metrics: Metrics) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(XpanderTaskError):
        run_through(agent(agent_id="failing", input=status, deferrable=deferrable), ti.context())
    summary = ti.xcom["xpander_task"]
    assert summary["status"] == status
    assert summary["tokens"]["total_tokens"] > 0
    assert summary["duration"] > 0
    assert metrics.of("xpander.run.ended") == [(1, {"agent_id": "failing", "status": status})]
    assert sum(count for count, _ in metrics.of("xpander.run.tokens")) == summary["tokens"]["total_tokens"]
    assert metrics.of(f"xpander.run.{status}") == [(1, {"agent_id": "failing", "status": status})]
    assert not metrics.of("xpander.run.completed")


def test_a_late_run_that_was_stopped_too(service: Service, metrics: Metrics) -> None:
    with pytest.raises(XpanderTaskError):
        run_through(
            agent(agent_id="slow", input="take 60", timeout=0.2), FakeTaskInstance(max_tries=0).context()
        )
    assert metrics.of("xpander.run.ended") == [(1, {"agent_id": "slow", "status": "stopped"})]


def test_a_run_that_is_waited_for_elsewhere_is_counted_there(service: Service, metrics: Metrics) -> None:
    started = XpanderInvokeWorkflowOperator(
        task_id="start", workflow_id="triage", input="hello", wait_for_completion=False
    )
    task_id = started.execute(FakeTaskInstance(task_id="start").context())
    assert not metrics.of("xpander.run.ended")
    sensor = XpanderTaskSensor(task_id="wait", xpander_task_id=task_id, poke_interval=POLL, deferrable=True)
    ti = FakeTaskInstance()
    run_through(sensor, ti.context())
    assert metrics.of("xpander.run.ended") == [(1, {"agent_id": "triage", "status": "completed"})]
    assert ti.xcom["xpander_task"]["duration"] > 0


def test_a_broken_collector_costs_no_answer(service: Service, metrics: Metrics) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route to the collector")

    metrics.incr = refuse  # type: ignore[method-assign]
    assert run_through(agent(), FakeTaskInstance().context()) == "a b c"
