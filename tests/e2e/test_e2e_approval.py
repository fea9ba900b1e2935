"""Answers that a person approves, and branches that a person chooses: questions go through the REST API."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.emulator.server import EmulatorServer
from airflow_provider_xpander.runs.approval import AGAIN, EDITED
from dev.local_airflow import LocalAirflow
from dev.scenario import Scenario
from dev.waiting import wait_for

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody"),
]


class Asked(Scenario):
    """A run that has ended, and the question about its answer."""

    def wait_until_asked(self) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.client.question(self.dag_id, self.run_id, "run")
            waits = self.client.task_instance(self.dag_id, self.run_id, "run").state == "deferred"
            return found if found and found["response_received"] is False and waits else None

        found = wait_for(look, limit=90, what="a question without an answer", explain=self.log)
        self.pause(6)  # as a person does: Airflow 3.3 fails a task that is resumed before its worker is gone
        return found

    def answer(self, option: str, **fields: Any) -> None:
        self.client.answer(self.dag_id, self.run_id, "run", option, fields)

    def log(self) -> str:
        return self.client.log(self.dag_id, self.run_id, "run")


def test_a_person_asks_again_edits_wrongly_and_then_rightly(
    airflow: LocalAirflow, emulator: EmulatorServer
) -> None:
    scenario = Asked(airflow, emulator, "approval", "I was charged twice")
    question = scenario.wait_until_asked()
    assert '"category": "billing"' in question["body"]
    assert scenario.xcom() is None
    scenario.answer(AGAIN, comment="The export crashes, really.")
    scenario.wait_until_asked()
    now = scenario.xcom("xpander_approval")
    assert now["answer"] == {"category": "bug"}
    scenario.answer(EDITED, code=now["code"], answer='{"category": "tea"}')
    scenario.wait_until_asked()
    assert "expected one of" in scenario.xcom("xpander_approval")["problem"]
    scenario.answer(EDITED, code=now["code"], answer='{"category": "access"}')
    scenario.client.wait_for_task(scenario.dag_id, scenario.run_id, "run", {"success"})
    assert scenario.xcom() == {"category": "access"}
    decided = scenario.xcom("xpander_task")["approval"]
    assert [entry["decision"] for entry in decided] == ["asked again", "unclear", "edited"]
    assert all(entry["by"] and entry["at"].startswith("20") for entry in decided)
    assert len(scenario.runs()) == 2
    assert len(set(scenario.runs())) == 1
    assert scenario.tries == 1


def test_a_person_chooses_the_branch(airflow: LocalAirflow, emulator: EmulatorServer) -> None:
    scenario = Asked(airflow, emulator, "branch_asks", "I was charged twice")
    assert scenario.wait_until_asked()["options"] == ["billing", "bug"]
    scenario.answer("bug")
    assert scenario.client.wait_for_run(scenario.dag_id, scenario.run_id) == "success"
    states = {
        task_id: scenario.client.task_instance(scenario.dag_id, scenario.run_id, task_id).state
        for task_id in ("run", "billing", "bug")
    }
    assert states == {"run": "success", "billing": "skipped", "bug": "success"}
    assert scenario.xcom() == "bug"
    assert scenario.xcom("xpander_task")["choice"]["branches"] == ["bug"]
