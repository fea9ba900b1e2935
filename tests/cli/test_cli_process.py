"""The command line as a process: connections good and bad, orphans of a real Airflow, ``airflow xpander``."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow_side import Service, connection_json
from command_line import Done, process
from dag_database import airflow
from dag_runs import Result

from airflow_provider_xpander._compat import AIRFLOW_VERSION

OUTSIDE_OF_TESTS = {"AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
HAS_CLI_OF_PROVIDERS = tuple(map(int, AIRFLOW_VERSION.split(".")[:2])) >= (3, 2)


def test_a_good_connection(service: Service) -> None:
    done = process("check", "--agent", "echo")
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[0].split() == ["check", "|", "state", "|", "said"]
    assert "bad" not in done.out
    assert service.server.api_key not in done.out + done.err


def test_a_bad_connection_and_a_wrong_command(service: Service) -> None:
    connection = connection_json(service.server, password="wrong-key-4711")
    done = process("check", "--conn-id", "bad", "--json", AIRFLOW_CONN_BAD=connection)
    assert done.code == 1
    (bad,) = [row for row in done.data if row["state"] == "bad"]
    assert (bad["check"], "does not accept the API key" in bad["said"]) == ("key and service", True)
    assert "wrong-key-4711" not in done.out + done.err
    missing = process("check", "--conn-id", "nowhere")
    assert (missing.code, "There is no connection 'nowhere'" in missing.out) == (1, True)
    assert process("chekc").code == 2


def test_orphans_are_told_from_runs_that_are_waited_for(
    dags: ModuleType, service: Service, xpander: Callable[..., Done]
) -> None:
    if AIRFLOW_VERSION.startswith("2."):
        airflow("dags", "reserialize")  # there, dag.test() does not store the DAG as a scheduler does
    result = Result(dags.runs_that_go_on.test())
    runs = {task_id: result.xcom(task_id, "xpander_task_id") for task_id in ("started", "waiting")}
    (late,) = {run.task_id for run in service.runs()} - set(runs.values())
    foreign = service.start("slow", "take 600", title=f"another [airflow {'a' * 20}]")
    begin(result, state="deferred")

    mine = xpander("ls", "--json").data
    assert {row["task_id"]: row["xpander_task_id"] for row in mine} == {**runs, "late": late}

    found = process("orphans", "--json")
    assert found.code == 5
    assert [(row["xpander_task_id"], row["why"]) for row in found.data] == [(late, "its task is failed")]
    assert found.data[0]["dag_id"] == "xpander_runs_that_go_on"
    assert "another Airflow's" in found.err
    assert service.stops(late) == 0

    # A clear begins with another first try: its old run is wanted no more.
    begin(result, state="running", try_number=2, max_tries=3)
    stopped = xpander("orphans", "--stop")
    assert stopped.code == 0
    assert late in stopped.out
    assert runs["waiting"] in stopped.out
    assert "its task was cleared and is running in try 2" in stopped.out
    assert {service.status(task_id).value for task_id in (late, runs["waiting"])} == {"stopped"}
    assert service.status(runs["started"]) == service.status(foreign) == "executing"

    left = xpander("orphans", "--left", "--stop")
    assert runs["started"] in left.out
    assert service.status(runs["started"]) == "stopped"
    assert service.stops(foreign) == 0
    assert xpander("orphans").code == 0


def begin(result: Result, **values: object) -> None:
    """Let a task instance be in another state, as the database has it."""
    with create_session() as session:
        session.query(TaskInstance).filter_by(
            dag_id=result.dag_run.dag_id, run_id=result.dag_run.run_id, task_id="waiting"
        ).update(values)


@pytest.mark.skipif(not HAS_CLI_OF_PROVIDERS, reason="Airflow takes commands of providers since 3.2")
def test_the_commands_are_airflows_too(dags: ModuleType, service: Service) -> None:
    checked = process("xpander", "check", "--json", module="airflow", **OUTSIDE_OF_TESTS)
    assert checked.code == 0, checked.err
    assert {row["check"] for row in json.loads(checked.out)} >= {"connection", "key and service"}
