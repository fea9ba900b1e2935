"""The sensor in its ways of waiting: what it returns, and what it survives."""

from __future__ import annotations

import json
import threading
from importlib import import_module
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow_side import LIMIT, POLL, FakeTaskInstance, Service, eventually, run_through

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferred"])
SCHEMA = {"type": "object", "properties": {"category": {"enum": ["billing", "bug"]}}}


def sensor(task_id: str, **kwargs: Any) -> XpanderTaskSensor:
    defaults = {"task_id": "wait", "xpander_task_id": task_id, "poke_interval": POLL, "timeout": LIMIT}
    return XpanderTaskSensor(**defaults | kwargs)


@WAYS
def test_it_waits_and_returns_the_answer(deferrable: bool, service: Service) -> None:
    service.configure({"run_seconds": 0.5})
    ti = FakeTaskInstance()
    assert run_through(sensor(service.start(), deferrable=deferrable), ti.context()) == "hello"
    assert {call.method for call in service.requests()} == {"GET"}
    assert len(service.requests()) > 1
    assert ti.xcom["xpander_task"]["status"] == "completed"


def test_poking_is_no_call_from_outside_a_task(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow 2 warns in the task's log of any sensor that calls what its class inherits."""
    task = sensor(service.start())
    guard = XpanderTaskSensor.execute.__globals__["ExecutorSafeguard"]
    monkeypatch.setattr(guard, "test_mode", False)
    by_airflow = getattr(guard, "sentinel_value", None) or import_module("airflow.models.base")._sentinel
    answer = task.execute(context=FakeTaskInstance().context(), XpanderTaskSensor__sentinel=by_airflow)
    assert answer == "hello"
    assert "outside" not in caplog.text


@WAYS
def test_a_run_that_has_ended_is_answered_at_the_first_look(deferrable: bool, service: Service) -> None:
    task_id = service.start()
    service.finish(task_id)
    assert sensor(task_id, deferrable=deferrable).execute(FakeTaskInstance().context()) == "hello"
    assert len(service.requests()) == 1


@WAYS
@pytest.mark.parametrize("slim", [False, True], ids=["full", "slim"])
def test_json_is_parsed_as_the_task_or_the_author_says(
    slim: bool, deferrable: bool, service: Service
) -> None:
    """A slim task does not say that it has a schema, so the author has to."""
    service.configure({"slim_bodies": slim})
    task_id = service.start("classifier", "I was charged twice", output_schema=SCHEMA)
    asked = {"output_format": "json"} if slim else {}
    answer = run_through(sensor(task_id, deferrable=deferrable, **asked), FakeTaskInstance().context())
    assert answer == {"category": "billing"}


@WAYS
def test_text_is_kept_if_the_author_says_so(deferrable: bool, service: Service) -> None:
    task_id = service.start("classifier", "I was charged twice", output_schema=SCHEMA)
    answer = run_through(
        sensor(task_id, deferrable=deferrable, output_format="text"), FakeTaskInstance().context()
    )
    assert json.loads(answer) == {"category": "billing"}


@WAYS
def test_a_pause_is_waited_out(deferrable: bool, service: Service) -> None:
    task_id = service.start("paused", "schedule 0.3")
    answer = run_through(sensor(task_id, deferrable=deferrable), FakeTaskInstance().context())
    assert answer == "Resumed and completed: schedule 0.3"


@WAYS
def test_a_task_that_is_not_visible_yet_is_waited_for(
    deferrable: bool, service: Service, quick_repeats: None
) -> None:
    service.configure({"not_found_lag_seconds": 0.3})
    task_id = service.start()
    assert run_through(sensor(task_id, deferrable=deferrable), FakeTaskInstance().context()) == "hello"


@WAYS
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.html(502), id="502"),
        pytest.param(Fault.server_error(), id="500"),
        pytest.param(Fault.dropped(), id="broken connection"),
        pytest.param(Fault.truncated(), id="truncated"),
        pytest.param(Fault.throttled(retry_after=0), id="429"),
    ],
)
def test_failures_that_pass_keep_it_waiting(
    fault: Fault, deferrable: bool, service: Service, quick_repeats: None
) -> None:
    """More of them than one look repeats by itself."""
    fault = service.add_fault(fault.model_copy(deep=True, update={"times": 6}))
    answer = run_through(sensor(service.start(), deferrable=deferrable), FakeTaskInstance().context())
    assert answer == "hello"
    assert fault.hits == 6


@WAYS
def test_a_changed_key_is_read_again(deferrable: bool, service: Service) -> None:
    task_id = service.start("slow", "take 0.8")

    def rotate() -> None:
        eventually(lambda: len(service.requests()) > 1, "the sensor looks")
        service.connect(password="the-new-key-0001")
        service.configure({"api_keys": ["the-new-key-0001"]})

    administrator = threading.Thread(target=rotate)
    administrator.start()
    answer = run_through(sensor(task_id, deferrable=deferrable), FakeTaskInstance().context())
    administrator.join(LIMIT)
    assert answer == "Done after 0.8 seconds."


def test_the_id_is_a_template(service: Service) -> None:
    service.finish(task_id := service.start())
    context = FakeTaskInstance().context() | {"params": {"id": task_id}}
    assert run_through(sensor("{{ params.id }}"), context) == "hello"


def test_the_trigger_gets_the_interval_and_the_limit_of_the_sensor(service: Service) -> None:
    task_id = service.start("slow", "take 30")
    waiting = sensor(task_id, deferrable=True, poke_interval=7, timeout=600, on_paused="fail")
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(FakeTaskInstance().context())
    kwargs = json.loads(json.dumps(deferred.value.trigger.serialize()[1]))
    assert XpanderTaskTrigger(**kwargs).serialize()[1] == kwargs
    assert (kwargs["xpander_task_id"], kwargs["poll_interval"], kwargs["on_paused"]) == (task_id, 7, "fail")
    assert service.server.api_key not in json.dumps(kwargs)
    limit = deferred.value.timeout
    assert limit is not None
    assert limit.total_seconds() > 600, "Airflow's own limit lies behind that of the trigger"


def test_each_poke_closes_its_connection(service: Service, server_connections: Any) -> None:
    run_through(sensor(service.start()), FakeTaskInstance().context())
    eventually(lambda: server_connections.all_closed, "all connections are closed")


def test_a_worker_that_waits_anyway_pokes_a_young_run_more_often(service: Service) -> None:
    def interval(age: float, **kwargs: Any) -> float:
        made = XpanderTaskSensor(task_id="s", xpander_task_id="t-1", poke_interval=60, **kwargs)
        return made._get_next_poke_interval(0.0, lambda: age, 1)

    assert 4 <= interval(1.0) <= 6
    assert 20 <= interval(100.0) <= 30
    assert 48 <= interval(1000.0) <= 72
    assert interval(1.0, mode="reschedule") == 60


def test_a_deferred_sensor_joins_those_who_wait_for_the_same_agent(service: Service) -> None:
    task_id = service.start("slow", "take 30")
    with pytest.raises(TaskDeferred) as deferred:
        sensor(task_id, deferrable=True).execute(FakeTaskInstance().context())
    kwargs = deferred.value.trigger.serialize()[1]
    assert kwargs["agent_id"] == "slow"
    assert kwargs["created"] == pytest.approx(service.task(task_id).created, abs=1e-3)
