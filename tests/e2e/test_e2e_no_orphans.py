"""However an Airflow task ends early, its remote run is stopped, unless the author said otherwise."""

from __future__ import annotations

import os

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.local_airflow import MAJOR, LocalAirflow
from dev.scenario import Scenario

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        MAJOR == 2 and not os.environ.get("XPANDER_TEST_DATABASE"),
        reason="Airflow 2 on SQLite runs one task at a time: a killed one holds up all others for minutes",
    ),
]
LONG = "take 600"


@pytest.fixture
def start(airflow: LocalAirflow, emulator: EmulatorServer):
    return lambda kind, text=LONG: Scenario(airflow, emulator, f"kill_{kind}", text)


@pytest.mark.parametrize("state", ["failed", "success"])
@pytest.mark.parametrize("kind", ["deferred", "worker"])
def test_marked_task_stops_its_run(start, kind: str, state: str) -> None:
    scenario = start(kind)
    scenario.wait_until_deferred() if kind == "deferred" else scenario.wait_until_started()
    scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", state)
    scenario.is_stopped()


@pytest.mark.parametrize("kind", ["deferred", "worker"])
def test_dag_run_that_is_marked_failed_stops_its_run(start, kind: str) -> None:
    scenario = start(kind)
    scenario.wait_until_deferred() if kind == "deferred" else scenario.wait_until_started()
    scenario.client.set_run_state(scenario.dag_id, scenario.run_id, "failed")
    scenario.is_stopped()


@pytest.mark.parametrize("kind", ["deferred_timeout", "worker_timeout"])
def test_late_run_is_stopped(start, kind: str) -> None:
    scenario = start(kind)
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id) == "failed"
    scenario.is_stopped()


def test_run_goes_on_where_the_author_wants_it(start) -> None:
    scenario = start("leave", "take 20")
    scenario.wait_until_deferred()
    scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", "failed")
    scenario.pause(8)
    assert scenario.stops(scenario.runs()[0]) == 0


def test_trigger_that_moves_to_another_triggerer_stops_nothing(
    airflow: LocalAirflow, emulator: EmulatorServer, start
) -> None:
    scenario = start("deferred", "take 15")
    scenario.wait_until_deferred()
    with scenario.another_triggerer():
        scenario.pause(5)
        assert scenario.stops(scenario.runs()[0]) == 0
    scenario.succeeds()
