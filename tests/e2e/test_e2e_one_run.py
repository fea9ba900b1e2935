"""No failure between the DAG and the service starts a second run or loses an answer."""

from __future__ import annotations

import signal

import pytest

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.local_airflow import LocalAirflow
from dev.scenario import Scenario
from dev.waiting import wait_for

pytestmark = pytest.mark.timeout(300)
INVOKE = "/invoke(/async)?$"
SHORT = "take 5"
LONG = "take 600"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.html(504, path=INVOKE, act_first=True), id="504"),
        pytest.param(Fault.dropped(path=INVOKE, act_first=True), id="closed-socket"),
        pytest.param(Fault.truncated(path=INVOKE), id="cut-off-answer"),
    ],
)
@pytest.mark.parametrize("kind", ["deferred", "sync"])
def test_answer_of_the_submit_is_lost(start, emulator: EmulatorServer, kind: str, fault: Fault) -> None:
    emulator.emulator.add_fault(fault)
    scenario = start(kind, SHORT)
    scenario.succeeds()
    assert scenario.tries == 1


def test_submit_that_started_nothing_is_made_again_by_the_retry(start, emulator: EmulatorServer) -> None:
    emulator.emulator.add_fault(Fault.html(503, path=INVOKE))
    scenario = start("deferred", SHORT)
    scenario.succeeds()
    assert scenario.tries == 2


def test_worker_is_killed_during_the_submit(start, emulator: EmulatorServer) -> None:
    emulator.emulator.add_fault(Fault.slow(6, path=INVOKE, act_first=True))
    scenario = start("deferred", "take 20")
    scenario.wait_until_started()
    scenario.kill_worker()
    scenario.succeeds()
    assert scenario.tries == 2


@pytest.mark.parametrize("kind", ["slow_to_defer", "worker"])
def test_worker_is_killed_after_the_submit(start, kind: str) -> None:
    scenario = start(kind, "take 12")
    scenario.wait_until_started()
    scenario.kill_worker()
    scenario.succeeds()
    assert scenario.tries == 2


def test_worker_is_killed_during_the_resume(start) -> None:
    scenario = start("slow_to_resume", "take 4")
    scenario.wait_until_resumed()
    scenario.kill_worker()
    scenario.succeeds()
    assert scenario.tries == 2


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_triggerer_is_ended_and_started_anew(airflow: LocalAirflow, start, signum: signal.Signals) -> None:
    scenario = start("deferred", "take 25")
    scenario.wait_until_deferred()
    if signum is signal.SIGKILL:
        airflow.kill("triggerer", signum)
    else:
        airflow.stop("triggerer", limit=30)
    airflow.start("triggerer")
    scenario.succeeds(limit=150)
    assert scenario.tries == 1


@pytest.mark.parametrize("state", ["success", "deferred", "running"])
def test_cleared_task_starts_a_run_of_its_own(start, state: str) -> None:
    scenario = start(
        "worker" if state == "running" else "deferred", "take 4" if state == "success" else "take 15"
    )
    if state == "success":
        scenario.succeeds()
    elif state == "deferred":
        scenario.wait_until_deferred()
    else:
        scenario.wait_until_started()
    first = scenario.runs()[0]
    scenario.clear()
    wait_for(lambda: len(scenario.runs()) == 2, limit=60, what="the second run")
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id, limit=120) == "success"
    ids = scenario.runs()
    assert len(ids) == 2
    assert scenario.xcom("xpander_task_id") == ids[1]
    if state != "success":
        scenario.is_stopped(first)


def test_task_that_failed_with_its_run_starts_another_one_when_cleared(
    start, emulator: EmulatorServer
) -> None:
    scenario = start("no_retries", LONG)
    scenario.wait_until_started()
    first = scenario.runs()[0]
    emulator.emulator.finish(first, "failed")
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id) == "failed"
    scenario.clear()
    _ends_with_the_second_run(scenario, emulator)
    assert scenario.stops(first) == 0


def test_task_that_failed_and_left_its_run_starts_another_one_when_cleared(
    start, emulator: EmulatorServer
) -> None:
    """The only way in which a failed task has a run that is alive; it is the author's."""
    scenario = start("leave", LONG)
    scenario.wait_until_deferred()
    first = scenario.runs()[0]
    scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", "failed")
    scenario.client.wait_for_run(scenario.dag_id, scenario.run_id)
    scenario.clear()
    _ends_with_the_second_run(scenario, emulator)
    assert scenario.stops(first) == 0
    assert not emulator.emulator.status(first).is_terminal


def _ends_with_the_second_run(scenario: Scenario, emulator: EmulatorServer) -> None:
    wait_for(lambda: len(scenario.runs()) == 2, limit=60, what="the second run")
    second = scenario.runs()[1]
    emulator.emulator.finish(second)
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id) == "success"
    assert len(scenario.runs()) == 2
    assert scenario.xcom("xpander_task_id") == second
    assert scenario.xcom()
    assert scenario.stops(second) == 0


def test_run_that_failed_is_followed_by_another_one_of_the_retry(start, emulator: EmulatorServer) -> None:
    scenario = start("deferred", LONG)
    scenario.wait_until_deferred()
    emulator.emulator.finish(scenario.runs()[0], "failed")
    _ends_with_the_second_run(scenario, emulator)
    assert scenario.tries == 2


def test_service_is_away_for_a_minute_in_each_phase(start, emulator: EmulatorServer) -> None:
    deferred, worker = start("deferred", "take 40"), start("worker", "take 40")
    deferred.wait_until_deferred()
    worker.wait_until_started()
    resuming = start("slow_to_resume", "take 4")
    resuming.wait_until_resumed()
    emulator.stop()
    try:
        submitting = start("deferred", SHORT)
        submitting.pause(60)
    finally:
        emulator.start()
    for scenario in (deferred, worker, resuming, submitting):
        scenario.succeeds(limit=180)
    assert [deferred.tries, worker.tries, resuming.tries] == [1, 1, 1]
