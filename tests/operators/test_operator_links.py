"""The link to the console: there as soon as the run is known, made of nothing but the connection and ids."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow_side import POLL, FakeTaskInstance, Service

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    return XpanderInvokeAgentOperator(
        **{"task_id": "ask", "agent_id": "echo", "input": "hello", "poll_interval": POLL} | kwargs
    )


def test_it_is_there_before_any_look_at_the_run(service: Service) -> None:
    ti = FakeTaskInstance(service)
    with pytest.raises(TaskDeferred):
        agent(deferrable=True).execute(ti.context())
    assert ti.xcom["xpander_link"] == "https://app.xpander.ai/agents/echo"
    assert ti.asked_before["xpander_link"] == ["POST"]


def test_it_follows_the_template_of_the_connection(service: Service) -> None:
    template = "https://console.example/{organization_id}/tasks/{task_id}?agent={agent_id}"
    service.connect(extra={"task_link_template": template, "organization_id": "org/1"})
    ti = FakeTaskInstance()
    agent(wait_for_completion=False).execute(ti.context())
    task_id = ti.xcom["xpander_task_id"]
    assert ti.xcom["xpander_link"] == f"https://console.example/org%2F1/tasks/{task_id}?agent=echo"


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_sensor_finds_the_agent_with_its_first_look(deferrable: bool, service: Service) -> None:
    task_id = service.start("slow", "take 60")
    sensor = XpanderTaskSensor(task_id="wait", xpander_task_id=task_id, deferrable=deferrable)
    ti = FakeTaskInstance()
    if deferrable:
        with pytest.raises(TaskDeferred):
            sensor.execute(ti.context())
    else:
        assert not sensor.poke(ti.context())
        ti.xcom.clear()
        assert not sensor.poke(ti.context())
        assert "xpander_link" not in ti.xcom, "pushed at every poke"
        return
    assert ti.xcom["xpander_link"] == "https://app.xpander.ai/agents/slow"
