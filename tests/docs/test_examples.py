"""The example DAGs that ``make ui`` offers: each does in one process what its first sentence says."""

from __future__ import annotations

import importlib

import pytest
from airflow_side import Service
from dag_database import add_dags
from dag_runs import Result

from dev.paths import EXAMPLE_DAGS
from dev.ui import guide

ENDS = {
    "hello": "success",
    "stream": "success",
    "repair": "success",
    "decorators": "success",
    "branch": "success",
    "approval": None,  # waits for a person
    "failing": "failed",
    "notifier": "success",
    "watcher": "success",
    "managed_agents": "success",
    "start_now_wait_later": "success",
    "workflow_with_failure_branch": "success",
    "enrich_tickets": None,  # forty runs: tests/e2e
    "enrich_table": None,  # keeps what it has paid for: tests/dag_test/test_bulk_example.py
    "ask": None,  # waits for a person
}


@pytest.fixture(scope="module", autouse=True)
def examples() -> None:
    add_dags(EXAMPLE_DAGS)


@pytest.mark.parametrize(("name", "end"), ENDS.items())
@pytest.mark.usefixtures("loop")
def test_it_ends_as_it_says(name: str, end: str | None, service: Service) -> None:
    dag = importlib.import_module(f"example_xpander_{name}").dag
    assert dag.dag_id == f"xpander_{name}"
    if end is None:
        return
    result = Result(dag.test())
    assert result.dag_run.state == end, result.states


def test_all_are_tested_and_named_in_the_guide() -> None:
    names = {path.stem.removeprefix("example_xpander_") for path in EXAMPLE_DAGS.glob("*.py")}
    assert names == set(ENDS)
    text = guide("http://127.0.0.1:1", "the emulator", EXAMPLE_DAGS)
    assert all(f"xpander_{name} " in text for name in names), text


def test_none_starts_a_run_by_itself() -> None:
    """Else unpausing it and triggering it would pay twice."""
    for name in ENDS:
        text = (EXAMPLE_DAGS / f"example_xpander_{name}.py").read_text()
        assert "schedule=None" in text or "watchers=[" in text
