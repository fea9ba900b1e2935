from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from emulator_api import LIMIT_SECONDS, Api

from airflow_provider_xpander.emulator import Emulator, ManualClock
from airflow_provider_xpander.emulator.schedule import Behaviour, next_step, plan_run

BODY = {"input": {"text": "take 3600"}}


def in_background(api: Api, route: str) -> tuple[threading.Thread, list[Any]]:
    """Start a request that lasts as long as a run, and return when the run is there."""
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(api("POST", f"/v1/agents/slow/{route}", json=BODY))
    )
    asking.start()
    deadline = time.monotonic() + LIMIT_SECONDS
    while not api.server.emulator.runs() and time.monotonic() < deadline:
        time.sleep(0.005)
    return asking, answers


@pytest.mark.parametrize("route", ["invoke", "invoke/stream"])
@pytest.mark.parametrize("how", ["advance", "manual", "finish", "outside"])
def test_who_waits_is_woken_when_time_goes_by_or_a_run_ends(
    api: Api, emulator: Emulator, route: str, how: str
) -> None:
    if how == "manual":
        emulator.clock = ManualClock()
    asking, answers = in_background(api, route)
    if how == "advance":
        emulator.advance(3600)
    elif isinstance(emulator.clock, ManualClock):
        emulator.clock.advance(3600)
    elif how == "finish":
        emulator.finish(emulator.runs()[0].task_id)
    else:
        api("POST", "/_emulator/clock", json={"advance": 3600})
    asking.join(LIMIT_SECONDS)
    assert answers[0].status_code == 200
    assert "Done after 3600 seconds." in answers[0].text.replace('"', "") or route == "invoke/stream"
    assert emulator.status(emulator.runs()[0].task_id) == "completed"


def test_time_stands_still_when_it_is_told_to_from_outside(api: Api, emulator: Emulator) -> None:
    stopped = api("POST", "/_emulator/clock", json={"stand_still": True}).json()
    later = api("POST", "/_emulator/clock", json={"advance": 10}).json()
    assert later == pytest.approx(stopped + 10)
    assert api("POST", "/_emulator/clock", json={}).json() == later
    api("POST", "/_emulator/clock", json={"stand_still": False})
    assert emulator.clock is time.time
    assert api("POST", "/_emulator/clock", json={"advance": -1}).status_code == 422


def test_what_was_skipped_is_forgotten_with_a_reset(emulator: Emulator) -> None:
    emulator.advance(3600)
    assert emulator.now() > time.time() + 3000
    emulator.reset()
    assert emulator.now() < time.time() + 1


def test_a_speed_is_that_of_lags_and_delays_too(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.configure(
        {"speed": 3600, "not_found_lag_seconds": 3600, "list_lag_seconds": 7200, "stop_delay_seconds": 3600}
    )
    task_id = api.start("slow", "take 36000")["id"]
    seen = []
    for _ in range(3):
        listed = len(api("GET", "/v1/tasks").json()["items"])
        seen.append((api("GET", f"/v1/tasks/{task_id}").status_code, listed))
        clock.advance(1)
    assert seen == [(404, 0), (200, 0), (200, 1)]
    api("POST", f"/v1/tasks/{task_id}/stop")
    assert api.get(task_id)["status"] == "executing"
    clock.advance(1)
    assert api.get(task_id)["status"] == "stopped"


@pytest.mark.parametrize(("now", "at"), [(0, 102.0), (101, 102.0), (102, 110.0), (110, None)])
def test_the_next_step_of_a_run(now: float, at: float | None) -> None:
    plan = plan_run(100.0, Behaviour("done", seconds=10), {}, pending=2)
    assert next_step(plan, max(now, 100.0)) == at
