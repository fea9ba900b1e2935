"""
The agent's choice, as a branch operator takes it; that others are skipped is Airflow's side of it.

``tests/dag_test/test_branch.py`` has whole DAGs, ``tests/e2e/test_e2e_approval.py`` a real person.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from airflow import DAG
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow_side import POLL, Service
from attempts import Lines, attempt, lines, slept

from airflow_provider_xpander import required_actions
from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP, BaseOperator
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.operators.branch import XpanderBranchOperator

__all__ = ["lines", "slept"]

pytestmark = pytest.mark.usefixtures("slept")

BRANCHES = {"refund": "the customer wants money back", "reply": "everything else"}
ADA = {"id": "1", "name": "Ada"}
asks = pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody")


def branch(**arguments: Any) -> XpanderBranchOperator:
    given: dict[str, Any] = {
        "task_id": "ask", "agent_id": "router", "input": "x", "branches": BRANCHES, "poll_interval": POLL,
        "deferrable": False,
    }  # fmt: skip
    return XpanderBranchOperator(**given | arguments)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The branches that Airflow was told to take."""
    ids: list[Any] = []
    monkeypatch.setattr(
        XpanderBranchOperator, "do_branch", lambda self, context, branches: ids.append(branches), raising=True
    )
    return ids


def answers(service: Service, *turns: Any) -> None:
    service.agent("router").answers(list(turns))


SURE = {"branch": "refund", "confidence": 0.9, "reason": "money"}


def go(task: XpanderBranchOperator, ti: Any) -> Any:
    task.render_template_fields(ti.context())
    return task.execute(ti.context())


def test_the_choice_is_taken_and_noted(service: Service, taken: list[Any]) -> None:
    answers(service, SURE)
    ti = attempt(1, retries=0)
    assert go(branch(min_confidence=0.9, default="reply", expected_output="Be quick."), ti) == "refund"
    assert (taken, ti.xcom["return_value"]) == (["refund"], "refund")
    choice = ti.xcom["xpander_task"]["choice"]
    assert choice.pop("at").startswith("20")
    assert choice == {"branches": ["refund"], "by": "agent", "confidence": 0.9, "reason": "money"}
    told = service.runs()[0].body["expected_output"]
    assert told.startswith("Be quick.\n\nChoose the one branch that fits:\n- refund: the customer wants")


def test_several_may_be_chosen(service: Service, taken: list[Any]) -> None:
    answers(service, {"branches": ["refund", "reply"], "confidence": 0.9, "reason": "both"})
    assert go(branch(multiple=True), attempt(1, retries=0)) == ["refund", "reply"]
    assert taken == [["refund", "reply"]]


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param([SURE | {"confidence": 0.89}], id="unsure"),
        pytest.param([{"branch": "elsewhere"}, "no JSON"], id="invalid after repair"),
    ],
)
def test_an_unsure_or_invalid_choice_goes_to_the_default(
    turns: list[Any], service: Service, taken: list[Any], lines: Lines
) -> None:
    answers(service, *turns)
    ti = attempt(1, retries=0)
    assert go(branch(min_confidence=0.9, default="reply"), ti) == "reply"
    assert taken == ["reply"]
    assert ti.xcom["xpander_task"]["choice"]["by"] == "default"
    assert len(service.posts) == len(turns)
    assert "min_confidence=0.9" in lines.at("warning") or "not the JSON" in lines.at("warning")


def test_an_invalid_choice_that_is_repaired_is_taken(service: Service, taken: list[Any]) -> None:
    answers(service, {"branch": "elsewhere"}, SURE)
    assert go(branch(default="reply"), attempt(1, retries=0)) == "refund"


def test_without_a_default_an_invalid_choice_fails_the_task(service: Service, taken: list[Any]) -> None:
    answers(service, "no JSON")
    with pytest.raises(AirflowFailException, match="not the JSON that was asked for"):
        go(branch(on_invalid="fail"), attempt(1, retries=0))
    assert taken == []


def test_a_run_that_fails_is_no_choice(service: Service, taken: list[Any]) -> None:
    service.agent("router").fails("No quota")
    with pytest.raises(Exception, match="No quota"):
        go(branch(default="reply"), attempt(1, retries=0))
    assert taken == []


@asks
class TestAsked:
    """A person chooses where the agent is not sure."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """The questions so far."""
        questions: list[dict[str, Any]] = []
        monkeypatch.setattr(required_actions, "ask_person", lambda ti_id, **asked: questions.append(asked))
        return questions

    def until_asked(self, service: Service, ti: Any, **arguments: Any) -> TaskDeferred:
        answers(service, SURE | {"confidence": 0.1})
        ti.id = uuid.uuid4()
        with pytest.raises(TaskDeferred) as deferred:
            go(branch(on_unsure="ask", min_confidence=0.9, **arguments), ti)
        return deferred.value

    def test_a_person_is_asked_and_no_run_is_waited_for(
        self, service: Service, asked: list[dict[str, Any]], taken: list[Any]
    ) -> None:
        ti = attempt(1, retries=0)
        deferred = self.until_asked(service, ti, timeout=600)
        (question,) = asked
        assert (question["options"], question["multiple"]) == (["refund", "reply"], False)
        assert "confidence of 0.1" in question["body"].replace("\\", "")
        assert type(deferred.trigger).__name__ == "XpanderChoiceTrigger"
        assert time.time() + 590 < deferred.trigger.deadline < time.time() + 601
        event = {"chosen_options": ["reply"], "responded_by_user": ADA, "responded_at": "2026-11-01T12:00:00"}
        resumed = branch(on_unsure="ask")
        assert (
            resumed.resume_execution("execute_chosen", {**deferred.kwargs, "event": event}, ti.context())
            == "reply"
        )
        assert taken == ["reply"]
        choice = ti.xcom["xpander_task"]["choice"]
        assert (choice["by"], choice["at"], choice["branches"]) == ("Ada", "2026-11-01T12:00:00", ["reply"])

    @pytest.mark.parametrize("default", ["reply", None])
    def test_when_the_time_is_up_the_default_is_taken(
        self, default: str | None, service: Service, asked: list[dict[str, Any]], taken: list[Any]
    ) -> None:
        ti = attempt(1, retries=0)
        deferred = self.until_asked(service, ti, timeout=600)
        resumed = branch(on_unsure="ask", default=default)
        kwargs = {**deferred.kwargs, "event": {"late": True}}
        if default is None:
            with pytest.raises(AirflowFailException, match="Nobody has chosen a branch in time"):
                resumed.resume_execution("execute_chosen", kwargs, ti.context())
        else:
            assert resumed.resume_execution("execute_chosen", kwargs, ti.context()) == "reply"

    def test_where_nobody_can_be_asked_the_default_is_taken(
        self, service: Service, taken: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise RuntimeError("no")

        monkeypatch.setattr(required_actions, "ask_person", refuse)
        answers(service, SURE | {"confidence": 0.1})
        ti = attempt(1, retries=0)
        ti.id = uuid.uuid4()  # type: ignore[attr-defined]
        assert go(branch(on_unsure="ask", min_confidence=0.9, default="reply"), ti) == "reply"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"branches": {"refund": "x"}}, "at least two"),
        ({"branches": ["refund", "reply"]}, "at least two"),
        ({"branches": {"refund": "", "reply": "x"}}, "at least two"),
        ({"min_confidence": 90, "default": "reply"}, "min_confidence must be a number from 0 to 1"),
        ({"min_confidence": True, "default": "reply"}, "min_confidence must be a number from 0 to 1"),
        ({"min_confidence": 0.5}, "min_confidence=0.5 needs a default"),
        ({"default": ["reply"]}, "default must be the id of a task"),
        ({"multiple": True, "default": "reply"}, "default must be a list"),
        ({"on_unsure": "fail"}, "on_unsure must be one of 'default', 'ask'"),
        ({"on_invalid": "raw"}, "on_invalid must be one of 'repair', 'fail'"),
        ({"output_schema": {"type": "object"}}, "output_schema is not taken here"),
        ({"result_path": "file:///tmp/x"}, "result_path is not taken here"),
        ({"wait_for_completion": False}, "wait_for_completion is not taken here"),
        pytest.param({"on_unsure": "ask", "on_paused": "ask"}, "exclude each other", marks=asks),
    ],
)
def test_a_wrong_argument_fails_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(XpanderValidationError, match=said):
        branch(**arguments)


@pytest.mark.skipif(HAS_HUMAN_IN_THE_LOOP, reason="this Airflow can ask a person")
def test_to_ask_needs_an_airflow_that_can() -> None:
    with pytest.raises(XpanderValidationError, match="needs Airflow 3.1 or newer"):
        branch(on_unsure="ask")


def below(**arguments: Any) -> XpanderBranchOperator:
    """Return the operator in a DAG that has the task ``refund`` below it, and a task ``reply`` elsewhere."""
    with DAG("branching", schedule=None):
        task = branch(**arguments)
        task >> BaseOperator(task_id="between") >> BaseOperator(task_id="refund")
        BaseOperator(task_id="reply")
    return task


WRONG = [
    pytest.param({}, "branch 'reply' is no task", id="elsewhere"),
    pytest.param(
        {"branches": {"refund": "x", "between": "y"}, "default": "nowhere"}, "'nowhere'", id="default"
    ),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_a_wrong_id_is_an_import_error(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(XpanderValidationError, match=f"task 'ask' .*{said}.* right downstream: between"):
        below(**arguments).dag.resolve_template_files()  # as Airflow does when it has read the file


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_a_wrong_id_starts_no_run(arguments: dict[str, Any], said: str, service: Service) -> None:
    with pytest.raises(AirflowFailException, match=said):
        go(below(**arguments), attempt(1, retries=0))
    assert service.posts == []


def test_ids_below_are_fine() -> None:
    below(branches={"refund": "x", "between": "y"}).dag.resolve_template_files()
