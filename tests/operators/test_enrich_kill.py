"""Bulk tasks that are killed, cleared, marked or given up: no run goes on that nobody wants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import Service, eventually
from attempts import BEGAN, attempt, signalled
from bulk import Killed, asked, enrich, folder, lines, run, run_to_deferral, tickets

from airflow_provider_xpander._compat import (
    AIRFLOW_VERSION,
    DEFERRAL_ERRORS,
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api import host_budget
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.host_budget import HELD, HostBudget
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.bulk import pace
from airflow_provider_xpander.triggers import stops

__all__ = ["folder"]

ROWS = 20
AIRFLOW_2 = AIRFLOW_VERSION.startswith("2.")


@pytest.fixture(autouse=True)
def long_runs(service: Service) -> None:
    service.settings.run_seconds = 600


def task(folder: Path, **kwargs: Any) -> Any:
    return enrich(folder, **{"rows": tickets(ROWS), "deferrable": False} | kwargs)


def states(service: Service) -> set[str]:
    return {str(service.status(found.task_id)) for found in service.runs()}


def all_started(service: Service) -> bool:
    """Whether all runs were started, and are waited for."""
    return bool(service.requests("GET"))


@pytest.mark.parametrize(("action", "left"), [("stop", "stopped"), ("leave", "executing")])
def test_a_kill_in_the_worker_stops_all_runs_in_flight(
    service: Service, folder: Path, action: Any, left: str
) -> None:
    service.settings.pending_share = 0
    killed = task(folder, on_kill_action=action)

    def kill() -> None:
        killed.on_kill()
        raise Killed

    with signalled(lambda: all_started(service), kill), pytest.raises(Killed):
        run(killed)
    assert states(service) == {left}


def test_after_a_kill_before_the_task_nothing_is_started(service: Service, folder: Path) -> None:
    """Airflow 3 lets the code go on after on_kill, and runs that are stopped at once would be paid for."""
    killed = task(folder)
    killed.on_kill()
    with pytest.raises(XpanderError, match="was killed"):
        run(killed)
    assert service.runs() == []


def test_a_kill_in_the_middle_of_a_submit_stops_the_run_that_it_starts(
    service: Service, folder: Path
) -> None:
    service.add_fault(
        Fault(method="POST", path="/invoke/async$", after=3, times=1, delay_seconds=0.5, act_first=True)
    )
    killed = task(folder)
    with signalled(lambda: len(service.runs()) == 4, killed.on_kill), pytest.raises(XpanderError):
        run(killed)
    assert len(service.runs()) == 4
    assert states(service) == {"stopped"}


@pytest.mark.parametrize(("retries", "left"), [(2, {"pending", "executing"}), (0, {"stopped"})])
def test_an_execution_timeout_ends_the_runs_and_a_failure_keeps_them_for_a_retry(
    service: Service, folder: Path, retries: int, left: set[str]
) -> None:
    failing = task(folder, retries=retries)

    def fail() -> None:
        raise RuntimeError("the worker has a bug")

    with signalled(lambda: all_started(service), fail), pytest.raises(RuntimeError):
        run(failing, attempt(1, retries=retries))
    assert states(service) <= left
    if not retries:
        return

    def late() -> None:
        raise AirflowTaskTimeout

    with signalled(lambda: len(service.requests("GET")) > 30, late), pytest.raises(AirflowTaskTimeout):
        run(failing, attempt(2))
    assert states(service) == {"stopped"}
    assert set(asked(service).values()) == {1}


Deferred = Callable[[str | None, str | None], None]


@pytest.fixture
def deferred(monkeypatch: pytest.MonkeyPatch) -> Deferred:
    """Say in which state the task instance is, and which wave is in its XCom."""

    def be(state: str | None, wave: str | None) -> None:
        async def deferred_state(task_instance: Any, xcom_key: str) -> tuple[str | None, Any]:
            assert xcom_key == "xpander_wave"
            return state, wave

        monkeypatch.setattr(stops, "deferred_state", deferred_state)

    return be


@pytest.mark.parametrize(
    ("state", "is_wave", "stopped"),
    [
        pytest.param("failed", True, True, id="marked failed"),
        pytest.param("deferred", True, False, id="another triggerer takes over"),
        pytest.param("deferred", False, True, id="cleared, and deferred again"),
    ],
)
def test_a_trigger_that_is_ended_stops_its_wave_unless_that_is_still_wanted(
    service: Service, folder: Path, deferred: Deferred, state: str, is_wave: bool, stopped: bool
) -> None:
    ti = attempt(1)
    with pytest.raises(TaskDeferred) as raised:
        run_to_deferral(task(folder, deferrable=True), ti)
    trigger = raised.value.trigger
    arguments = trigger.serialize()[1]
    assert len(str(arguments)) < 700
    trigger.task_instance = SimpleNamespace(
        dag_id="nightly", task_id="ask", run_id="r", map_index=-1, task=None
    )
    deferred(state, ti.xcom["xpander_wave"] if is_wave else "another")

    async def end() -> None:
        await trigger.on_kill()
        await asyncio.gather(*stops._background)

    asyncio.run(end())
    assert states(service) == ({"stopped"} if stopped else {"pending"})


def test_a_deferral_that_airflow_gives_up_leaves_no_run(service: Service, folder: Path) -> None:
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True), attempt(1))
    late = (
        {"error": "Trigger/execution timeout"} if AIRFLOW_2 else {"error": "Trigger timeout", "traceback": []}
    )
    with pytest.raises(DEFERRAL_ERRORS):
        task(folder, deferrable=True).resume_execution("__fail__", late, attempt(1).context())
    assert states(service) == {"stopped"}


def test_a_clear_stops_the_runs_of_before(service: Service, folder: Path) -> None:
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True), attempt(1))
    before = {found.task_id for found in service.runs()}
    service.settings.run_seconds = 0.05
    run(task(folder), attempt(2, cleared_at=2))
    assert {service.status(one) for one in before} == {"stopped"}
    assert len(lines(folder)) == ROWS
    eventually(lambda: "executing" not in states(service), "the end of all runs")


def test_a_clear_while_the_service_refuses_all_stops_the_runs_of_before_later(
    service: Service, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SLICE", 0.2)
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True), attempt(1))
    service.connect(extra={"requests_per_minute": 1000})
    other_process = HostBudget(service.server.url, service.server.api_key, host_budget.host_folder)
    other_process.note(HELD, time.time() + 600)
    asked = len(service.requests())
    cleared = attempt(2, cleared_at=2)
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True), cleared)
    assert len(service.requests()) == asked
    monkeypatch.setattr(host_budget, "place_of_host", lambda: tmp_path)  # as when it is over
    governor_module._governors.clear()
    with pytest.raises(TaskDeferred):
        task(folder, deferrable=True).execute_complete(cleared.context(), {"going": []})
    assert [str(service.status(found.task_id)) for found in service.runs()[:ROWS]] == ["stopped"] * ROWS


def test_a_stop_that_is_refused_for_long_is_sent_again_later(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SLICE", 0.2)
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True), attempt(1))
    service.add_fault(Fault.throttled(path="/stop$", retry_after=600))
    retried = task(folder, deferrable=True, reattach=False)
    with pytest.raises(TaskDeferred):
        run_to_deferral(retried, attempt(2))
    assert len(service.requests("POST", "/stop")) == 1
    governor_module._governors.clear()  # as when it is over
    with pytest.raises(TaskDeferred):
        retried.execute_complete(attempt(2).context(), {"going": []})
    assert [str(service.status(found.task_id)) for found in service.runs()[:ROWS]] == ["stopped"] * ROWS


def test_a_folder_of_another_installation_is_refused_and_its_runs_go_on(
    service: Service, folder: Path
) -> None:
    """The same DAG, date and bucket, or a DAG run that was deleted and made again: no clear."""
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True), attempt(1))
    theirs = len(service.posts)
    other = attempt(1, began=BEGAN + timedelta(seconds=20))
    with pytest.raises(AirflowFailException, match="another installation of Airflow"):
        run_to_deferral(task(folder, deferrable=True), other)
    assert states(service) <= {"pending", "executing"}
    assert len(service.posts) == theirs


@pytest.mark.parametrize("ended", [False, True], ids=["runs go on", "all have ended"])
def test_a_clear_after_the_end_of_the_dag_run_stops_no_runs_that_may_be_anothers(
    ended: bool, service: Service, folder: Path
) -> None:
    """Its start is another than before, as is that of another installation."""
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True), attempt(1))
    for found in service.runs() if ended else ():
        service.finish(found.task_id)
    cleared = attempt(2, cleared_at=2, began=BEGAN + timedelta(seconds=20))
    error = TaskDeferred if ended else AirflowFailException
    with pytest.raises(error, match=None if ended else "may be of another installation"):
        run_to_deferral(task(folder, deferrable=True), cleared)
    assert len(service.runs()) == (2 * ROWS if ended else ROWS)
    assert "stopped" not in states(service)


@pytest.mark.parametrize(("reattach", "again"), [(False, 2), ("same_request", 1), (True, 1)])
def test_a_retry_takes_over_what_is_in_flight_unless_that_is_not_wanted(
    service: Service, folder: Path, reattach: Any, again: int
) -> None:
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True, max_in_flight=5), attempt(1))
    service.settings.run_seconds = 0.05
    retried = task(folder, max_in_flight=5, reattach=reattach)
    if again == 1:
        for found in service.runs():
            service.finish(found.task_id, result='{"category": "bug"}')
    run(retried, attempt(2))
    assert len(lines(folder)) == ROWS
    assert sorted(asked(service).values()) == [1] * 15 + [again] * 5
    assert not states(service) & {"pending", "executing"}


def test_another_request_is_not_taken_over_where_it_has_to_be_the_same(
    service: Service, folder: Path
) -> None:
    with pytest.raises(TaskDeferred):
        run_to_deferral(task(folder, deferrable=True, max_in_flight=5), attempt(1))
    service.settings.run_seconds = 0.05
    run(task(folder, reattach="same_request", input="Classify it in another way."), attempt(2))
    assert sorted(asked(service).values()) == [1] * 15 + [2] * 5
    assert not states(service) & {"pending", "executing"}


def test_rows_whose_runs_were_stopped_with_their_attempt_have_not_failed(
    service: Service, folder: Path
) -> None:
    for number in (1, 2):
        killed = task(folder, rows=tickets(5))

        def kill(killed: Any = killed) -> None:
            killed.on_kill()
            raise Killed

        seen = len(service.requests("GET"))
        with (
            signalled(lambda seen=seen: len(service.requests("GET")) > seen + 10, kill),
            pytest.raises(Killed),
        ):
            run(killed, attempt(number))
        assert states(service) == {"stopped"}
    service.settings.run_seconds = 0.05
    manifest = run(task(folder, rows=tickets(5)), attempt(3))
    assert manifest["counts"]["answered"] == 5
    assert len(service.runs()) == 15
