"""The link to the console: there as soon as the run is known, made of nothing but the connection and ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow_side import POLL, FakeTaskInstance, Service

from airflow_provider_xpander.operators.links import XpanderRunLink
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


class Supervisor:
    """What a worker of Airflow 3 sends to the process that talks to the API server."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}

    def send(self, message: Any) -> Any:
        from airflow.sdk.execution_time.comms import SetXCom, XComResult

        if isinstance(message, SetXCom):
            self.stored[message.key] = message.value
            return None
        return XComResult(key=message.key, value=self.stored.get(message.key))


@pytest.mark.skipif(airflow_version.startswith("2."), reason="The webserver of Airflow 2 asks the backend")
def test_an_xcom_backend_that_stores_references_does_not_hide_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.providers.common.io.xcom import backend
    from airflow.sdk.execution_time import task_runner, xcom

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    monkeypatch.setattr(xcom, "XCom", backend.XComObjectStorageBackend)
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", tmp_path.as_uri())
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "0")
    for cached in (backend._get_base_path, backend._get_threshold):
        monkeypatch.setattr(backend, cached.__name__, cached.__wrapped__)

    ti, link = FakeTaskInstance(), "https://app.xpander.ai/agents/echo"
    task = agent(wait_for_completion=False)
    task.execute(ti.context())
    # As the API server reads it, which is what is in the database.
    assert supervisor.stored["xpander_link"] == link
    # And as Airflow reads it at the end of the task, and templates of other tasks do.
    monkeypatch.setattr("airflow.providers.common.compat.sdk.XCom", backend.XComObjectStorageBackend)
    assert XpanderRunLink().get_link(task, ti_key=ti) == link
    backend.XComObjectStorageBackend.set(key="other", value="x", dag_id="d", task_id="t", run_id="r")
    assert supervisor.stored["other"].startswith("file://"), "the backend was in force"
