"""
An answer that a person has to approve, and what becomes of it.

That people are asked and answer is Airflow's side of it, and faked here (``tests/e2e/test_e2e_approval.py``
has it real); the service is the emulator.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow_side import Service, eventually, fire
from attempts import Attempt, Lines, attempt, lines, operator, slept

from airflow_provider_xpander import required_actions
from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.api.errors import XpanderError, XpanderValidationError
from airflow_provider_xpander.runs.approval import AGAIN, APPROVE, EDITED, REJECT, code_of

__all__ = ["lines", "slept"]

asks = pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody")
SCHEMA = {"type": "object", "properties": {"team": {"enum": ["a", "b"]}}, "required": ["team"]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The questions so far."""
    questions: list[dict[str, Any]] = []
    monkeypatch.setattr(required_actions, "ask_person", lambda ti_id, **asked: questions.append(asked))
    return questions


def agent(**arguments: Any) -> Any:
    given = {"agent_id": "clerk", "require_approval": True, "retries": 0, "output_schema": SCHEMA}
    return operator(**given | arguments)


def answers(service: Service, *turns: Any) -> None:
    service.agent("clerk").answers(list(turns))


def begun(number: int = 1, **fields: Any) -> Attempt:
    ti = attempt(number, retries=0, **fields)
    ti.id = uuid.uuid4()  # type: ignore[attr-defined]
    return ti


def until_asked(ti: Attempt, **arguments: Any) -> TaskDeferred:
    task = agent(**arguments)
    task.render_template_fields(ti.context())
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(ti.context())
    return (
        deferred.value
        if deferred.value.method_name == "execute_decided"
        else ended(deferred.value, ti, **arguments)
    )


def ended(deferred: TaskDeferred, ti: Attempt, **arguments: Any) -> TaskDeferred:
    """Resume the task when its run has ended; it asks then."""
    event = asyncio.run(fire(deferred.trigger))
    with pytest.raises(TaskDeferred) as asks:
        agent(**arguments).resume_execution(
            "execute_complete", {**deferred.kwargs, "event": event}, ti.context()
        )
    return asks.value


def decide(
    deferred: TaskDeferred,
    ti: Attempt,
    option: str | None,
    *,
    task: dict[str, Any] | None = None,
    **inputs: Any,
) -> Any:
    """Resume the task as Airflow does, in another process."""
    event: dict[str, Any] = {"late": True}
    if option:
        by = {"id": "1", "name": "Ada"}
        event = {"chosen_options": [option], "params_input": inputs, "responded_by_user": by}
        event["responded_at"] = "2026-11-01T12:00:00+00:00"
    return decide_at("execute_decided", deferred, ti, event, **task or {})


def decide_at(method: str, deferred: TaskDeferred, ti: Attempt, event: Any, **arguments: Any) -> Any:
    assert deferred.method_name == method
    kwargs = {**(deferred.kwargs or {}), "event": event}
    return agent(**arguments).resume_execution(method, kwargs, ti.context())


def asked_once_more(deferred: TaskDeferred, ti: Attempt, option: str, **inputs: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as again:
        decide(deferred, ti, option, **inputs)
    return again.value


def decisions(ti: Attempt) -> list[Any]:
    return [(entry["decision"], entry["by"]) for entry in ti.xcom["xpander_task"]["approval"]]


@asks
@pytest.mark.usefixtures("slept")
class TestApproval:
    """A person decides on an answer."""

    @pytest.mark.parametrize("way", [{"deferrable": True}, {"deferrable": False}, {"mode": "sync"}])
    def test_an_answer_is_shown_and_waits_deferred(
        self, way: dict[str, Any], service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, {"team": "a"})
        ti = begun()
        deferred = until_asked(ti, approvers=["ada"], approval_timeout=600, **way)
        (question,) = asked
        assert (question["options"], question["users"]) == ((APPROVE, EDITED, AGAIN, REJECT), ("ada",))
        assert '"team": "a"' in question["body"]
        assert question["fields"]["code"]["value"] == code_of({"team": "a"})
        assert "return_value" not in ti.xcom
        assert ti.xcom["xpander_approval"]["answer"] == {"team": "a"}
        trigger = deferred.trigger
        assert type(trigger).__name__ == "XpanderChoiceTrigger"
        assert time.time() + 590 < trigger.deadline < time.time() + 601
        assert deferred.timeout.total_seconds() > 600

    def test_an_approved_answer_is_handed_on(self, service: Service, asked: list[dict[str, Any]]) -> None:
        answers(service, {"team": "a"})
        ti = begun()
        deferred = until_asked(ti)
        assert deferred.timeout is None
        assert decide(deferred, ti, APPROVE, code=code_of({"team": "a"}), comment="fine") == {"team": "a"}
        assert ti.xcom["xpander_task"]["approval"] == [
            {"decision": "approved", "by": "Ada", "at": "2026-11-01T12:00:00+00:00", "comment": "fine"}
        ]
        assert len(service.posts) == 1

    def test_a_rejected_answer_fails_the_task_for_good(
        self, service: Service, asked: list[dict[str, Any]], lines: Lines
    ) -> None:
        answers(service, {"team": "a"})
        ti = begun()
        with pytest.raises(AirflowFailException, match="^Ada has rejected the answer: wrong team$"):
            decide(until_asked(ti), ti, REJECT, comment="wrong team")
        assert decisions(ti) == [("rejected", "Ada")]
        assert lines.at("error").splitlines()[0] == "Ada has rejected the answer: wrong team"

    def test_an_edited_answer_is_checked_and_handed_on(
        self, service: Service, asked: list[dict[str, Any]], lines: Lines
    ) -> None:
        answers(service, {"team": "a"})
        ti = begun()
        first = until_asked(ti, approval_timeout=600)
        again = asked_once_more(first, ti, EDITED, answer='{"team": "c"}')
        assert 'expected one of "a", "b", got "c"' in lines.at("warning")
        assert 'expected one of "a", "b", got "c"' in ti.xcom["xpander_approval"]["problem"]
        assert again.trigger.deadline == first.trigger.deadline
        # As the form brings it along.
        assert decide(again, ti, EDITED, answer='```json\n{"team": "b"}\n```') == {"team": "b"}
        assert decisions(ti) == [("unclear", "Ada"), ("edited", "Ada")]
        assert len(service.posts) == 1

    def test_a_text_may_be_edited(self, service: Service, asked: list[dict[str, Any]]) -> None:
        answers(service, "Dear Sir")
        ti, plain = begun(), {"output_schema": None}
        deferred = until_asked(ti, **plain)
        assert decide(deferred, ti, EDITED, task=plain, answer="Dear Madam\n") == "Dear Madam\n"

    @pytest.mark.parametrize("deferrable", [True, False])
    def test_to_ask_again_is_a_turn_of_the_same_thread(
        self, deferrable: bool, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, {"team": "a"}, {"team": "b"})
        ti, way = begun(), {"deferrable": deferrable, "timeout": 600}
        deferred = until_asked(ti, **way)
        with pytest.raises(TaskDeferred) as again:
            decide(deferred, ti, AGAIN, task=way, comment="It is about money.")
        asks = again.value
        if deferrable:
            assert asks.trigger.deadline > time.time() + 590
            asks = ended(asks, ti, **way)
        first, second = service.runs()
        assert (second.task_id, second.body["input"]["text"]) == (first.task_id, "It is about money.")
        assert "repair 1]" in second.body["title"]
        assert decide(asks, ti, APPROVE, task=way, code=code_of({"team": "b"})) == {"team": "b"}
        assert decisions(ti) == [("asked again", "Ada"), ("approved", "Ada")]
        assert len(ti.xcom["xpander_task"]["turns"]) == 2

    def test_nobody_approves_an_answer_that_the_form_does_not_show(
        self, service: Service, asked: list[dict[str, Any]], lines: Lines
    ) -> None:
        """Airflow keeps the text of the first question."""
        answers(service, {"team": "a"}, {"team": "b"})
        ti = begun()
        again = asked_once_more(until_asked(ti), ti, AGAIN, comment="Look again.")
        with pytest.raises(TaskDeferred) as still:
            decide(again, ti, APPROVE, code=code_of({"team": "a"}))
        assert "that to decide on is " + code_of({"team": "b"}) in lines.at("warning")
        with pytest.raises(TaskDeferred):
            decide(still.value, ti, APPROVE)

    @pytest.mark.parametrize("option", [AGAIN, EDITED])
    def test_a_decision_without_what_it_needs_is_asked_for_once_more(
        self, option: str, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, {"team": "a"})
        ti = begun()
        asked_once_more(until_asked(ti), ti, option, comment=" ", answer=None)
        assert len(asked) == 2
        assert len(service.posts) == 1

    @pytest.mark.parametrize(
        ("on_timeout", "ending"),
        [("fail", AirflowFailException), ("skip", AirflowSkipException), ("approve", None)],
    )
    def test_when_the_time_is_up(
        self, on_timeout: str, ending: type[Exception] | None, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, {"team": "a"})
        ti, rules = begun(), {"approval_timeout": 600, "on_approval_timeout": on_timeout}
        deferred = until_asked(ti, **rules)
        if ending is None:
            assert decide(deferred, ti, None, task=rules) == {"team": "a"}
        else:
            with pytest.raises(ending, match="Nobody has decided in time"):
                decide(deferred, ti, None, task=rules)
        assert decisions(ti) == [("rejected" if ending else "approved", "nobody in time")]

    def test_the_end_of_the_time_approves_no_answer_that_nobody_was_asked_about(
        self, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, {"team": "a"}, {"team": "b"})
        ti, rules = begun(), {"approval_timeout": 600, "on_approval_timeout": "approve"}
        deferred = until_asked(ti, **rules)
        service.start("clerk", "and now?", id=ti.xcom["xpander_task_id"])
        eventually(lambda: service.status(ti.xcom["xpander_task_id"]) == "completed", "the end of the turn")
        with pytest.raises(TaskDeferred) as again:
            decide(deferred, ti, None, task=rules)
        assert again.value.method_name == "execute_decided"
        assert '"team": "b"' in asked[-1]["body"]

    def test_execution_timeout_holds_over_the_approval(
        self, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, {"team": "a"})
        rules = {"execution_timeout": timedelta(minutes=30), "on_approval_timeout": "approve"}
        ti = begun()
        deferred = until_asked(ti, approval_timeout=7200, **rules)
        assert deferred.trigger.deadline < time.time() + 1801
        ti.start_date -= timedelta(minutes=31)
        with pytest.raises(AirflowFailException, match="Nobody has decided in time"):
            decide(deferred, ti, None, task=rules)

    def test_a_decision_of_before_a_clear_decides_nothing(
        self, service: Service, asked: list[dict[str, Any]], lines: Lines
    ) -> None:
        """Airflow 3.3 keeps the question, and resumes the new attempt when it is answered."""
        service.agent("clerk").answers({"team": "a"}).takes(600)
        ti, task = begun(), agent(deferrable=True)
        with pytest.raises(TaskDeferred) as first:
            task.execute(ti.context())
        with pytest.raises(TaskDeferred) as again:
            decide_at("execute_complete", first.value, ti, {"chosen_options": [APPROVE], "params_input": {}})
        assert again.value.method_name == "execute_complete"
        assert again.value.trigger.may_ask
        assert "decides nothing" in lines.at("warning")
        assert service.stops(ti.xcom["xpander_task_id"]) == 0

    def test_an_invalid_answer_is_repaired_before_anybody_is_asked(
        self, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, "no JSON", {"team": "b"})
        until_asked(begun(), on_invalid="repair")
        assert '"team": "b"' in asked[0]["body"]

    def test_turns_that_a_person_has_asked_for_are_no_repairs(
        self, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, {"team": "a"}, "no JSON", {"team": "b"})
        ti, rules = begun(), {"on_invalid": "repair", "repair_attempts": 1}
        deferred = until_asked(ti, **rules)
        with pytest.raises(TaskDeferred):
            decide(deferred, ti, AGAIN, task=rules, comment="Look again.")
        assert '"team": "b"' in asked[-1]["body"]
        assert len(service.posts) == 3

    def test_an_invalid_answer_fails_the_task_as_without_approval(
        self, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, "no JSON")
        with pytest.raises(AirflowFailException, match="not the JSON"):
            agent(deferrable=False).execute(begun().context())
        assert asked == []

    def test_a_retry_asks_about_the_answer_that_was_paid_for(
        self, service: Service, asked: list[dict[str, Any]]
    ) -> None:
        answers(service, {"team": "a"})
        until_asked(begun())
        ti = attempt(2, retries=2)
        ti.id = uuid.uuid4()  # type: ignore[attr-defined]
        until_asked(ti, retries=2)
        assert len(asked) == 2
        assert len(service.posts) == 1

    def test_where_nobody_can_be_asked_the_next_attempt_does(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise RuntimeError("no")

        monkeypatch.setattr(required_actions, "ask_person", refuse)
        answers(service, {"team": "a"})
        with pytest.raises(XpanderError, match="Nobody could be asked"):
            agent(deferrable=False).execute(begun().context())


@asks
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"approvers": "ada"}, "approvers must be a list of ids"),
        ({"approvers": []}, "approvers must be a list of ids"),
        ({"approval_timeout": 0}, "approval_timeout must be a number of seconds"),
        ({"on_approval_timeout": "reject"}, "on_approval_timeout must be one of 'fail', 'skip', 'approve'"),
        ({"on_paused": "ask"}, "exclude each other"),
        ({"wait_for_completion": False}, "needs wait_for_completion=True"),
        ({"require_approval": False, "approvers": ["ada"]}, "approvers=.* needs require_approval=True"),
        ({"require_approval": False, "approval_timeout": 5}, "approval_timeout=5 needs require_approval"),
    ],
)
def test_a_wrong_argument_fails_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(XpanderValidationError, match=said):
        agent(**arguments)


@pytest.mark.skipif(HAS_HUMAN_IN_THE_LOOP, reason="this Airflow can ask a person")
def test_approval_needs_an_airflow_that_can_ask() -> None:
    with pytest.raises(XpanderValidationError, match="needs Airflow 3.1 or newer"):
        agent()
