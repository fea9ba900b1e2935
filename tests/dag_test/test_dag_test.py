"""DAGs that are really executed, triggers and all, by ``dag.test()`` in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.utils.session import create_session
from airflow_side import Service

HUSH = ("hush-tokens-4711", "hush-oidc-4712", "hush-mcp-4713")


class Result:
    """One DAG run, as the database has it afterwards."""

    def __init__(self, dag_run: Any) -> None:
        self.dag_run = dag_run

    def state(self, task_id: str) -> str | None:
        """Return the state of a task that is not mapped."""
        instances = {instance.task_id: instance for instance in self.dag_run.get_task_instances()}
        return instances[task_id].state

    @property
    def states(self) -> dict[str, set[str]]:
        """All states by task."""
        found: dict[str, set[str]] = {}
        for instance in self.dag_run.get_task_instances():
            found.setdefault(instance.task_id, set()).add(str(instance.state))
        return found

    def xcoms(self, task_id: str, key: str = "return_value") -> list[Any]:
        """Return the values of a key by map index, as a reader gets them."""
        return [_decoded(row) for row in self.rows() if (row.task_id, row.key) == (task_id, key)]

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """Return the value of a key of a task that is not mapped."""
        (value,) = self.xcoms(task_id, key)
        return value

    def rows(self) -> list[Any]:
        """Return everything of this run in the table of XComs."""
        model = _xcom_model()
        with create_session() as session:
            query = session.query(model).filter_by(dag_id=self.dag_run.dag_id, run_id=self.dag_run.run_id)
            rows = query.order_by(model.task_id, model.map_index, model.key).all()
            session.expunge_all()
        return list(rows)


def _xcom_model() -> Any:
    if airflow_version.startswith("2."):
        from airflow.models.xcom import XCom

        return XCom
    from airflow.models.xcom import XComModel

    return XComModel


def _decoded(row: Any) -> Any:
    if airflow_version.startswith("2."):
        return row.value
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.deserialize_value(row)


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


def test_an_answers_keys_are_xcoms_and_overwrite_none_of_ours(dags: ModuleType, service: Service) -> None:
    result = Result(dags.outputs.test())
    assert result.xcom("apart", "own") == 7
    assert result.xcom("apart", "~xpander_link") == "x"
    assert result.xcom("apart", "xpander_link").startswith("https://")
    assert result.xcom("apart", "xpander_task")["id"] == result.xcom("apart", "xpander_task_id")
    assert result.xcoms("apart", "xpander_turns") == []
    # Airflow 3 would write that into XComs of other tasks.
    assert result.state("elsewhere") == "failed"
    assert result.xcom("elsewhere", "xpander_link").startswith("https://")
    assert set(result.xcom("elsewhere", "xpander_raw_result").strip('{"').split('"')) >= {"../apart/own"}


def test_a_sensor_may_give_its_worker_back_between_two_looks(dags: ModuleType, service: Service) -> None:
    result = Result(dags.rescheduled.test())
    assert result.dag_run.state == "success", result.states
    assert result.xcom("rescheduled") == "Done after 1.5 seconds."
    assert len(service.requests("GET")) > 1
    assert len(service.runs()) == 1


def test_a_run_that_failed_fails_the_dag_run(dags: ModuleType, service: Service) -> None:
    result = Result(dags.failing.test())
    assert result.dag_run.state == "failed"
    assert result.state("failing") == "failed"
    assert result.xcom("failing", "xpander_task")["status"] == "error"
    assert result.xcoms("failing") == []


def test_a_run_that_was_stopped_can_skip_the_task(dags: ModuleType, service: Service) -> None:
    result = Result(dags.skipping.test())
    assert result.state("skipped") == "skipped"
    assert result.dag_run.state == "success"


def test_secrets_are_nowhere_but_in_the_request(
    dags: ModuleType,
    service: Service,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level("DEBUG"):
        result = Result(dags.secrets.test())
    assert result.dag_run.state == "success", result.states
    sent = service.runs()[0].body
    assert [sent["user_tokens"]["crm"], sent["user_oidc_token"], sent["mcp_servers"][0]["api_key"]] == [*HUSH]

    rendered = _rendered_fields(result.dag_run)
    assert rendered["input"].startswith("for "), "the table was written"
    out, err = capfd.readouterr()
    assert "as xpander task" in out + err + caplog.text, "the task's log was seen"
    places = {
        "rendered fields": json.dumps(rendered, default=str),
        "XCom": " ".join(f"{row.key} {row.value!r}" for row in result.rows()),
        "log": out + err + caplog.text,
    }
    secrets = (*HUSH, service.server.api_key)
    leaks = [(place, secret) for place, text in places.items() for secret in secrets if secret in text]
    assert leaks == []


def _rendered_fields(dag_run: Any) -> dict[str, Any]:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields

    with create_session() as session:
        row = session.query(RenderedTaskInstanceFields).filter_by(
            dag_id=dag_run.dag_id, run_id=dag_run.run_id
        ).one()  # fmt: skip
        return dict(row.rendered_fields)
