"""The short soak: twelve runs, each with a kill or fault of its own; `make soak` makes two hundred."""

from __future__ import annotations

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.local_airflow import LocalAirflow
from dev.soak import soak, table

pytestmark = pytest.mark.timeout(600)


@pytest.mark.usefixtures("start")
def test_nothing_is_paid_twice_lost_or_left(airflow: LocalAirflow, emulator: EmulatorServer) -> None:
    rows = soak(airflow, emulator, runs=12, seed=3, wave=6)
    assert not any(row.bad for row in rows.values()), table(rows)
