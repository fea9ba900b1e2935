"""The plugin with ``dag.test()``: the code of docs/testing-dags.md, as a reader would have it."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version
from airflow_side import Service
from docs_blocks import blocks

Session = Callable[..., pytest.RunResult]

OTHERWISE_ON_2_11 = re.compile(r"from \S+ import (.*)  # on Airflow 2\.11: from ([\w.]+).*")
MORE = """
import time
from datetime import timedelta


def test_a_late_run_is_stopped(xpander):
    xpander.agent("triage").answers("late").takes(600)
    (task,) = dag.tasks
    for deferrable in (False, True):
        task.deferrable, task.timeout = deferrable, 0.5
        assert dag.test().state == "failed"
    assert [run.stops for run in xpander.runs()] == [1, 1]
    xpander.assert_all_stopped()


def test_the_interval_of_the_dag_is_not_waited_for(xpander):
    xpander.agent("triage").answers("ok").takes(0.2)
    (task,) = dag.tasks
    task.deferrable, task.timeout, task.poll_interval = False, None, 300.0
    began = time.monotonic()
    assert dag.test().state == "success"
    assert time.monotonic() - began < 60


def test_the_seconds_of_the_timeout_and_of_the_agent_are_the_same(xpander):
    xpander.agent("triage").answers("ok").takes(1.5)
    (task,) = dag.tasks
    for deferrable in (False, True):
        task.deferrable, task.timeout, task.poll_interval = deferrable, 60.0, 30.0
        assert dag.test().state == "success"
    assert len(xpander.runs()) == 2
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page, and none of this project's settings."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "_AIRFLOW"))]:
        monkeypatch.delenv(name)
    for block in blocks("python"):
        if name := block.comments.get("file"):
            path = pytester.path / name
            path.parent.mkdir(exist_ok=True)
            code = block.code
            path.write_text(
                OTHERWISE_ON_2_11.sub(r"from \2 import \1", code)
                if airflow_version.startswith("2.")
                else code
            )
    return pytester.path


def test_the_tests_of_the_page_pass(project: Path, session: Session, service: Service) -> None:
    """The emulator of this process stands for the real service, whose answers are recorded."""
    service.agent("triage").answers("The disk was really full.")
    test = project / "tests" / "test_triage.py"
    code = test.read_text()
    assert len([line for line in code.splitlines() if line]) <= 10
    test.write_text(code + MORE)
    session("--xpander-record", "tests").assert_outcomes(passed=5)
    (recording,) = project.rglob("recordings/triage.json")
    assert "The disk was really full." in recording.read_text()
    assert len(service.runs()) == 1, "only the recording asks the real service"


@pytest.mark.skipif(
    importlib.util.find_spec("pytest_airflow_in_a_box") is None, reason="pytest-airflow-in-a-box is not here"
)
def test_it_works_with_pytest_airflow_in_a_box(project: Path, session: Session) -> None:
    for name in ("conftest.py", "test_recorded.py"):
        (project / "tests" / name).unlink()
    (project / "tests" / "test_triage.py").write_text(
        """
def test_it(xpander, dag_bag, run_dag):
    xpander.agent("triage").answers("The disk was full.")
    assert run_dag(dag_bag.dags["triage"]).success
    xpander.assert_one_run("triage")
"""
    )
    session("--dag-folder=dags", "tests", box=True).assert_outcomes(passed=1)
