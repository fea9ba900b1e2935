"""A wait that ends early: what becomes of the run."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow_side import POLL, FakeTaskInstance, Service, resume, run_through

from airflow_provider_xpander.api.errors import XpanderTaskTimeout
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults = {
        "task_id": "ask", "agent_id": "slow", "input": "take 30", "poll_interval": POLL, "timeout": 0.4,
    }  # fmt: skip
    return XpanderInvokeAgentOperator(**defaults | kwargs)


@WAYS
def test_a_late_run_is_stopped_once(deferrable: bool, service: Service) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(XpanderTaskTimeout, match="The run was stopped"):
        run_through(agent(deferrable=deferrable), ti.context())
    assert len(service.requests("POST", "/stop")) == service.stops(ti.xcom["xpander_task_id"]) == 1
    assert service.status(ti.xcom["xpander_task_id"]) == "stopped"
    assert ti.xcom["xpander_task"]["status"] == "stopped"


@WAYS
def test_a_late_run_is_left_alone_if_asked_for(deferrable: bool, service: Service) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(XpanderTaskTimeout, match="The run goes on"):
        run_through(agent(deferrable=deferrable, on_timeout="leave"), ti.context())
    assert not service.requests("POST", "/stop")
    assert service.status(ti.xcom["xpander_task_id"]) == "executing"


@WAYS
def test_a_run_that_completes_while_it_is_being_stopped_returns_its_answer(
    deferrable: bool, service: Service
) -> None:
    """The stop is slow here, so that the run ends between the last look and it."""
    service.add_fault(Fault.slow(0.8, path="/stop$"))
    ti = FakeTaskInstance()
    answer = run_through(agent(deferrable=deferrable, input="take 0.9"), ti.context())
    assert answer == "Done after 0.9 seconds."
    assert len(service.requests("POST", "/stop")) == 1
    assert ti.xcom["xpander_task"]["status"] == "completed"


@WAYS
def test_a_failed_stop_is_told_with_the_way_to_do_it_by_hand(
    deferrable: bool, service: Service, quick_repeats: None
) -> None:
    service.add_fault(Fault.server_error(path="/stop$", times=None))
    ti = FakeTaskInstance()
    with pytest.raises(XpanderTaskTimeout, match="Stopping it failed: stop it with POST /v1/tasks/.*/stop"):
        run_through(agent(deferrable=deferrable), ti.context())


@WAYS
def test_a_lost_answer_to_the_stop_is_asked_for_again(
    deferrable: bool, service: Service, quick_repeats: None
) -> None:
    service.add_fault(Fault.html(502, path="/stop$", act_first=True))
    with pytest.raises(XpanderTaskTimeout, match="The run was stopped"):
        run_through(agent(deferrable=deferrable), FakeTaskInstance().context())


@WAYS
def test_execution_timeout_is_a_limit_too(deferrable: bool, service: Service) -> None:
    operator = agent(timeout=None, execution_timeout=timedelta(seconds=0.5), deferrable=deferrable)
    with pytest.raises(XpanderTaskTimeout, match="The run was stopped"):
        run_through(operator, FakeTaskInstance().context())
    assert len(service.requests("POST", "/stop")) == 1


@WAYS
def test_the_limit_counts_from_the_submit_and_not_from_each_look(deferrable: bool, service: Service) -> None:
    """A poll interval beyond the limit must not prolong the wait."""
    started = time.monotonic()
    with pytest.raises(XpanderTaskTimeout):
        run_through(agent(deferrable=deferrable, poll_interval=3600), FakeTaskInstance().context())
    assert time.monotonic() - started < 60


def test_a_run_that_ended_at_the_limit_is_not_late(service: Service) -> None:
    """The status is looked at before the clock."""
    operator = agent(agent_id="echo", input="hello", timeout=0.5, deferrable=True)
    ti = FakeTaskInstance()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(ti.context())
    service.finish(ti.xcom["xpander_task_id"])
    time.sleep(0.5)
    assert resume(operator, deferred.value, ti.context()) == "hello"
    assert not service.requests("POST", "/stop")


@WAYS
def test_the_limit_holds_while_the_service_is_away(deferrable: bool, service: Service) -> None:
    service.add_fault(Fault.html(503, method="GET", times=None))
    with pytest.raises(XpanderTaskTimeout):
        run_through(agent(deferrable=deferrable), FakeTaskInstance().context())
    assert len(service.requests("POST", "/stop")) == 1


@WAYS
def test_a_paused_run_is_late_like_any_other(deferrable: bool, service: Service) -> None:
    with pytest.raises(XpanderTaskTimeout, match="last status: "):
        run_through(agent(agent_id="paused", deferrable=deferrable), FakeTaskInstance().context())
    assert service.runs()[0].at(service.now()).status == "stopped"


@WAYS
def test_a_wait_that_cannot_go_on_fails(deferrable: bool, service: Service) -> None:
    """The key is taken away while the run goes on; the new one is never entered."""
    service.add_fault(Fault(method="GET", status=403, body={"detail": "Access was revoked"}, times=None))
    with pytest.raises(AirflowFailException, match="Access was revoked") as caught:
        run_through(agent(deferrable=deferrable, timeout=None), FakeTaskInstance().context())
    assert service.server.api_key not in str(caught.value)
