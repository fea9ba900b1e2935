"""A paused run, and a person who is asked about it: the question and its answers go through the REST API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.emulator.server import EmulatorServer
from airflow_provider_xpander.runs.question import KEEP_WAITING, STOP, WENT_ON
from dev.local_airflow import LocalAirflow
from dev.scenario import Scenario
from dev.waiting import wait_for

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody"),
]


class Asked(Scenario):
    """A run that pauses, and the question about it."""

    def question(self) -> dict[str, Any] | None:
        return self.client.question(self.dag_id, self.run_id, "run")

    def wait_until_asked(self) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.question()
            waits = self.client.task_instance(self.dag_id, self.run_id, "run").state == "deferred"
            return found if found and found["response_received"] is False and waits else None

        found = wait_for(look, limit=90, what="a question without an answer", explain=self.log)
        # A person is slower than the worker's supervisor, which lingers: Airflow 3.3 fails a task that is
        # resumed before it is gone. The trigger is loaded by then, too.
        self.pause(6)
        return found

    def answer(self, option: str) -> None:
        self.client.answer(self.dag_id, self.run_id, "run", option)

    def log(self) -> str:
        return self.client.log(self.dag_id, self.run_id, "run")

    @property
    def run(self) -> str:
        return self.runs()[0]


@pytest.fixture
def start(airflow: LocalAirflow, emulator: EmulatorServer) -> Callable[..., Asked]:
    return lambda text="approve", kind="deferred": Asked(airflow, emulator, f"ask_{kind}", text)


@pytest.mark.parametrize("kind", [pytest.param("deferred", marks=pytest.mark.versions), "worker"])
def test_to_keep_waiting_does_not_end_the_run_and_is_not_asked_again(start, kind: str) -> None:
    scenario = start(kind=kind)
    asked = scenario.wait_until_asked()
    assert asked["subject"].startswith("Agent ")
    assert "is paused: " in asked["subject"]
    assert "a person has to answer" in asked["body"]
    assert "<https://app.xpander.ai/agents/paused>" in asked["body"]
    assert asked["options"] == [KEEP_WAITING, STOP]
    scenario.answer(KEEP_WAITING)
    wait_for(lambda: "has chosen to keep waiting" in scenario.log(), limit=60, what="the resumed task")
    scenario.client.wait_for_task(scenario.dag_id, scenario.run_id, "run", {"deferred"})
    scenario.pause(6)
    assert scenario.question()["chosen_options"] == [KEEP_WAITING]
    scenario.emulator.resume(scenario.run)
    scenario.succeeds()
    log = scenario.log()
    assert log.count("Asked in Airflow whether to keep waiting") == 1
    assert log.count("is paused: a person has to answer") <= 3  # trigger, worker that asks


@pytest.mark.versions
def test_to_stop_ends_the_run_and_no_retry_starts_another(start) -> None:
    scenario = start("login")
    asked = scenario.wait_until_asked()
    assert "- Log-in: <https://login.example.com/connect?state=emulator>" in asked["body"]
    scenario.answer(STOP)
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id) == "failed"
    assert scenario.emulator.status(scenario.run) == "stopped"
    assert len(scenario.runs()) == scenario.tries == 1
    assert "who was asked in Airflow" in scenario.log()
    assert scenario.xcom("xpander_task")["status"] == "stopped"


def test_a_run_that_goes_on_by_itself_needs_no_answer(start) -> None:
    scenario = start()
    scenario.wait_until_asked()
    scenario.emulator.resume(scenario.run)
    scenario.succeeds()
    assert scenario.question()["chosen_options"] == [WENT_ON]
    assert scenario.tries == 1


def test_each_pause_is_asked_about_once(start) -> None:
    scenario = start()
    scenario.wait_until_asked()
    scenario.answer(KEEP_WAITING)
    wait_for(lambda: "has chosen to keep waiting" in scenario.log(), limit=60, what="the resumed task")
    later = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + 5))
    scenario.emulator.override(scenario.run, {"paused_at": later})
    scenario.wait_until_asked()
    scenario.answer(STOP)
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id) == "failed"
    assert scenario.log().count("Asked in Airflow whether to keep waiting") == 2


def test_a_task_that_is_marked_while_it_asks_stops_its_run(start) -> None:
    scenario = start()
    scenario.wait_until_asked()
    scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", "failed")
    scenario.is_stopped()


def test_a_task_that_is_cleared_while_it_asks_stops_its_run_and_asks_about_the_new_one(start) -> None:
    scenario = start()
    scenario.wait_until_asked()
    scenario.clear()
    scenario.is_stopped(scenario.run)
    wait_for(lambda: len(scenario.runs()) == 2, limit=60, what="the new run")
    # The question of before the clear may still be open: an answer to it decides nothing about the new run.
    wait_for(
        lambda: "Asked in Airflow" in scenario.client.log(scenario.dag_id, scenario.run_id, "run", 2),
        limit=90,
        what="the new question",
    )
    scenario.wait_until_asked()
    scenario.answer(STOP)
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id) == "failed"
