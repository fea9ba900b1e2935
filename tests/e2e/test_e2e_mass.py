"""A mass clear and a mass mark-failed stop every run."""

from __future__ import annotations

import pytest

from dev.local_airflow import LocalAirflow
from dev.mass import mass

pytestmark = pytest.mark.timeout(600)


def test_cleared_and_marked_tasks_stop_all_their_runs(airflow: LocalAirflow, start) -> None:
    many = int(airflow.env["E2E_MANY"])
    came = mass(start("many", ""), many, limit=180)
    assert came.is_right, came
