"""Waits of the sensor that end without an answer: as Airflow's other sensors end, and never with a stop."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_side import LIMIT, POLL, FakeTaskInstance, Service, run_through
from attempts import Lines

from airflow_provider_xpander._compat import XComArg
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.emulator import RESTRICTED_API_KEY, Fault
from airflow_provider_xpander.operators import attempt as attempt_module
from airflow_provider_xpander.runs import watch as watch_module
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferred"])
FORGIVING = pytest.mark.parametrize("forgiving", ["soft_fail", "never_fail"])


def sensor(task_id: str, **kwargs: Any) -> XpanderTaskSensor:
    defaults = {"task_id": "wait", "xpander_task_id": task_id, "poke_interval": POLL, "timeout": LIMIT}
    return XpanderTaskSensor(**defaults | kwargs)


ENDINGS = pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        pytest.param("x", "failed", "a required tool is missing", id="failed"),
        pytest.param("error", "error", "the warehouse did not answer", id="error"),
        pytest.param("stopped", "stopped", "stopped by the system", id="stopped"),
    ],
)
WHEN = pytest.mark.parametrize("ended", [False, True], ids=["later", "at the first look"])


def event(task_id: str, end: str, status: str) -> dict[str, Any]:
    return {"xpander_task_id": task_id, "agent_id": None, "end": end, "status": status, "message": None}


def test_a_run_that_goes_on_when_its_pause_is_taken_up_is_waited_for(service: Service) -> None:
    service.configure({"run_seconds": 60})
    task_id, deadline = service.start("slow", "take 60"), time.time() + 600
    deferred = sensor(task_id, deferrable=True, on_paused="fail")
    with pytest.raises(TaskDeferred) as again:
        deferred.execute_complete(FakeTaskInstance().context(), event(task_id, "paused", "paused"), deadline)
    assert again.value.trigger.deadline == deadline


@pytest.mark.usefixtures("quick_repeats")
def test_an_answer_that_cannot_be_fetched_for_long_is_left_to_a_retry(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "RESUME_PATIENCE", 0.5)
    monkeypatch.setattr(attempt_module, "RESUME_INTERVAL", 0.1)
    task_id = service.start()
    service.add_fault(Fault.html(503, method="GET", times=None))
    with pytest.raises(XpanderError, match="its answer could not be fetched"):
        sensor(task_id, deferrable=True).execute_complete(
            FakeTaskInstance().context(), event(task_id, "finished", "completed")
        )


@WAYS
@WHEN
@ENDINGS
def test_a_run_that_did_not_complete_fails_it_without_retries(
    text: str, status: str, words: str, ended: bool, deferrable: bool, service: Service
) -> None:
    service.configure({"run_seconds": 0 if ended else 0.3})
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match=words):
        run_through(sensor(service.start("failing", text), deferrable=deferrable), ti.context())
    assert ti.xcom["xpander_task"]["status"] == status


@WAYS
@WHEN
@FORGIVING
def test_a_run_that_did_not_complete_skips_a_forgiving_sensor(
    forgiving: str, ended: bool, deferrable: bool, service: Service
) -> None:
    service.configure({"run_seconds": 0 if ended else 0.3})
    waiting = sensor(service.start("failing", "x"), deferrable=deferrable, **{forgiving: True})
    with pytest.raises(AirflowSkipException):
        run_through(waiting, FakeTaskInstance().context())


@WAYS
def test_the_timeout_is_airflows_own_and_leaves_the_run_alone(deferrable: bool, service: Service) -> None:
    task_id = service.start("slow", "take 30")
    with pytest.raises(AirflowSensorTimeout):
        run_through(sensor(task_id, deferrable=deferrable, timeout=0.3), FakeTaskInstance().context())
    assert service.status(task_id) == "executing"
    assert service.requests("POST") == []


@WAYS
def test_a_late_run_skips_a_soft_sensor(deferrable: bool, service: Service) -> None:
    task_id = service.start("slow", "take 30")
    with pytest.raises(AirflowSkipException):
        run_through(
            sensor(task_id, deferrable=deferrable, timeout=0.3, soft_fail=True), FakeTaskInstance().context()
        )
    assert service.requests("POST") == []


@WAYS
@WHEN
def test_a_pause_can_fail_it_and_leaves_the_run_alone(
    ended: bool, deferrable: bool, service: Service
) -> None:
    service.configure({"run_seconds": 0 if ended else 0.3})
    task_id = service.start("paused", "approve")
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match="a person has to answer"):
        run_through(sensor(task_id, deferrable=deferrable, on_paused="fail"), ti.context())
    assert ti.xcom["xpander_task"]["status"] == "paused"
    assert service.requests("POST") == []


@WAYS
def test_an_answer_that_is_not_json_fails_it_and_is_kept(deferrable: bool, service: Service) -> None:
    task_id = service.start("not-json", output_schema={"type": "object"})
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match="not the JSON that was asked for"):
        run_through(sensor(task_id, deferrable=deferrable), ti.context())
    assert ti.xcom["xpander_raw_result"].startswith("Sure! Here is what I found")


@WAYS
@pytest.mark.parametrize(
    ("password", "words"),
    [("a-wrong-key-0815", "Invalid or missing API key"), (RESTRICTED_API_KEY, "has no access")],
    ids=["401", "403"],
)
def test_a_refused_key_fails_it_without_retries(
    password: str, words: str, deferrable: bool, service: Service
) -> None:
    service.connect(password=password)
    with pytest.raises(AirflowFailException, match=words) as caught:
        run_through(sensor(service.start(), deferrable=deferrable), FakeTaskInstance().context())
    assert password not in str(caught.value)


@WAYS
def test_a_task_that_stays_unknown_fails_it(
    deferrable: bool, service: Service, monkeypatch: pytest.MonkeyPatch, quick_repeats: None
) -> None:
    monkeypatch.setattr(watch_module, "NOT_FOUND_GRACE", 0.2)
    with pytest.raises(AirflowFailException, match="Task no-such-task not found"):
        run_through(
            sensor("no-such-task", deferrable=deferrable, poke_interval=POLL), FakeTaskInstance().context()
        )


@WAYS
@pytest.mark.parametrize("rendered", ["", "None"], ids=["empty", "None"])
def test_an_id_that_renders_to_nothing_fails_before_any_request(
    rendered: str, deferrable: bool, service: Service
) -> None:
    waiting = sensor("{{ params.id }}", deferrable=deferrable)
    with pytest.raises(AirflowFailException, match="xpander_task_id must be a non-empty string"):
        run_through(waiting, FakeTaskInstance().context() | {"params": {"id": rendered}})
    assert service.requests() == []


@WAYS
def test_a_missing_connection_is_named(deferrable: bool, service: Service) -> None:
    waiting = sensor(service.start(), deferrable=deferrable, xpander_conn_id="nowhere")
    with pytest.raises(AirflowNotFoundException, match="no connection 'nowhere'"):
        run_through(waiting, FakeTaskInstance().context())


@WAYS
def test_never_fail_covers_any_failure_as_with_other_sensors(deferrable: bool, service: Service) -> None:
    waiting = sensor(service.start(), deferrable=deferrable, xpander_conn_id="nowhere", never_fail=True)
    with pytest.raises(AirflowSkipException):
        run_through(waiting, FakeTaskInstance().context())


def test_the_trigger_cannot_read_the_run_any_more(service: Service) -> None:
    """A key that loses its access while the sensor is deferred."""
    task_id = service.start("slow", "take 30")
    event = {"xpander_task_id": task_id, "end": "error", "status": None, "message": "HTTP 403, revoked"}
    with pytest.raises(AirflowFailException, match=f"{task_id} failed: HTTP 403, revoked"):
        sensor(task_id, deferrable=True).resume_execution(
            "execute_complete", {"event": event}, FakeTaskInstance().context()
        )


@pytest.mark.parametrize("event", [None, {}, {"status": "ok"}, "done"], ids=str)
def test_an_event_of_somebody_else_is_refused(event: Any, service: Service) -> None:
    with pytest.raises(ValueError, match="not one of this provider"):
        sensor("7", deferrable=True).resume_execution(
            "execute_complete", {"event": event}, FakeTaskInstance().context()
        )


def test_xcom_does_not_say_what_a_sensor_imports(service: Service) -> None:
    """``.partial(...).expand(output_schema=upstream.output)``: the module would be whoever's choice."""
    waiting = sensor(service.start(), output_schema="no_such_module_of_xcom.Model")
    mapped = SimpleNamespace(
        expand_input=SimpleNamespace(value={"output_schema": XComArg(waiting)}), partial_kwargs={}
    )
    context = FakeTaskInstance().context() | {"dag": SimpleNamespace(task_dict={waiting.task_id: mapped})}
    with pytest.raises(AirflowFailException, match="comes out of XCom"):
        waiting.execute(context)
    assert not service.requests("GET")


@WAYS
def test_a_failure_is_told_in_one_line_and_with_the_link(
    deferrable: bool, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    monkeypatch.setattr(XpanderTaskSensor, "log", lines, raising=False)
    task_id = service.start("failing", "error")
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException):
        run_through(sensor(task_id, deferrable=deferrable), ti.context())
    reason, link = lines.at("error").splitlines()
    assert reason.endswith(f" (xpander task {task_id} ended with an error)")
    assert link == f"The run in the console: {ti.xcom['xpander_link']}"
