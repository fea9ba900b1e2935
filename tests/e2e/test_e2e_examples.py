"""The example DAGs do on a running Airflow what their docstrings say."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dev.airflow_client import AirflowClient
from dev.paths import EXAMPLE_DAGS

pytestmark = pytest.mark.timeout(300)


def test_no_example_fails_to_import(client: AirflowClient) -> None:
    client.unpause("xpander_hello")
    assert client.import_errors() == {}


def test_hello_puts_the_answer_into_xcom(client: AirflowClient) -> None:
    run_id = client.trigger("xpander_hello")
    assert client.wait_for_run("xpander_hello", run_id) == "success"
    assert run_id in client.xcom("xpander_hello", run_id, "ask")
    assert client.xcom("xpander_hello", run_id, "ask", "xpander_task_id")


def test_sensor_returns_the_answer_of_a_run_that_was_started_before(client: AirflowClient) -> None:
    dag_id = "xpander_start_now_wait_later"
    run_id = client.trigger(dag_id)
    assert client.wait_for_run(dag_id, run_id) == "success"
    started = client.xcom(dag_id, run_id, "start")
    assert started == client.xcom(dag_id, run_id, "start", "xpander_task_id")
    answer = client.xcom(dag_id, run_id, "wait")
    assert answer
    assert answer != started
    assert client.xcom(dag_id, run_id, "publish") == f"{answer}\n\nToday's figure: 499500"


@pytest.mark.parametrize(
    ("workflow_id", "expected"),
    [
        (
            "triage",
            {"triage": "success", "use_answer": "success", "ask_a_person": "skipped", "close": "success"},
        ),
        (
            "broken",
            {
                "triage": "failed",
                "use_answer": "upstream_failed",
                "ask_a_person": "success",
                "close": "success",
            },
        ),
    ],
)
def test_workflow_takes_the_branch_of_its_outcome(
    client: AirflowClient, workflow_id: str, expected: dict[str, str]
) -> None:
    dag_id = "xpander_workflow_with_failure_branch"
    run_id = client.trigger(dag_id, {"workflow_id": workflow_id})
    assert client.wait_for_run(dag_id, run_id) == "success"
    assert {one.task_id: one.state for one in client.task_instances(dag_id, run_id)} == expected


@pytest.mark.usefixtures("parallel")
def test_enrichment_writes_a_row_for_each_ticket(client: AirflowClient, enriched_table: Path) -> None:
    dag_id = "xpander_enrich_tickets"
    run_id = client.trigger(dag_id)
    assert client.runs(dag_id) == [run_id], "unpausing starts no run of its own"
    assert client.wait_for_run(dag_id, run_id, limit=240) == "success"
    assert client.xcom(dag_id, run_id, "write_table") == str(enriched_table)
    with (EXAMPLE_DAGS / "data" / "support_tickets.csv").open(newline="", encoding="utf-8") as file:
        tickets = list(csv.DictReader(file))
    with enriched_table.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == [ticket["id"] for ticket in tickets]
    for row in table:
        assert row["category"]
        assert row["priority"] in {"low", "medium", "high", "urgent"}
        assert row["sentiment"] in {"negative", "neutral", "positive"}
        assert row["summary"]
