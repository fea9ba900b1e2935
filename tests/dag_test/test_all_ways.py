"""The DAG with all ways of waiting, executed by ``dag.test()`` in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from airflow_side import Service
from dag_runs import Result


@pytest.fixture(scope="module")
def ran(dags: ModuleType, running_server: Any) -> Iterator[Result]:
    """The DAG with all ways of waiting, run once for all tests that look at it."""
    from airflow_provider_xpander.emulator import Settings

    running_server.emulator.reset(Settings(run_seconds=0.3))
    with pytest.MonkeyPatch.context() as patch:
        Service(running_server, patch.setenv).connect()
        yield Result(dags.all_ways.test())


def test_every_way_of_waiting_succeeds(ran: Result) -> None:
    assert ran.dag_run.state == "success", ran.states
    assert {state for states in ran.states.values() for state in states} == {"success"}


def test_the_answer_is_the_return_value(ran: Result) -> None:
    assert ran.xcom("deferred") == f"run {ran.dag_run.run_id}"
    assert ran.xcom("worker") == {"category": "billing"}
    assert json.loads(ran.xcom("sync"))["category"] == "bug"


def test_the_handle_and_the_summary_are_in_xcom(ran: Result) -> None:
    for task_id in ("deferred", "worker", "sync"):
        summary = ran.xcom(task_id, "xpander_task")
        assert (summary["id"], summary["status"]) == (ran.xcom(task_id, "xpander_task_id"), "completed")


def test_another_tasks_output_is_resolved_at_any_depth(ran: Result, running_server: Any) -> None:
    assert ran.xcom("upstream") == "from upstream"
    task = running_server.emulator.task(ran.xcom("upstream", "xpander_task_id"))
    assert task.last.body["payload_extension"] == {"deep": [["x", "y", "z"]]}


def test_mapped_tasks_give_their_answers_in_order(ran: Result, running_server: Any) -> None:
    assert ran.xcoms("mapped") == ["x", "y", "z"]
    assert list(ran.xcom("joined")) == ["x", "y", "z"]
    titles = {run.body["title"] for run in running_server.emulator.runs("echo")}
    assert len([title for title in titles if "mapped" in title]) == 3


def test_a_run_can_be_started_now_and_waited_for_later(ran: Result) -> None:
    task_id = ran.xcom("started")
    assert task_id == ran.xcom("started", "xpander_task_id")
    assert ran.xcom("poked") == ran.xcom("waited") == "later"
    assert ran.xcom("waited", "xpander_task")["id"] == task_id


def test_a_hostile_answer_reaches_the_next_task_as_data(ran: Result) -> None:
    assert ran.state("read_back") == "success"


def test_each_task_started_one_run(ran: Result, running_server: Any) -> None:
    # deferred, upstream, mapped three times, started, hostile; worker; sync
    started = [run.target_id for run in running_server.emulator.runs()]
    assert sorted(started) == sorted(["echo"] * 7 + ["classifier", "triage"])
