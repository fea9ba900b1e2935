"""
Answers of a person to the question of a task, and their consequences.

That people are asked and answer is Airflow's side of it, and faked here (``tests/e2e/test_e2e_ask.py`` has it
real); the service is the emulator.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow_side import POLL, FakeTaskInstance, Service, eventually
from attempts import Lines, lines, slept

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators import question as question_module
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.runs.question import KEEP_WAITING, STOP
from airflow_provider_xpander.triggers.asking import XpanderAskingTrigger
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

__all__ = ["lines", "slept"]

pytestmark = pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody")
ADA = {"id": "1", "name": "Ada"}


@dataclass
class AskingTaskInstance(FakeTaskInstance):
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The questions so far."""
    questions: list[dict[str, Any]] = []
    monkeypatch.setattr(
        question_module,
        "ask_person",
        lambda ti_id, **question: questions.append({"ti_id": ti_id, **question}),
    )
    return questions


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults: dict[str, Any] = {
        "task_id": "ask", "agent_id": "paused", "input": "approve", "on_paused": "ask", "poll_interval": POLL,
    }  # fmt: skip
    return XpanderInvokeAgentOperator(**defaults | kwargs)


def until_asked(service: Service, ti: Any, **kwargs: Any) -> TaskDeferred:
    """Run the task in the worker until it has asked."""
    with pytest.raises(TaskDeferred) as deferred:
        agent(deferrable=False, **kwargs).execute(ti.context())
    assert service.status(ti.xcom["xpander_task_id"]) == "paused"
    return deferred.value


def resume(deferred: TaskDeferred, ti: Any, event: Any, **kwargs: Any) -> Any:
    next_kwargs = {**(deferred.kwargs or {}), "event": event}
    return agent(**kwargs).resume_execution(deferred.method_name, next_kwargs, ti.context())


def answered(option: str) -> dict[str, Any]:
    return {"chosen_options": [option], "params_input": {}, "responded_by_user": ADA, "timedout": False}


@pytest.mark.usefixtures("slept")
def test_a_pause_is_asked_about_and_waited_for_deferred(
    service: Service, asked: list[dict[str, Any]], lines: Lines
) -> None:
    ti = AskingTaskInstance()
    deferred = until_asked(service, ti, timeout=600)
    (question,) = asked
    assert question["ti_id"] == ti.id
    assert tuple(question["options"]) == (KEEP_WAITING, STOP)
    assert isinstance(deferred.trigger, XpanderAskingTrigger)
    assert (deferred.trigger.ti_id, deferred.method_name) == (str(ti.id), "execute_answered")
    assert deferred.trigger.deadline is not None
    assert deferred.timeout.total_seconds() > 600
    assert lines.text.count("is paused: a person has to answer (node wait-1)") == 1
    assert lines.text.count("in the console: https://app.xpander.ai/agents/paused") == 1
    assert lines.text.count("Asked in Airflow whether to keep waiting") == 1
    assert ti.xcom["xpander_task"]["status"] == "paused"


@pytest.mark.usefixtures("slept")
def test_to_keep_waiting_defers_again_and_asks_no_more_about_this_pause(
    service: Service, asked: list[dict[str, Any]]
) -> None:
    ti = AskingTaskInstance()
    first = until_asked(service, ti, timeout=600)
    with pytest.raises(TaskDeferred) as again:
        resume(first, ti, answered(KEEP_WAITING))
    trigger = again.value.trigger
    assert type(trigger) is XpanderTaskTrigger
    assert (trigger.asked, trigger.deadline) == (first.trigger.asked, first.trigger.deadline)
    assert again.value.method_name == "execute_complete"
    assert len(asked) == 1
    assert service.stops(ti.xcom["xpander_task_id"]) == 0


@pytest.mark.usefixtures("slept", "quick_repeats")
def test_to_keep_waiting_is_done_though_the_service_is_away(
    service: Service, asked: list[dict[str, Any]], lines: Lines
) -> None:
    """There is no retry left: to fail would be to stop the run that somebody wants."""
    ti = AskingTaskInstance()
    first = until_asked(service, ti, timeout=600)
    service.add_fault(Fault.html(503, method="GET", times=None))
    with pytest.raises(TaskDeferred) as again:
        resume(first, ti, answered(KEEP_WAITING))
    assert (again.value.trigger.asked, again.value.trigger.deadline) == (
        first.trigger.asked,
        first.trigger.deadline,
    )
    assert service.stops(ti.xcom["xpander_task_id"]) == 0
    assert "The wait goes on." in lines.at("warning")


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(
    ("on_stopped", "ending"), [("fail", AirflowFailException), ("skip", AirflowSkipException)]
)
def test_to_stop_ends_the_run_and_the_task_for_good(
    on_stopped: str, ending: type[Exception], service: Service, asked: list[dict[str, Any]]
) -> None:
    ti = AskingTaskInstance(max_tries=3)
    deferred = until_asked(service, ti)
    with pytest.raises(ending, match="was stopped by Ada, who was asked in Airflow"):
        resume(deferred, ti, answered(STOP), on_stopped=on_stopped, retries=3)
    assert service.status(ti.xcom["xpander_task_id"]) == "stopped"
    assert service.stops(ti.xcom["xpander_task_id"]) == 1
    assert ti.xcom["xpander_task"]["status"] == "stopped"


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("option", [KEEP_WAITING, STOP])
def test_an_answer_that_comes_when_the_run_has_completed_returns_what_was_paid_for(
    option: str, service: Service, asked: list[dict[str, Any]]
) -> None:
    ti = AskingTaskInstance()
    deferred = until_asked(service, ti)
    service.finish(ti.xcom["xpander_task_id"], "completed", "answered after all")
    assert resume(deferred, ti, answered(option)) == "answered after all"


@pytest.mark.usefixtures("slept")
def test_a_wait_that_ends_without_an_answer_goes_on_as_any(
    service: Service, asked: list[dict[str, Any]]
) -> None:
    ti = AskingTaskInstance()
    deferred = until_asked(service, ti)
    task_id = ti.xcom["xpander_task_id"]
    event = {"xpander_task_id": task_id, "agent_id": "paused", "status": "paused", "message": None}
    with pytest.raises(TaskDeferred) as again:
        resume(deferred, ti, {**event, "end": "paused"})
    assert len(asked) == 2
    assert again.value.method_name == "execute_answered"
    service.resume(task_id)
    eventually(lambda: service.status(task_id) == "completed", "the run ends")
    ended = {**event, "end": "finished", "status": "completed"}
    assert resume(again.value, ti, ended) == "Resumed and completed: approve"


@pytest.mark.usefixtures("slept")
def test_a_question_that_airflow_does_not_take_is_no_reason_to_lose_the_run(
    service: Service, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    def refuse(ti_id: Any, **question: Any) -> None:
        raise RuntimeError("API_SERVER_ERROR")

    monkeypatch.setattr(question_module, "ask_person", refuse)
    ti = AskingTaskInstance()
    deferred = until_asked(service, ti)
    assert type(deferred.trigger) is XpanderTaskTrigger
    assert deferred.trigger.asked
    assert deferred.method_name == "execute_answered"  # the question may be there all the same
    assert "Nobody could be asked about the pause, so the wait goes on: API_SERVER_ERROR" in lines.at(
        "warning"
    )
    assert service.stops(ti.xcom["xpander_task_id"]) == 0


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("option", [KEEP_WAITING, STOP])
def test_a_choice_about_a_run_of_before_a_clear_decides_nothing(option: str, service: Service) -> None:
    """Airflow keeps the question open after a clear, and resumes whatever waits when it is answered."""
    ti = AskingTaskInstance()
    task = agent(agent_id="slow", input="take 600", deferrable=True, timeout=600)
    with pytest.raises(TaskDeferred) as first:
        task.execute(ti.context())
    ti.xcom_pull = lambda **asked: ti.xcom[asked["key"]]  # type: ignore[attr-defined]
    with pytest.raises(TaskDeferred) as again:
        resume(first.value, ti, answered(option), agent_id="slow", input="take 600", timeout=600)
    assert again.value.method_name == "execute_complete"
    before, after = (one.value.trigger.serialize()[1] for one in (first, again))
    assert (after["xpander_task_id"], after["deadline"]) == (before["xpander_task_id"], before["deadline"])
    assert service.status(ti.xcom["xpander_task_id"]) != "stopped"
