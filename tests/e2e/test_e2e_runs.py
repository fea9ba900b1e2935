"""The operators and the sensor on a running Airflow, and what each leaves for a user to see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.airflow_client import AirflowClient, TaskInstance
from dev.local_airflow import LocalAirflow

pytestmark = [pytest.mark.timeout(300), pytest.mark.versions]


class Run:
    """One run of a DAG that has ended."""

    def __init__(self, client: AirflowClient, dag_id: str, limit: float = 240) -> None:
        self.client = client
        self.dag_id = dag_id
        self.run_id = client.trigger(dag_id)
        self.state = client.wait_for_run(dag_id, self.run_id, limit=limit)

    def task(self, task_id: str, map_index: int = -1) -> TaskInstance:
        return self.client.task_instance(self.dag_id, self.run_id, task_id, map_index)

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> object:
        return self.client.xcom(self.dag_id, self.run_id, task_id, key, map_index)

    def log(self, task_id: str, map_index: int = -1) -> str:
        return self.client.log(self.dag_id, self.run_id, task_id, map_index=map_index)


@pytest.fixture(scope="module")
def runs(airflow: LocalAirflow) -> Run:
    return Run(airflow.client, "e2e_runs")


@pytest.fixture(scope="module")
def mapped(airflow: LocalAirflow) -> int:
    return int(airflow.env["E2E_MAPPED"])


@pytest.fixture(scope="module")
def failures(airflow: LocalAirflow) -> Run:
    return Run(airflow.client, "e2e_failures")


def test_every_way_to_run_succeeds(runs: Run, mapped: int) -> None:
    instances = runs.client.task_instances(runs.dag_id, runs.run_id)
    states = {(one.task_id, one.map_index): one.state for one in instances}
    assert set(states.values()) == {"success"}, states
    assert len([key for key in states if key[0] == "mapped"]) == mapped


def test_downstream_gets_text_as_text_and_json_as_data(runs: Run) -> None:
    assert runs.xcom("read") == {
        "text": f"deferred {runs.run_id}",
        "data": {"category": "billing"},
        "types": ["str", "dict", "dict"],
    }


def test_each_mapped_task_has_its_own_run_and_answer(runs: Run, mapped: int) -> None:
    answers = [runs.xcom("mapped", map_index=index) for index in range(mapped)]
    assert answers == [f"item {index}" for index in range(mapped)]
    ids = {runs.xcom("mapped", "xpander_task_id", map_index=index) for index in range(mapped)}
    assert len(ids) == mapped


def test_one_run_is_started_per_task(runs: Run, mapped: int, emulator: EmulatorServer) -> None:
    started = [run for run in emulator.emulator.runs() if f" {runs.run_id} [" in run.body["title"]]
    assert len(started) == 3 + mapped


def test_summary_tells_status_times_and_tokens(runs: Run) -> None:
    summary = runs.xcom("deferred", "xpander_task")
    assert isinstance(summary, dict)
    assert summary["id"] == runs.xcom("deferred", "xpander_task_id")
    assert summary["status"] == "completed"
    assert summary["finished_at"] > summary["created_at"]
    assert summary["tokens"]["total_tokens"] > 0
    assert "user_tokens" not in summary


def test_log_follows_the_run(runs: Run) -> None:
    task_id = runs.xcom("waiting", "xpander_task_id")
    log = runs.log("waiting")
    assert f"agent classifier runs as xpander task {task_id}" in log
    assert f"xpander task {task_id} completed" in log
    assert log.count(f"xpander task {task_id} is executing") <= 1


def test_sensor_returns_the_answer_in_every_mode(client: AirflowClient, emulator: EmulatorServer) -> None:
    run = Run(client, "e2e_sensors")
    assert run.state == "success"
    task_id = run.xcom("started")
    answers = {name: run.xcom(name) for name in ("poke", "reschedule", "deferred")}
    assert len(set(answers.values())) == 1, answers
    assert all(answers.values()), answers
    assert emulator.emulator.stops(str(task_id)) == 0


def test_id_of_the_run_is_visible_while_the_task_is_deferred(client: AirflowClient) -> None:
    run_id = client.trigger("e2e_slow")
    client.wait_for_task("e2e_slow", run_id, "slow", {"deferred"})
    assert client.xcom("e2e_slow", run_id, "slow", "xpander_task_id")
    assert client.task_instance("e2e_slow", run_id, "slow").state == "deferred"
    assert client.wait_for_run("e2e_slow", run_id) == "success"


@pytest.mark.parametrize(
    ("task_id", "state", "said"),
    [
        ("failed", "failed", "failed"),
        ("error", "failed", "ended with an error"),
        ("stopped", "failed", "was stopped"),
        ("skipped", "skipped", "was stopped"),
        ("late", "failed", "did not end within 4 s"),
        ("not_json", "failed", "is not the JSON that was asked for"),
        ("wrong_key", "failed", "HTTP 401, Invalid or missing API key"),
        ("unknown_agent", "failed", "HTTP 404"),
        ("no_connection", "failed", "There is no connection 'nowhere'"),
    ],
)
def test_failure_says_why_and_uses_no_retry(failures: Run, task_id: str, state: str, said: str) -> None:
    instance = failures.task(task_id)
    assert instance.state == state
    assert instance.try_number == 1
    assert said in failures.log(task_id)


def test_late_run_is_stopped_once(failures: Run, emulator: EmulatorServer) -> None:
    assert emulator.emulator.stops(str(failures.xcom("late", "xpander_task_id"))) == 1


def test_paid_answer_is_kept_though_it_is_not_json(failures: Run) -> None:
    assert failures.xcom("not_json", "xpander_raw_result")


def test_summary_is_there_for_a_run_that_failed(failures: Run) -> None:
    summary = failures.xcom("failed", "xpander_task")
    assert isinstance(summary, dict)
    assert summary["status"] == "failed"


def test_secrets_are_nowhere(
    airflow: LocalAirflow, emulator: EmulatorServer, runs: Run, failures: Run
) -> None:
    secrets = {
        "key": emulator.api_key,
        "token": airflow.env["AIRFLOW_VAR_CRM_LOGIN"],
        "wrong": "not-a-valid-key",
    }
    sent = [call for call in emulator.emulator.calls if secrets["token"] in str(call.body)]
    assert sent, "the token has to reach the service"
    searched = 0
    for place, text in _texts(airflow):
        searched += 1
        for name, secret in secrets.items():
            assert secret not in text, f"the {name} is in {place}"
    assert searched > 100


def _texts(airflow: LocalAirflow) -> Iterator[tuple[str, str]]:
    """Everything that Airflow has written: log files and each row of the metadata database."""
    for path in airflow.home.rglob("*.log"):
        yield str(path), path.read_text(errors="replace")
    url = airflow.env.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN") or f"sqlite:///{airflow.home}/airflow.db"
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            for table in sqlalchemy.inspect(engine).get_table_names():
                # As text, so that it does not matter what the column is made of.
                for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"')):
                    yield table, str(tuple(row))
    finally:
        engine.dispose()
