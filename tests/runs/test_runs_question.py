from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.deferral import Choice, choice_of
from airflow_provider_xpander.runs.question import (
    KEEP_WAITING,
    STOP,
    WENT_ON,
    as_link,
    as_text,
    question_about,
)

LINK = "https://app.xpander.ai/agents/a-1"


def task(status: str = "paused", **fields: Any) -> Task:
    return Task.model_validate({"id": "t-1", "status": status, **fields})


def test_a_question_has_the_reason_and_the_links() -> None:
    login = "https://login.example.com/connect?state=a_b*c&scope=" + "x" * 1000
    run = task(agent_id="a-1", pending_eca_request={"connector_name": "Sales_force", "auth_url": login})
    asked = question_about(run, LINK)
    assert asked.subject == "Agent a-1 is paused: somebody has to log in to Sales_force. Keep waiting?"
    assert asked.body.splitlines()[:5] == [
        "The run is paused: somebody has to log in to Sales\\_force.",
        "",
        "- Run: t\\-1",
        f"- Console: <{LINK}>",
        f"- Log-in: <{login}>",
    ]
    assert KEEP_WAITING in asked.body
    assert STOP in asked.body


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hitl_request": {"wait_node_id": "n-7"}}, "a person has to answer \\(node n\\-7\\)"),
        ({}, "nobody is asked; it may go on by its own schedule"),
        ({"deep_planning": {"question_raised": True}}, "the agent has a question about its plan"),
    ],
)
def test_a_question_without_a_login_has_no_such_line(fields: dict[str, Any], reason: str) -> None:
    body = question_about(task(**fields), LINK).body
    assert body.startswith(f"The run is paused: {reason}.\n")
    assert "Log-in" not in body


def test_what_the_service_says_is_only_text_in_a_question() -> None:
    title = "[click](https://evil.example) <img src=x> `x`\n\n# big **b** ![i](https://evil.example/i.png)"
    run = task(
        hitl_request={"title": title},
        pending_eca_request={"connector_name": "", "auth_url": "javascript:alert(1)"},
    )
    body = question_about(run, LINK).body
    assert "<javascript" not in body
    body = question_about(task(hitl_request={"title": title}), LINK).body
    first = body.splitlines()[0]
    assert "\\[click\\]\\(https://evil.example\\) \\<img src=x\\>" in first
    assert "**b**" not in first


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\x1b[31mb\nc", "ab c"), ("1. _x_ | y", "1. \\_x\\_ \\| y"), (["a"], "\\['a'\\]")],
)
def test_text(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "https://x y",
        "https://x>\n<b>",
        "data:text/html,x",
        "HTTPS://x<",
        "https://x\n",
    ],
)
def test_what_is_no_web_address_is_no_link(address: str) -> None:
    assert not as_link(address).startswith("<")


@pytest.mark.parametrize(
    ("payload", "choice"),
    [
        (
            {"chosen_options": [KEEP_WAITING], "responded_by_user": {"id": "1", "name": "Ada"}},
            Choice(stop=False, by="Ada"),
        ),
        ({"chosen_options": [STOP], "responded_by_user": None}, Choice(stop=True)),
        ({"chosen_options": [STOP]}, Choice(stop=True)),
        ({"chosen_options": [WENT_ON]}, None),
        ({"chosen_options": []}, None),
        ({"chosen_options": None}, None),
        ({"xpander_task_id": "t-1", "end": "finished"}, None),
        (None, None),
        ("odd", None),
    ],
)
def test_the_choice(payload: Any, choice: Choice | None) -> None:
    assert choice_of(payload) == choice
