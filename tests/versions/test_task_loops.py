"""Loops of tasks, where this Airflow has them (3.4): no iteration takes the run of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow_side import Service, running_server, service
from dag_database import add_dags
from dag_runs import Result

from airflow_provider_xpander._compat import AIRFLOW_VERSION
from airflow_provider_xpander.runs.identity import read_mark

__all__ = ["running_server", "service"]

HAS_LOOPS = tuple(map(int, AIRFLOW_VERSION.split(".")[:2])) >= (3, 4)


@pytest.mark.skipif(not HAS_LOOPS, reason="Airflow has loops of tasks since 3.4")
@pytest.mark.filterwarnings("ignore")
def test_a_retry_in_one_iteration_does_not_return_the_answer_of_another(service: Service) -> None:
    add_dags(Path(__file__).parent / "dags")
    import xpander_task_loop

    result = Result(xpander_task_loop.dag.test())
    assert result.dag_run.state == "success", result.states
    asked = [f"iteration {index}" for index in range(3)]
    runs: list[Any] = list(service.runs())
    assert [run.body["input"]["text"] for run in runs] == asked
    marks = {mark.digest for mark in (read_mark(run.body["title"]) for run in runs) if mark}
    assert len(marks) == 3
    assert sorted(result.xcoms("ask.ask")) == asked


@pytest.mark.skipif(not HAS_LOOPS, reason="Airflow has loops of tasks since 3.4")
@pytest.mark.filterwarnings("ignore")
def test_a_decorated_task_asks_in_each_iteration_what_its_function_returns(service: Service) -> None:
    add_dags(Path(__file__).parent / "dags")
    import xpander_decorated_loop

    result = Result(xpander_decorated_loop.dag.test())
    assert result.dag_run.state == "success", result.states
    asked = [f"iteration {index}" for index in range(3)]
    runs: list[Any] = list(service.runs())
    assert [run.body["input"]["text"] for run in runs] == asked
    assert sorted(result.xcoms("ask.decorated")) == asked
