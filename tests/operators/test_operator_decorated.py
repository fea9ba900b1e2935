"""The decorators: what a function returns is asked as it is, whatever is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow_side import POLL, Service, resume
from attempts import Lines, attempt, go, lines, slept, submit
from pydantic import BaseModel

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.decorators import xpander_agent, xpander_workflow

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["lines", "slept"]

TEMPLATE = "{{ conn.get('xpander_default').password }} {% raw %}"


class Ticket(BaseModel):
    category: str
    summary: str


def echo(**arguments: Any) -> Any:
    return xpander_agent(**{"agent_id": "echo", "poll_interval": POLL, "task_id": "ask"} | arguments)


def asks(returned: Any, *, retries: int = 0, **arguments: Any) -> Any:
    """Return the operator of a function that returns a value."""

    @echo(retries=retries, **arguments)
    def ask() -> Any:
        return returned

    return ask().operator


@pytest.mark.parametrize("deferrable", [False, True])
def test_what_the_function_returns_is_asked_and_never_rendered(deferrable: bool, service: Service) -> None:
    assert go(asks(TEMPLATE, deferrable=deferrable), attempt(1, retries=0)) == TEMPLATE
    assert service.runs()[0].body["input"]["text"] == TEMPLATE


def test_it_may_be_parts_and_none_of_them_is_rendered(service: Service) -> None:
    user = {"email": "a@example.com", "first_name": TEMPLATE}
    parts = {"text": "look", "files": ["https://example.com/{{ ds }}.pdf"], "user": user}
    go(asks(parts, files=["https://example.com/by-default.pdf"]), attempt(1, retries=0))
    sent = service.runs()[0].body["input"]
    assert (sent["text"], sent["files"], sent["user"]["first_name"]) == ("look", parts["files"], TEMPLATE)


def test_a_part_that_it_leaves_out_may_be_given_as_an_argument(service: Service) -> None:
    go(asks("look", user={"email": "{{ ds }}@example.com"}), attempt(1, retries=0))
    assert service.runs()[0].body["input"]["user"]["email"] == "2026-11-01@example.com"


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "The function ask has to return a text, or a mapping .* got None"),
        ({"rows": [1]}, r"got \{'rows': \[1\]\}. Make a text of data"),
        (["a"], "Make a text of data, for instance with json.dumps"),
        ({"text": "a", "txt": "b"}, "input.txt"),
        ("", "input"),
    ],
)
def test_anything_else_fails_before_a_run_is_paid(returned: Any, said: str, service: Service) -> None:
    with pytest.raises(AirflowFailException, match=said):
        go(asks(returned), attempt(1, retries=0))
    assert service.posts == []


def test_its_arguments_are_templates_and_the_context(service: Service) -> None:
    @echo()
    def ask(day: str, *, rows: int, run_id: str, **context: Any) -> str:
        return f"{day} {rows} {run_id} {context['ti'].task_id} {context['ds']}"

    go(ask("{{ ds }}", rows=3).operator, attempt(1, retries=0))
    assert service.runs()[0].body["input"]["text"] == "2026-11-01 3 manual__2026-11-01 ask 2026-11-01"


def test_a_function_that_raises_starts_nothing(service: Service) -> None:
    @echo()
    def ask() -> str:
        raise AirflowSkipException("nothing to ask today")

    with pytest.raises(AirflowSkipException):
        go(ask().operator, attempt(1, retries=0))
    assert service.posts == []


def test_a_workflow_is_run_likewise(service: Service) -> None:
    @xpander_workflow(workflow_id="triage", poll_interval=POLL)
    def ask() -> str:
        return "The export crashes"

    assert json.loads(go(ask().operator, attempt(1, retries=0)))["category"] == "bug"


@pytest.mark.usefixtures("slept")
def test_a_retry_that_returns_another_text_takes_the_run_over(service: Service, lines: Lines) -> None:
    texts = iter(["take 600", "take 601"])

    @xpander_agent(agent_id="slow", task_id="ask", poll_interval=POLL, retries=2, deferrable=True)
    def ask() -> str:
        return next(texts)

    first = submit(attempt(1), ask().operator)
    assert submit(attempt(2), ask.override(task_id="ask")().operator) == first
    assert len(service.posts) == 1
    assert "renders differently now. It is taken over all the same" in lines.at("warning")


@pytest.mark.usefixtures("slept")
def test_a_repair_in_another_process_asks_on_behalf_of_the_same_user(service: Service) -> None:
    @xpander_agent(agent_id="sloppy", task_id="ask", poll_interval=POLL, deferrable=True, on_invalid="repair")
    def ask() -> Ticket:
        return {"text": "I was charged twice.", "user": {"email": "a@example.com"}}  # type: ignore[return-value]

    operator, ti = ask().operator, attempt(1, retries=0)
    operator.render_template_fields(ti.context())
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(ti.context())
    answer = resume(ask.override(task_id="ask")().operator, deferred.value, ti.context())
    assert answer == {"category": "billing", "summary": "I was charged twice."}
    first, second = service.runs()
    assert first.body["input"]["user"] == second.body["input"]["user"]


def test_an_annotated_model_is_the_schema_of_the_answer(service: Service) -> None:
    @echo()
    def ask() -> Ticket:
        return Ticket(category="bug", summary=TEMPLATE).model_dump_json()  # type: ignore[return-value]

    assert go(ask().operator, attempt(1, retries=0)) == {"category": "bug", "summary": TEMPLATE}
    assert service.runs()[0].body["output_schema"] == Ticket.model_json_schema()


def test_a_schema_that_is_given_goes_before_the_annotation() -> None:
    @echo(output_schema={"type": "object"})
    def ask() -> Ticket: ...

    assert ask().operator.output_schema == {"type": "object"}


def test_an_annotation_that_nobody_can_read_is_refused() -> None:
    @echo()
    def ask() -> Decimal: ...

    with pytest.raises(XpanderValidationError, match=r"'Decimal' of ask is not known .* TYPE_CHECKING"):
        ask()


def test_the_type_of_the_input_says_nothing_about_the_answer(service: Service) -> None:
    """Airflow would want an XCom of each key of the answer, which is a text."""

    @echo()
    def ask() -> Mapping[str, Any]:
        return {"text": "hello"}

    assert go(ask().operator, attempt(1, retries=0)) == "hello"
    assert ask.override(task_id="two").multiple_outputs is False
    assert asks("x", multiple_outputs=True).multiple_outputs is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"input": "x"}, "input is what the function ask returns"),
        ({"agent_id": None}, "agent_id"),
        ({"on_paused": "never"}, "on_paused must be one of"),
        ({"workflow_id": "triage"}, "workflow_id is not taken here"),
    ],
)
def test_a_wrong_argument_fails_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(XpanderValidationError, match=said):
        asks("hello", **arguments)


def test_a_coroutine_is_refused() -> None:
    @echo()
    async def ask() -> str:
        return "hello"

    with pytest.raises(XpanderValidationError, match="must not be async"):
        ask()


def test_a_literal_secret_is_warned_of() -> None:
    """Airflow stores it with the DAG where the task is mapped."""
    with pytest.warns(UserWarning, match="user_oidc_token"):
        asks("hello", user_oidc_token="s3cret")
