"""DAGs that are really executed, triggers and all, by ``dag.test()`` in this process."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.utils.session import create_session
from airflow_side import LIMIT, Service, eventually
from dag_runs import Result

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.emulator import Fault

needs_people = pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody")
# At DEBUG, Airflow 3.0 logs what it is asked to mask.
AIRFLOW_SAYS_ITSELF = re.compile(r"Sending request .*MaskSecret\(")
HUSH = ("hush-tokens-4711", "hush-oidc-4712", "hush-mcp-4713")


def test_an_answer_comes_from_a_worker_a_trigger_and_a_sensor(dags: ModuleType, service: Service) -> None:
    result = Result(dags.both_modes.test())
    assert result.dag_run.state == "success", result.states
    assert result.xcom("worker") == "from the worker"
    assert result.xcom("deferred") == "from the trigger"
    assert result.xcom("waited") == "from the sensor"
    link = result.xcom("deferred", "xpander_link")
    assert link.startswith("https://"), link
    assert len(service.runs()) == 3


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


def test_without_a_run_there_is_no_link_and_no_error_about_it(
    dags: ModuleType, service: Service, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    result = Result(dags.no_run.test())
    assert result.states == {"refused": {"failed"}, "refused_too": {"failed"}}
    assert result.rows() == []
    logged = "".join([*capfd.readouterr(), caplog.text])
    assert "no access" in logged or "Check the id" in logged, "the task's log was seen"
    assert "xpander_link" not in logged


def test_a_deferred_repair_asks_xcom_for_nothing_that_is_not_there(
    dags: ModuleType, service: Service, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    result = Result(dags.repaired.test())
    assert result.dag_run.state == "success", result.states
    assert len(service.runs()) == 2
    logged = "".join([*capfd.readouterr(), caplog.text])
    assert "repair turn 1" in logged, "the task's log was seen"
    assert [line for line in logged.splitlines() if "error" in line.lower() and "XCom" in line] == []


@pytest.mark.skipif(airflow_version.startswith("2."), reason="The webserver of Airflow 2 asks the backend")
def test_the_api_server_finds_the_link_whatever_the_xcom_backend_stores(
    dags: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.providers.common.io.xcom import backend
    from airflow.sdk.execution_time import task_runner, xcom

    operatorlink = pytest.importorskip("airflow.serialization.definitions.operatorlink")
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", tmp_path.as_uri())
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "0")
    for cached in (backend._get_base_path, backend._get_threshold):
        monkeypatch.setattr(backend, cached.__name__, cached.__wrapped__)
    for module in (task_runner, xcom):
        monkeypatch.setattr(module, "XCom", backend.XComObjectStorageBackend)

    result = Result(dags.rescheduled.test())
    stored = {(row.task_id, row.key): row.value for row in result.rows()}
    assert "file://" in stored["begun", "xpander_task_id"], "the backend was in force"
    link = operatorlink.XComOperatorLink(name="xpander.ai", xcom_key="xpander_link")
    for instance in result.dag_run.get_task_instances():
        assert link.get_link(None, ti_key=instance.key) == "https://app.xpander.ai/agents/slow"


def test_a_sensor_may_give_its_worker_back_between_two_looks(dags: ModuleType, service: Service) -> None:
    # Not there yet at the first look, so that there is a second, however slow this machine is.
    service.add_fault(Fault(status=404, method="GET", path="/v1/tasks/[^/]+$"))
    result = Result(dags.rescheduled.test())
    assert result.dag_run.state == "success", result.states
    assert result.xcom("rescheduled") == "Done after 1.5 seconds."
    assert len(service.requests("GET")) > 1
    assert len(service.runs()) == 1


def _later(service: Service, act: Callable[[str], None]) -> threading.Thread:
    """Do something with the run as soon as it is paused."""

    def wait() -> None:
        eventually(lambda: [service.status(run.task_id) for run in service.runs()] == ["paused"], "a pause")
        act(service.runs()[0].task_id)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@needs_people
def test_a_task_that_asked_goes_on_with_its_run(dags: ModuleType, service: Service) -> None:
    """``dag.test()`` keeps nothing of a deferral but the event (3.3.2)."""
    thread = _later(service, lambda task_id: service.resume(task_id))
    result = Result(dags.asking.test())
    thread.join(LIMIT)
    assert result.state("asking") == "success"
    assert result.xcom("asking", "xpander_task")["status"] == "completed"
    assert result.xcoms("asking")
    assert len(service.runs()) == 1


@needs_people
def test_a_person_may_stop_the_run(
    dags: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"chosen_options": ["Stop the run"], "responded_by_user": {"id": "1", "name": "Ada"}}

    async def choice(ti_id: str) -> dict[str, Any]:
        return chosen

    monkeypatch.setattr("airflow_provider_xpander.triggers.asking.persons_choice", choice)
    result = Result(dags.asking.test())
    assert result.state("asking") == "failed"
    assert service.status(service.runs()[0].task_id) == "stopped"
    assert result.xcom("asking", "xpander_task")["status"] == "stopped"


@needs_people
def test_a_person_approves_an_answer(
    dags: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "Ada"}}

    async def choice(ti_id: str) -> dict[str, Any]:
        return chosen

    monkeypatch.setattr("airflow_provider_xpander.triggers.asking.persons_choice", choice)
    result = Result(dags.approved.test())
    assert result.state("approved") == "success"
    assert result.xcom("approved") == "to whom it may concern"
    assert [entry["by"] for entry in result.xcom("approved", "xpander_task")["approval"]] == ["Ada"]


def test_texts_stay_texts_with_native_rendering(dags: ModuleType, service: Service) -> None:
    service.configure({"strict": False})  # a field is younger than the emulator
    result = Result(dags.native.test())
    assert result.state("native") == "success"
    body = service.runs()[0].body
    assert body["input"]["text"] == "1.10"
    assert body["title"].startswith("20261101")
    assert body["instructions_override"] == "None"
    assert body["payload_extension"] == {"code": "0x1F", "deep": ["123345"], "number": 7}
    assert body["user_tokens"] == {"crm": {"token": "123345"}, "jira": "1234567890"}
    assert service.posts[0].body["younger"] == "1e5"


@pytest.mark.parametrize("name", ["data", "data_native"])
def test_only_what_is_written_in_the_dag_is_a_template(name: str, dags: ModuleType, service: Service) -> None:
    result = Result(getattr(dags, name).test())
    # What is imported is not for XCom to say.
    failed = {task_id for task_id, states in result.states.items() if states != {"success"}}
    assert failed == {"imported", "importing.imported"}
    assert not service.runs("classifier")
    runs = service.runs("echo")
    bodies = {run.body["title"].split("[")[0].partition(".")[2]: run.body for run in runs}
    (data,) = (run.body for run in runs if run.body["title"].startswith(dags.TEMPLATE))
    assert (data["input"]["text"], data["user_tokens"]) == (dags.TEMPLATE, {"k": dags.TEMPLATE})
    assert data["additional_context"] == "ghghghghghgh"
    assert bodies["kwargs_written"]["input"]["text"] == "ijijijijijij"
    server = {"name": "crm", "url": "https://crm.example.com", "headers": {"k": dags.TEMPLATE}}
    assert bodies["from_xcom"]["mcp_servers"] == bodies["in_group.data"]["mcp_servers"] == [server]
    assert bodies["in_group.part"]["mcp_servers"] == [{"name": "efefefefefef", "headers": [server]}]
    assert bodies["from_xcom"]["user_tokens"] == {"crm": "abababababab"}
    assert bodies["written"]["user_tokens"] == {"crm": "cdcdcdcdcdcd"}


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
    log = [line for line in (out + err + caplog.text).splitlines() if not AIRFLOW_SAYS_ITSELF.search(line)]
    places = {
        "rendered fields": json.dumps(rendered, default=str),
        "XCom": " ".join(f"{row.key} {row.value!r}" for row in result.rows()),
        "log": "\n".join(log),
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
