"""Answers on a running Airflow: checked, repaired, made harmless, filed; read back through its REST API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.airflow_client import AirflowClient
from dev.local_airflow import LocalAirflow

pytestmark = pytest.mark.timeout(300)

BIG = f"~{2**70}"


class Run:
    """One run of a DAG that has ended."""

    def __init__(self, client: AirflowClient, dag_id: str) -> None:
        self.client = client
        self.dag_id = dag_id
        self.run_id = client.trigger(dag_id)
        self.state = client.wait_for_run(dag_id, self.run_id, limit=240)

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        return self.client.xcom(self.dag_id, self.run_id, task_id, key, map_index)

    def log(self, task_id: str) -> str:
        return self.client.log(self.dag_id, self.run_id, task_id)


@pytest.fixture(scope="module")
def answers(airflow: LocalAirflow) -> Run:
    return Run(airflow.client, "e2e_answers")


@pytest.fixture(scope="module")
def failures(airflow: LocalAirflow) -> Run:
    return Run(airflow.client, "e2e_answers_failing")


def test_every_answer_arrives(answers: Run) -> None:
    instances = answers.client.task_instances(answers.dag_id, answers.run_id)
    assert {(one.task_id, one.state) for one in instances if one.state != "success"} == set()


@pytest.mark.parametrize(
    ("task_id", "map_index", "expected", "turns"),
    [
        ("by_class", -1, {"category": "billing", "priority": 3}, 2),
        ("by_path", -1, {"category": "bug", "summary": "The app crashes, truncated", "checked": True}, 2),
        ("mapped", 0, {"category": "billing", "priority": 3}, 1),
    ],
)
def test_models_give_plain_data(
    task_id: str, map_index: int, expected: Any, turns: int, answers: Run, emulator: EmulatorServer
) -> None:
    answer = answers.xcom(task_id, map_index=map_index)
    assert set(answer) == set(expected)
    assert answer["category"] == expected["category"]
    run = answers.xcom(task_id, "xpander_task_id", map_index)
    billed = [turn for turn in emulator.emulator.runs() if turn.task_id == run]
    assert len(billed) == turns
    summary = answers.xcom(task_id, "xpander_task", map_index)
    used = [turn.end["tokens"]["total_tokens"] for turn in billed]
    assert summary["tokens"]["total_tokens"] == sum(used)
    assert len(summary.get("turns", [None])) == turns


@pytest.mark.parametrize("task_id", ["by_class", "by_path"])
def test_the_log_tells_of_the_repair(task_id: str, answers: Run) -> None:
    log = answers.log(task_id)
    run = answers.xcom(task_id, "xpander_task_id")
    assert f"xpander task {run} completed, but its answer" in log
    assert "Asking for another answer in the same thread (repair turn 1)" in log
    assert log.count(f"xpander task {run} completed after") == 2
    assert answers.xcom(task_id, "xpander_raw_result")


def test_a_class_is_shown_by_its_path(answers: Run) -> None:
    fields = answers.client.task_instance(answers.dag_id, answers.run_id, "by_class").rendered_fields
    assert str(fields["output_schema"]).endswith("e2e_answers.Verdict") or "Verdict" in str(fields)


def test_a_hostile_answer_is_data_for_everybody(answers: Run) -> None:
    stored = answers.xcom("hostile")
    assert stored["~__type"] == "datetime"
    assert stored["deep"] == [{"~__classname__": "os.system", "~__version__": 1, "~__data__": ["true"]}]
    assert stored["big"] == [BIG, f"~-{2**70}", "~100", f"~{BIG}"]
    assert stored["~xpander_task_id"] == "forged"
    assert answers.xcom("read") == {"type": "dict", "same": True, "length": 5_000_000, "size": 5_000_000}


def test_a_raw_answer_arrives_and_its_text_does_not_reach_the_log(answers: Run) -> None:
    assert "\x1b[31mred\x1b[0m ::group::hidden" in answers.xcom("raw")
    said = [line for line in answers.log("raw").splitlines() if "hidden" in line]
    assert said
    assert not [line for line in said if "\x1b" in line or "::group::" in line or "##[" in line]


def test_five_megabytes_are_in_the_file(answers: Run, answers_folder: Path) -> None:
    reference = answers.xcom("filed")
    run = answers.xcom("filed", "xpander_task_id")
    assert reference == {
        "url": f"file://{answers_folder}/{answers.run_id}/{run}.txt",
        "size": 5_000_000,
        "content_type": "text/plain; charset=utf-8",
        "xpander_task_id": run,
    }
    assert Path(reference["url"].removeprefix("file://")).read_text() == "x" * 5_000_000


@pytest.mark.parametrize(
    ("task_id", "said", "turns"),
    [
        ("invalid", "does not match output_schema: $.category", 1),
        ("beyond_repair", "Repair turns: 2 of 2", 3),
        ("too_large", "more than max_xcom_bytes=1000", 1),
        ("no_model", "dags.e2e_answer_models.Nothing cannot be imported", 0),
    ],
)
def test_what_cannot_be_used_fails_without_a_retry(
    task_id: str, said: str, turns: int, failures: Run, emulator: EmulatorServer
) -> None:
    instance = failures.client.task_instance(failures.dag_id, failures.run_id, task_id)
    assert (instance.state, instance.try_number) == ("failed", 1)
    assert said in failures.log(task_id)
    titled = [
        run for run in emulator.emulator.runs() if f".{task_id} {failures.run_id} [" in run.body["title"]
    ]
    assert len(titled) == turns


def test_an_invalid_answer_is_kept_and_a_large_one_is_not(failures: Run) -> None:
    assert "value" in failures.xcom("invalid", "xpander_raw_result")
    assert failures.xcom("too_large", "xpander_raw_result") is None
    assert failures.xcom("too_large", "xpander_task_id")
