"""Workers of deferrable bulk tasks: none sleeps for more than ten seconds, whatever it would wait for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from airflow_side import Service, resume
from attempts import attempt
from bulk import check_once, enrich, folder, lines, run, run_to_deferral, tickets

from airflow_provider_xpander._compat import TaskDeferred
from airflow_provider_xpander.api import client as client_module
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.bulk import waves
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.bulk import pace as bulk_pace
from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator

__all__ = ["folder"]

PER_MINUTE = 20
IN_FLIGHT = 14


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """What each worker has slept for requests; nobody really does."""
    workers: list[list[float]] = []
    execute = XpanderEnrichOperator._execute

    def begin(*args: Any, **kwargs: Any) -> Any:
        workers.append([])
        return execute(*args, **kwargs)

    monkeypatch.setattr(XpanderEnrichOperator, "_execute", begin)
    for module in (client_module, bulk_pace):
        monkeypatch.setattr(module, "sleep", lambda seconds: workers[-1].append(seconds))
    for name in ("TROUBLE", "SHORTEST"):
        monkeypatch.setattr(bulk_pace, name, 0.3)
    monkeypatch.setattr(waves, "LOST_GRACE", 0.5)
    return workers


def check(slept: list[list[float]]) -> None:
    assert max(map(sum, slept)) <= 10, slept


@pytest.mark.parametrize("acted", [True, False], ids=["it was started", "it was not"])
def test_for_a_repair_turn_whose_submit_was_lost(
    service: Service, folder: Path, slept: list[list[float]], acted: bool
) -> None:
    service.story("wrong_json_once", agent="classifier")
    lost = Fault.html(504, method="POST", path="/invoke/async$", act_first=acted, after=1, times=1)
    service.add_fault(lost)
    manifest = run(enrich(folder, rows=tickets(2), rows_per_run=2))
    check(slept)
    check_once(folder, service, 2)
    # Without the turn the pack is asked about again, as after an answer that no turn has mended.
    assert manifest["runs"] == {"started": 2, "completed": 2, "repeats": 1}
    assert len({found.task_id for found in service.runs()}) == (1 if acted else 2)


def test_for_a_look_up_while_the_service_is_away(
    service: Service, folder: Path, slept: list[list[float]]
) -> None:
    service.add_fault(Fault.html(504, method="POST", path="/invoke/async$", act_first=True, times=1))
    service.add_fault(Fault(status=503, method="GET", path="/v1/tasks$", times=14))
    run(enrich(folder, rows=tickets(2), rows_per_run=2))
    check(slept)
    check_once(folder, service, 2)
    assert len(service.posts) == 1
    assert sum(map(sum, slept)) > 10, "it was looked for over several deferrals"


@pytest.fixture
def in_flight(service: Service, folder: Path) -> set[str]:
    """Runs that an attempt has started, until the budget of a minute was used up."""
    service.settings.run_seconds = 600
    service.connect(extra={"requests_per_minute": PER_MINUTE})
    with pytest.raises(TaskDeferred):
        run_to_deferral(enrich(folder, rows=tickets(IN_FLIGHT)), attempt(1))
    return {found.task_id for found in service.runs()}


def of_status(service: Service, status: str) -> set[str]:
    return {found.task_id for found in service.runs() if service.status(found.task_id) == status}


@pytest.mark.parametrize("why", ["a retry does not want them", "a clear", "the time is over"])
def test_for_many_stops_under_a_tight_budget(
    service: Service, folder: Path, slept: list[list[float]], in_flight: set[str], why: str
) -> None:
    late = why == "the time is over"
    task = enrich(folder, rows=tickets(IN_FLIGHT), **({"timeout": 1} if late else {"reattach": False}))
    ti = attempt(2, cleared_at=2 if why == "a clear" else 1)
    with pytest.raises(TaskDeferred) as deferred:
        run_to_deferral(task, ti)
    if late:
        time.sleep(1)
        with pytest.raises(TaskDeferred) as deferred:
            task.execute_complete(ti.context(), None)
    check(slept)
    assert of_status(service, "stopped") < in_flight
    assert deferred.value.trigger.until > time.time() + 10
    # There is room again.
    deferred.value.trigger.until = time.time() + 0.2
    governor_module._governors.clear()
    service.connect()
    service.settings.run_seconds = 0.05
    if late:
        with pytest.raises(XpanderError, match="not done in time"):
            resume(task, deferred.value, ti.context())
    else:
        resume(task, deferred.value, ti.context())
        assert len(lines(folder)) == IN_FLIGHT
    assert of_status(service, "stopped") == in_flight
    check(slept)
