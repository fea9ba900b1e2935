"""Orphans, as the command line finds them by Airflow's own database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from airflow import __version__ as airflow_version
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow_side import Service
from command_line import Done, process, xpander_airflow
from dag_database import airflow
from dag_runs import Result

__all__ = ["xpander_airflow"]


def test_orphans_are_told_from_runs_that_are_waited_for(
    dags: ModuleType, service: Service, xpander_airflow: Callable[..., Done]
) -> None:
    if airflow_version.startswith("2."):
        # There, dag.test() does not store the DAG as a scheduler does.
        airflow("dags", "reserialize", "--subdir", str(Path(__file__).parent / "dags"))
    from xpander_runs_that_go_on import runs_that_go_on

    result = Result(runs_that_go_on.test())
    runs = {task_id: result.xcom(task_id, "xpander_task_id") for task_id in ("started", "waiting")}
    (late,) = {run.task_id for run in service.runs()} - set(runs.values())
    foreign = service.start("slow", "take 600", title=f"another [airflow {'a' * 20}]")
    begin(result, state="deferred")

    mine = xpander_airflow("ls", "--json").data
    assert {row["task_id"]: row["xpander_task_id"] for row in mine} == {**runs, "late": late}

    found = process("orphans", "--json")
    assert found.code == 5
    assert [(row["xpander_task_id"], row["why"]) for row in found.data] == [(late, "its task is failed")]
    assert found.data[0]["dag_id"] == "xpander_runs_that_go_on"
    assert "another Airflow's" in found.err
    assert service.stops(late) == 0

    # A clear begins with another first try: its old run is wanted no more.
    begin(result, state="running", try_number=2, max_tries=3)
    stopped = xpander_airflow("orphans", "--stop")
    assert stopped.code == 0
    assert late in stopped.out
    assert runs["waiting"] in stopped.out
    assert "its task was cleared and is running in try 2" in stopped.out
    assert {service.status(task_id).value for task_id in (late, runs["waiting"])} == {"stopped"}
    assert service.status(runs["started"]) == service.status(foreign) == "executing"

    left = xpander_airflow("orphans", "--left", "--stop")
    assert runs["started"] in left.out
    assert service.status(runs["started"]) == "stopped"
    assert service.stops(foreign) == 0
    assert xpander_airflow("orphans").code == 0


def begin(result: Result, **values: object) -> None:
    """Let a task instance be in another state, as the database has it."""
    with create_session() as session:
        session.query(TaskInstance).filter_by(
            dag_id=result.dag_run.dag_id, run_id=result.dag_run.run_id, task_id="waiting"
        ).update(values)
