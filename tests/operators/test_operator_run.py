"""Executions: one submit, the note of the handle, the wait in one of the ways, the answer."""

from __future__ import annotations

import json
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
    BaseHook,
    TaskDeferred,
)
from airflow_side import (
    LIMIT,
    POLL,
    FakeTaskInstance,
    OpenConnections,
    Service,
    eventually,
    resume,
    run_through,
)
from attempts import Lines, attempt, lines

from airflow_provider_xpander.api.errors import XpanderTaskFailed, XpanderTaskPaused, XpanderTaskStopped
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.task_instance import failing_at_once
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

__all__ = ["lines"]

WORKER = {"deferrable": False}
DEFER = {"deferrable": True}
SYNC = {"mode": "sync", "deferrable": False}
WAYS = pytest.mark.parametrize("way", [pytest.param(WORKER, id="worker"), pytest.param(DEFER, id="deferred")])
ALL_WAYS = pytest.mark.parametrize(
    "way",
    [
        pytest.param(WORKER, id="worker"),
        pytest.param(DEFER, id="deferred"),
        pytest.param(SYNC, id="sync"),
        pytest.param({"mode": "sync", "deferrable": True}, id="sync deferrable"),
    ],
)


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults = {"task_id": "ask", "agent_id": "echo", "input": "hello", "poll_interval": POLL}
    return XpanderInvokeAgentOperator(**defaults | kwargs)


@ALL_WAYS
def test_the_answer_is_returned_for_one_run(way: dict[str, Any], service: Service) -> None:
    ti = FakeTaskInstance(service)
    assert run_through(agent(**way), ti.context()) == "hello"
    assert len(service.posts) == len(service.runs()) == 1
    assert service.posts[0].path == "/v1/agents/echo/invoke" + ("" if way.get("mode") == "sync" else "/async")


@ALL_WAYS
def test_a_workflow_is_invoked_as_one(way: dict[str, Any], service: Service) -> None:
    operator = XpanderInvokeWorkflowOperator(
        task_id="ask", workflow_id="triage", input="I was charged twice", poll_interval=POLL, **way
    )
    answer = run_through(operator, FakeTaskInstance().context())
    assert json.loads(answer)["category"] == "billing"
    assert service.posts[0].path.startswith("/v1/workflows/triage/invoke")


@WAYS
def test_the_handle_is_pushed_before_any_look_and_the_summary_after(
    way: dict[str, Any], service: Service
) -> None:
    ti = FakeTaskInstance(service)
    run_through(agent(**way), ti.context())
    assert list(ti.xcom) == ["xpander_task_id", "xpander_link", "xpander_task"]
    assert ti.xcom["xpander_task_id"] == service.runs()[0].task_id
    assert ti.asked_before["xpander_task_id"] == ["POST"]
    assert ti.asked_before["xpander_task"][:2] == ["POST", "GET"]


@ALL_WAYS
def test_the_summary_is_a_fixed_list_of_fields(way: dict[str, Any], service: Service) -> None:
    ti = FakeTaskInstance()
    run_through(agent(user_oidc_token="oidc-" + "7" * 20, **way), ti.context())
    summary = ti.xcom["xpander_task"]
    assert (summary["id"], summary["status"], summary["agent_id"]) == (
        ti.xcom["xpander_task_id"], "completed", "echo",
    )  # fmt: skip
    assert summary["tokens"]["total_tokens"] > 0
    assert datetime.fromisoformat(summary["finished_at"]) >= datetime.fromisoformat(summary["created_at"])
    assert not {"result", "input", "user_oidc_token", "user_tokens", "mcp_servers"} & set(summary)
    assert "oidc-" not in json.dumps(ti.xcom)


def test_deferring_stores_a_small_trigger_without_secrets(service: Service) -> None:
    operator = agent(
        deferrable=True, user_tokens={"crm": "tok-{{ 6 * 111 }}"}, timeout=600, on_paused="fail", retries=3
    )
    started = time.time()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(FakeTaskInstance().context())
    path, kwargs = deferred.value.trigger.serialize()
    assert path == "airflow_provider_xpander.triggers.xpander.XpanderTaskTrigger"
    assert deferred.value.method_name == "execute_complete"
    stored = json.dumps(kwargs)
    assert "tok-" not in stored
    assert service.server.api_key not in stored
    assert "hello" not in stored
    assert XpanderTaskTrigger(**json.loads(stored)).serialize() == (path, kwargs)
    assert kwargs["xpander_task_id"] == service.runs()[0].task_id
    assert (kwargs["agent_id"], kwargs["poll_interval"], kwargs["on_paused"]) == ("echo", POLL, "fail")
    assert started + 600 <= kwargs["deadline"] <= time.time() + 600
    # Its id is its own: nobody else continues it.
    assert kwargs["digests"] is None
    # Airflow's own limit lies behind the deadline: it would orphan the run.
    assert deferred.value.timeout is not None
    assert deferred.value.timeout > timedelta(seconds=600)


def test_without_a_limit_neither_the_trigger_nor_the_deferral_has_one(service: Service) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        agent(deferrable=True).execute(FakeTaskInstance().context())
    assert deferred.value.trigger.deadline is None
    assert deferred.value.timeout is None


def test_without_waiting_the_id_is_returned_at_once(service: Service) -> None:
    ti = FakeTaskInstance()
    returned = agent(wait_for_completion=False, deferrable=True).execute(ti.context())
    assert returned == ti.xcom["xpander_task_id"] == service.runs()[0].task_id
    assert [call.method for call in service.requests()] == ["POST"]


@WAYS
def test_a_run_that_has_already_ended_is_neither_polled_nor_deferred(
    way: dict[str, Any], service: Service
) -> None:
    service.configure({"run_seconds": 0})
    assert agent(**way).execute(FakeTaskInstance().context()) == "hello"
    assert [call.method for call in service.requests()] == ["POST"]


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
def test_a_sync_answer_that_is_not_final_is_waited_for(deferrable: bool, service: Service) -> None:
    """A sync invoke answers when the run pauses; this one goes on by itself a little later."""
    operator = agent(agent_id="paused", input="schedule 0.3", mode="sync", deferrable=deferrable)
    assert run_through(operator, FakeTaskInstance().context()) == "Resumed and completed: schedule 0.3"
    assert len(service.runs()) == 1
    assert service.requests("GET")


@ALL_WAYS
def test_slim_bodies_are_enough(way: dict[str, Any], service: Service) -> None:
    service.configure({"slim_bodies": True})
    assert run_through(agent(**way), FakeTaskInstance().context()) == "hello"


@WAYS
def test_a_task_that_is_not_visible_yet_is_waited_for(way: dict[str, Any], service: Service) -> None:
    service.configure({"not_found_lag_seconds": 0.3, "run_seconds": 0.1})
    assert run_through(agent(**way), FakeTaskInstance().context()) == "hello"
    assert 404 in [call.status for call in service.requests("GET")]


ENDINGS = pytest.mark.parametrize(
    ("text", "status", "error", "words"),
    [
        pytest.param("x", "failed", XpanderTaskFailed, "a required tool is missing", id="failed"),
        pytest.param("error", "error", XpanderTaskFailed, "the warehouse did not answer", id="error"),
        pytest.param("stopped", "stopped", XpanderTaskStopped, "stopped by the system", id="stopped"),
    ],
)


@ALL_WAYS
@ENDINGS
def test_a_run_that_did_not_complete_fails_with_the_services_reason(
    text: str, status: str, error: type[Exception], words: str, way: dict[str, Any], service: Service
) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(error, match=words):
        run_through(agent(agent_id="failing", input=text, **way), ti.context())
    assert ti.xcom["xpander_task"]["status"] == status
    assert not service.requests("POST", "/stop")


@WAYS
@pytest.mark.parametrize("on_stopped", ["fail", "skip"])
def test_a_run_that_somebody_stops_fails_or_skips(
    on_stopped: str, way: dict[str, Any], service: Service
) -> None:
    operator = agent(agent_id="slow", input="take 30", on_stopped=on_stopped, **way)
    stopper = threading.Thread(target=_once_looked_at, args=(service, service.stop))
    stopper.start()
    ti = FakeTaskInstance()
    expected = AirflowSkipException if on_stopped == "skip" else XpanderTaskStopped
    with pytest.raises(expected, match="was stopped by somebody"):
        run_through(operator, ti.context())
    stopper.join(LIMIT)
    assert ti.xcom["xpander_task"]["is_manually_stopped"] is True


@WAYS
def test_a_failed_run_is_not_skipped(way: dict[str, Any], service: Service) -> None:
    with pytest.raises(XpanderTaskFailed):
        run_through(agent(agent_id="failing", on_stopped="skip", **way), FakeTaskInstance().context())


@ALL_WAYS
@pytest.mark.parametrize(
    ("text", "words"),
    [("approve", "a person has to answer"), ("login", "log in to Salesforce")],
    ids=["person", "login"],
)
def test_a_pause_can_fail_the_task_and_leaves_the_run_as_it_is(
    text: str, words: str, way: dict[str, Any], service: Service
) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(XpanderTaskPaused, match=words):
        run_through(agent(agent_id="paused", input=text, on_paused="fail", **way), ti.context())
    assert ti.xcom["xpander_task"]["status"] == "paused"
    assert service.status(ti.xcom["xpander_task_id"]) == "paused"
    assert service.stops(ti.xcom["xpander_task_id"]) == 0


@WAYS
def test_a_pause_is_waited_out_by_default(way: dict[str, Any], service: Service) -> None:
    def answer(task_id: str) -> None:
        eventually(lambda: service.status(task_id) == "paused", "the run pauses")
        service.resume(task_id)

    person = threading.Thread(target=_once_looked_at, args=(service, answer))
    person.start()
    answer_text = run_through(agent(agent_id="paused", **way), FakeTaskInstance().context())
    person.join(LIMIT)
    assert answer_text == "Resumed and completed: hello"


def test_a_run_that_went_on_before_the_worker_took_up_its_pause_is_waited_for(service: Service) -> None:
    service.configure({"run_seconds": 0.05})
    operator = agent(agent_id="paused", on_paused="fail", deferrable=True)
    ti = FakeTaskInstance()
    with pytest.raises(TaskDeferred):
        operator.execute(ti.context())
    task_id = ti.xcom["xpander_task_id"]
    event = {"xpander_task_id": task_id, "end": "paused", "status": "paused"}
    service.finish(task_id, "completed", "answered after all")
    assert operator.resume_execution("execute_complete", {"event": event}, ti.context()) == (
        "answered after all"
    )


def test_a_run_that_executes_again_when_the_worker_takes_up_its_pause_is_waited_for(service: Service) -> None:
    operator = agent(agent_id="slow", input="take 60", on_paused="fail", deferrable=True, timeout=600)
    ti = FakeTaskInstance()
    with pytest.raises(TaskDeferred) as first:
        operator.execute(ti.context())
    event = {"xpander_task_id": ti.xcom["xpander_task_id"], "agent_id": "slow", "end": "paused"}
    kwargs = {**(first.value.kwargs or {}), "event": {**event, "status": "paused"}}
    with pytest.raises(TaskDeferred) as again:
        operator.resume_execution("execute_complete", kwargs, ti.context())
    before, after = (deferred.value.trigger.serialize()[1] for deferred in (first, again))
    # When it was deferred, and what its log has told of the run by then, are of the second time.
    assert after == before | {name: after[name] for name in ("deferred_at", "told")}


def test_the_worker_fetches_the_answer_over_a_short_outage(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_xpander.operators.attempt.RESUME_INTERVAL", POLL)
    operator = agent(deferrable=True)
    ti = FakeTaskInstance()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(ti.context())
    eventually(lambda: service.status(ti.xcom["xpander_task_id"]) == "completed", "the run ends")
    service.add_fault(Fault.html(503, method="GET", after=1, times=1))
    assert resume(operator, deferred.value, ti.context()) == "hello"
    assert [call.status for call in service.requests("GET")] == [200, 503, 200]


def test_the_connection_is_closed_after_each_part(
    service: Service, server_connections: OpenConnections
) -> None:
    run_through(agent(deferrable=True), FakeTaskInstance().context())
    assert server_connections.count == 3  # submit, trigger, answer
    eventually(lambda: server_connections.all_closed, "all connections are closed")


def test_the_attempts_start_counts_for_execution_timeout(service: Service) -> None:
    ti = FakeTaskInstance(start_date=datetime.now(UTC) - timedelta(seconds=100))
    with pytest.raises(TaskDeferred) as deferred:
        agent(deferrable=True, timeout=3600, execution_timeout=timedelta(seconds=600)).execute(ti.context())
    # Some seconds are left to stop the run before Airflow kills the task.
    limit = ti.start_date.timestamp() + 600
    assert limit - 60 <= deferred.value.trigger.deadline < limit


def _once_looked_at(service: Service, act: Any) -> None:
    eventually(lambda: bool(service.requests("GET")), "the wait has begun")
    act(service.runs()[0].task_id)


@WAYS
def test_a_failure_is_told_in_one_short_line_and_without_our_frames(
    way: dict[str, Any], service: Service, lines: Lines
) -> None:
    ti = attempt(1)
    with pytest.raises(XpanderTaskFailed) as caught:
        run_through(agent(agent_id="failing", input="error", **way), ti.context())
    reason, link = lines.at("error").splitlines()
    assert reason == f"{caught.value.reason} (xpander task {ti.xcom['xpander_task_id']} ended with an error)"
    assert len(reason) < 300
    assert link == f"The run in the console: {ti.xcom['xpander_link']}"
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count(str(caught.value)) == 1
    assert "publish" not in shown


@pytest.mark.parametrize(
    ("connection", "kind", "said"),
    [
        (
            None,
            AirflowNotFoundException,
            "There is no connection 'other'. Add one of type 'xpander'",
        ),
        ({"password": ""}, ValueError, "Connection 'other' has no API key. Set its password to a key from"),
        (
            {"conn_type": "http"},
            ValueError,
            "Connection 'other' is of type 'http', not 'xpander'. Set",
        ),
    ],
    ids=["none", "no key", "another type"],
)
def test_a_connection_that_cannot_be_used_is_told_in_one_line_too(
    connection: dict[str, Any] | None,
    kind: type[Exception],
    said: str,
    service: Service,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection is None:
        monkeypatch.setattr(BaseHook, "get_connection", _no_connection)
    else:
        service.connect("other", **connection)
    with pytest.raises(kind) as caught:
        run_through(agent(xpander_conn_id="other"), attempt(1).context())
    assert lines.at("error") == str(caught.value)
    assert str(caught.value).startswith(said)
    shown = "".join(traceback.format_exception(caught.value))
    assert "direct cause" not in shown
    assert "_read_connection" not in shown


def _no_connection(hook: Any, conn_id: str) -> Any:
    raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")


def test_what_an_authors_function_raises_keeps_its_frames(service: Service, lines: Lines) -> None:
    def its_own() -> None:
        raise AirflowFailException("not today")

    with pytest.raises(AirflowFailException) as caught, failing_at_once(log=lines):
        its_own()
    assert lines == []
    assert "its_own" in "".join(traceback.format_exception(caught.value))
