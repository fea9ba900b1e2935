"""However Airflow tasks end early, their runs are stopped, or left as the author said; see also the kinds."""

from __future__ import annotations

import pytest

from dev.local_airflow import LocalAirflow
from dev.mass import mass

pytestmark = pytest.mark.timeout(600)


def test_run_goes_on_where_the_author_wants_it(start) -> None:
    scenario = start("leave", "take 20")
    scenario.wait_until_deferred()
    scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", "failed")
    scenario.pause(8)
    assert scenario.stops(scenario.runs()[0]) == 0


def test_tasks_that_are_cleared_and_marked_at_once_stop_all_their_runs(airflow: LocalAirflow, start) -> None:
    """More of them: ``make soak SOAK_ARGS="--runs 0 --mass 200"``."""
    many = int(airflow.env["E2E_MANY"])
    came = mass(start("many", ""), many, limit=180)
    assert came.is_right, came
