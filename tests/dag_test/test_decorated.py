"""Decorated functions as tasks, executed by ``dag.test()`` in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from airflow_side import Service
from dag_runs import Result


@pytest.fixture(scope="module")
def decorated(dags: ModuleType) -> ModuleType:
    import xpander_decorated

    return xpander_decorated


@pytest.fixture(scope="module")
def ran(decorated: ModuleType, running_server: Any) -> Iterator[Result]:
    """The DAG, run once for all tests that look at it."""
    from airflow_provider_xpander.emulator import Settings

    running_server.emulator.reset(Settings(run_seconds=0.1))
    with pytest.MonkeyPatch.context() as patch:
        Service(running_server, patch.setenv).connect()
        yield Result(decorated.decorated.test())


def test_all_ways_to_make_a_task_succeed(ran: Result) -> None:
    assert ran.dag_run.state == "success", ran.states
    assert {state for states in ran.states.values() for state in states} == {"success"}


def test_data_of_an_earlier_task_is_not_rendered(ran: Result, decorated: ModuleType) -> None:
    more = json.dumps({"deep": decorated.TEMPLATE})
    assert ran.xcoms("each") == [f"hi {decorated.TEMPLATE} {number} {more} for each" for number in range(2)]
    assert ran.xcoms("one_by_one") == [f"hi {decorated.TEMPLATE} null for one_by_one"]


def test_what_the_dag_says_is(ran: Result, running_server: Any) -> None:
    run_id, key = ran.dag_run.run_id, running_server.api_key
    assert ran.xcoms("expanded") == [f"{run_id} {row} null for expanded" for row in ("a", key)]


def test_groups_outputs_and_workflows(ran: Result) -> None:
    assert ran.xcom("group.inner") == "hi in a group null for group.inner"
    assert ran.xcom("triage") == {"category": "bug"}
    assert ran.xcom("chained") == "hi bug null for chained"
    assert json.loads(ran.xcom("flow"))["category"] == "bug"


def test_a_function_gets_native_objects_and_its_text_stays_one(
    decorated: ModuleType, service: Service
) -> None:
    result = Result(decorated.native.test())
    assert result.dag_run.state == "success", result.states
    assert service.runs()[0].body["input"]["text"] == "7.10"
