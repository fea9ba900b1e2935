"""Branches that an agent chooses, executed by ``dag.test()`` in this process."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from airflow_side import Service
from dag_runs import Result


@pytest.fixture(scope="module")
def branching(dags: ModuleType) -> ModuleType:
    import xpander_branching

    return xpander_branching


def answers(service: Service, **answer: Any) -> None:
    service.agent("router").answers({"confidence": 0.9, "reason": "it says so", **answer})


@pytest.mark.parametrize(
    ("branch", "runs"), [("billing", {"billing"}), ("group", {"group.first", "group.second"})]
)
def test_what_is_not_chosen_is_skipped(
    branch: str, runs: set[str], branching: ModuleType, service: Service
) -> None:
    answers(service, branch=branch)
    result = Result(branching.one.test())
    assert result.dag_run.state == "success", result.states
    done = {task_id for task_id, states in result.states.items() if states == {"success"}}
    assert done == {"choose", "joined", *runs}
    assert result.xcom("choose") == branch
    assert result.xcom("choose", "xpander_task")["choice"]["by"] == "agent"


def test_several_are_taken_after_a_deferral(branching: ModuleType, service: Service) -> None:
    answers(service, branches=["billing", "urgent"])
    result = Result(branching.several.test())
    assert result.dag_run.state == "success", result.states
    assert result.states["group.first"] == {"skipped"}
    assert result.states["billing"] == result.states["urgent"] == {"success"}
    assert list(result.xcom("choose")) == ["billing", "urgent"]
    assert service.runs()[0].body["input"]["text"] == result.dag_run.run_id
