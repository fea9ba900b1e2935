"""DAGs that ask a person, executed by ``dag.test()`` in this process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from airflow.utils.session import create_session
from airflow_side import Service
from dag_runs import Result

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.required_actions import persons_choice
from airflow_provider_xpander.runs.approval import AGAIN, APPROVE, EDITED, REJECT, code_of
from airflow_provider_xpander.runs.question import STOP

pytestmark = pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody")


@pytest.fixture
def test(dags: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a DAG, and answer its questions, one after the other."""
    import xpander_people

    from airflow_provider_xpander.triggers import asking

    def test(name: str, *answers: tuple[str, dict[str, str]]) -> Result:
        left = list(answers)

        async def look(ti_id: str) -> Any:
            if left:
                try:
                    answer(ti_id, *left.pop(0))
                except Exception as error:  # the trigger would wait on
                    pytest.fail(f"No answer was given: {error!r}")
            return await persons_choice(ti_id)

        monkeypatch.setattr(asking, "persons_choice", look)
        result = Result(xpander_people.dags[name].test())
        assert left == [], "not all were asked for"
        return result

    return test


def answer(ti_id: str, option: str, fields: dict[str, str]) -> None:
    """Do what Airflow's API does when somebody submits the form."""
    from airflow.models.hitl import HITLDetail

    with create_session() as session:
        # The type of the column depends on the version of Airflow.
        (question,) = (one for one in session.query(HITLDetail) if str(one.ti_id) == ti_id)
        assert question.responded_at is None
        question.chosen_options, question.params_input = [option], fields
        question.responded_by = {"id": "1", "name": "Ada"}
        question.responded_at = datetime.now(UTC)


def test_an_answer_goes_on_when_it_is_approved(test: Callable[..., Result], service: Service) -> None:
    service.agent("clerk").answers({"team": "a"})
    result = test("approves", (APPROVE, {"comment": "fine"}))
    assert result.xcom("use") == {"team": "a"}
    (decided,) = result.xcom("classify", "xpander_task")["approval"]
    assert (decided["decision"], decided["by"], decided["comment"]) == ("approved", "Ada", "fine")


def test_a_person_asks_again_and_edits(test: Callable[..., Result], service: Service) -> None:
    service.agent("clerk").answers([{"team": "a"}, {"team": "b"}])
    code = code_of({"team": "b"})
    result = test(
        "approves",
        (AGAIN, {"comment": "Look again."}),
        (EDITED, {"code": code, "answer": '{"team": "c"}'}),
        (EDITED, {"code": code, "answer": '{"team": "a"}'}),
    )
    assert result.xcom("use") == {"team": "a"}
    decided = [entry["decision"] for entry in result.xcom("classify", "xpander_task")["approval"]]
    assert decided == ["asked again", "unclear", "edited"]
    assert [run.body["input"]["text"] for run in service.runs()] == ["Which team?", "Look again."]


def test_a_rejected_answer_fails_the_task(test: Callable[..., Result], service: Service) -> None:
    service.agent("clerk").answers({"team": "a"})
    result = test("approves", (REJECT, {}))
    assert result.states == {"classify": {"failed"}, "use": {"upstream_failed"}}
    assert result.xcoms("classify") == []


def test_what_nobody_approves_in_time_is_skipped(test: Callable[..., Result], service: Service) -> None:
    service.agent("clerk").answers("hello")
    assert test("nobody approves").states == {"classify": {"skipped"}, "use": {"skipped"}}


def test_a_person_chooses_the_branch(test: Callable[..., Result], service: Service) -> None:
    service.agent("router").answers({"branch": "refund", "confidence": 0.5, "reason": "perhaps"})
    result = test("chooses", ("reply", {}))
    assert result.states == {"choose": {"success"}, "refund": {"skipped"}, "reply": {"success"}}
    assert result.xcom("choose", "xpander_task")["choice"]["by"] == "Ada"


def test_a_person_stops_a_paused_run(test: Callable[..., Result], service: Service) -> None:
    service.agent("clerk").pauses()
    assert test("stops", (STOP, {})).states == {"ask": {"skipped"}}
    assert [service.status(run.task_id) for run in service.runs()] == ["stopped"]
