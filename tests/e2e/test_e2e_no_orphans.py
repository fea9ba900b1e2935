"""However an Airflow task ends early, its remote run is stopped, unless the author said otherwise."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(300)
LONG = "take 600"


@pytest.mark.parametrize("state", ["failed", "success"])
@pytest.mark.parametrize("kind", ["deferred", "worker", "sync"])
def test_marked_task_stops_its_run(start, kind: str, state: str) -> None:
    scenario = start(kind, LONG)
    scenario.wait_until_deferred() if kind == "deferred" else scenario.wait_until_started()
    scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", state)
    scenario.is_stopped()


@pytest.mark.parametrize("kind", ["deferred", "worker"])
def test_dag_run_that_is_marked_failed_stops_its_run(start, kind: str) -> None:
    scenario = start(kind, LONG)
    scenario.wait_until_deferred() if kind == "deferred" else scenario.wait_until_started()
    scenario.client.set_run_state(scenario.dag_id, scenario.run_id, "failed")
    scenario.is_stopped()


@pytest.mark.parametrize("kind", ["deferred_timeout", "worker_timeout", "sync_timeout"])
def test_late_run_is_stopped(start, kind: str) -> None:
    scenario = start(kind, LONG)
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id) == "failed"
    scenario.is_stopped()


def test_run_goes_on_where_the_author_wants_it(start) -> None:
    scenario = start("leave", "take 20")
    scenario.wait_until_deferred()
    scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", "failed")
    scenario.pause(8)
    assert scenario.stops(scenario.runs()[0]) == 0


def test_trigger_that_moves_to_another_triggerer_stops_nothing(start) -> None:
    scenario = start("deferred", "take 15")
    scenario.wait_until_deferred()
    with scenario.another_triggerer():
        scenario.pause(5)
        assert scenario.stops(scenario.runs()[0]) == 0
    scenario.succeeds()
