"""
A task that was deferred by an earlier version of this provider resumes with the present one.

What Airflow has stored for such a task is written out here as version 0.1 has stored it: the path and the
arguments of the trigger, the method that resumes and its arguments. None of it may be changed.
"""

from __future__ import annotations

import asyncio
import time
from pkgutil import resolve_name
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow_side import Service, fire
from attempts import attempt, operator

from airflow_provider_xpander._compat import DEFERRAL_ERRORS, HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

LONG_AGO = 1_700_000_000.0
TRIGGER = "airflow_provider_xpander.triggers.xpander:XpanderTaskTrigger"
ASKING = "airflow_provider_xpander.triggers.asking:XpanderAskingTrigger"
CHOICE = {
    "chosen_options": ["Stop the run"],
    "params_input": {},
    "responded_by_user": {"id": "1", "name": "ada"},
    "responded_at": "2026-11-01T00:00:00Z",
    "timedout": False,
}


def stored(task_id: str, **changes: Any) -> dict[str, Any]:
    """Return the arguments of a trigger as version 0.1 has stored them."""
    return {
        "xpander_task_id": task_id,
        "agent_id": "echo",
        "xpander_conn_id": "xpander_default",
        "poll_interval": 0.03,
        "deadline": time.time() + 600,
        "on_paused": "wait",
        "on_kill_action": "stop",
        "newer_than": None,
        "created": LONG_AGO,
        "asked": None,
        "told": "pending",
    } | changes


def event_of(path: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Run a stored trigger to its event."""
    return asyncio.run(fire(resolve_name(path)(**kwargs)))


def test_an_operator_resumes(service: Service) -> None:
    kwargs = stored(service.start())
    event = event_of(TRIGGER, kwargs)
    resumed = {"event": event, "newer_than": None, "deadline": kwargs["deadline"]}
    ti = attempt(1)
    assert operator().resume_execution("execute_complete", resumed, ti.context()) == "hello"
    assert not service.posts
    assert ti.xcom["xpander_task"]["status"] == "completed"


def test_an_event_of_an_earlier_trigger_is_read(service: Service) -> None:
    task_id = service.start()
    service.finish(task_id, "completed")
    event = {
        "xpander_task_id": task_id,
        "agent_id": "echo",
        "end": "finished",
        "status": "completed",
        "message": None,
    }
    context = attempt(1).context()
    resumed = {"event": event, "newer_than": LONG_AGO, "deadline": None}
    assert operator().resume_execution("execute_complete", resumed, context) == "hello"


def test_an_operator_that_asked_resumes_with_the_choice(service: Service) -> None:
    service.configure({"run_seconds": 60})
    task_id = service.start("slow", "take 60")
    resumed = {
        "event": CHOICE,
        "xpander_task_id": task_id,
        "agent_id": "slow",
        "asked": "2026-11-01T00:00:00+00:00",
        "newer_than": None,
        "deadline": time.time() + 600,
    }
    with pytest.raises(AirflowFailException, match="stopped by ada"):
        operator().resume_execution("execute_answered", resumed, attempt(1).context())
    assert service.status(task_id) == "stopped"


@pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody")
def test_an_asking_trigger_can_be_made_of_what_was_stored() -> None:
    kwargs = {"ti_id": "0198c0de-0000-7000-8000-000000000000", **stored("t-1", on_paused="ask", asked="x")}
    path, again = resolve_name(ASKING)(**kwargs).serialize()
    assert path == ASKING.replace(":", ".")
    assert again | kwargs == again


def test_a_task_whose_deferral_airflow_has_given_up_stops_its_run(service: Service) -> None:
    service.configure({"run_seconds": 60})
    ti = attempt(1, retries=0)
    ti.xcom["xpander_task_id"] = service.start("slow", "take 60")
    with pytest.raises(DEFERRAL_ERRORS):
        operator(retries=0).resume_execution("__fail__", {"error": "Trigger failure"}, ti.context())
    assert service.status(ti.xcom["xpander_task_id"]) == "stopped"


def test_a_sensor_resumes(service: Service) -> None:
    kwargs = stored(service.start(), on_kill_action="leave")
    event = event_of(TRIGGER, kwargs)
    sensor = XpanderTaskSensor(task_id="wait", xpander_task_id=kwargs["xpander_task_id"])
    resumed = {"event": event, "deadline": kwargs["deadline"]}
    assert sensor.resume_execution("execute_complete", resumed, attempt(1).context()) == "hello"
