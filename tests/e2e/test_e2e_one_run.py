"""No failure between the DAG and the service starts a second run or loses an answer; see also the kinds."""

from __future__ import annotations

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer

pytestmark = pytest.mark.timeout(300)


def test_service_is_away_for_a_minute_in_each_phase(start, emulator: EmulatorServer) -> None:
    deferred, worker = start("deferred", "take 40"), start("worker", "take 40")
    deferred.wait_until_deferred()
    worker.wait_until_started()
    resuming = start("slow_to_resume", "take 4")
    resuming.wait_until_resumed()
    emulator.stop()
    try:
        resuming.let_go()
        submitting = start("deferred", "take 5")
        submitting.pause(60)
    finally:
        emulator.start()
    for scenario in (deferred, worker, resuming, submitting):
        scenario.succeeds(limit=180)
    assert [deferred.tries, worker.tries, resuming.tries] == [1, 1, 1]


def test_trigger_that_moves_to_another_triggerer_stops_nothing(start) -> None:
    scenario = start("deferred", "take 15")
    scenario.wait_until_deferred()
    with scenario.another_triggerer():
        scenario.pause(5)
        assert scenario.stops(scenario.runs()[0]) == 0
    scenario.succeeds()
