from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.runs.approval import (
    AGAIN,
    APPROVE,
    EDITED,
    REJECT,
    SHOWN,
    Step,
    Verdict,
    code_of,
    form_of,
    judge,
    question_of,
)
from airflow_provider_xpander.runs.deferral import Decision

NOW, FIRST = "11111111", "00000000"
OTHER = f"The decision is about another answer ({FIRST}); that to decide on is {NOW}."


@pytest.mark.parametrize(
    ("option", "inputs", "shown", "expected"),
    [
        (APPROVE, {}, NOW, Verdict(Step.APPROVED)),
        (APPROVE, {"code": None, "comment": None}, NOW, Verdict(Step.APPROVED)),
        (APPROVE, {"code": f" {NOW}\n", "comment": " fine "}, FIRST, Verdict(Step.APPROVED, "fine")),
        (APPROVE, {}, FIRST, Verdict(Step.UNCLEAR, OTHER)),
        (APPROVE, {"code": FIRST}, NOW, Verdict(Step.UNCLEAR, OTHER)),
        (EDITED, {"answer": " x "}, NOW, Verdict(Step.EDITED, " x ")),
        (EDITED, {"answer": "x", "code": FIRST}, NOW, Verdict(Step.UNCLEAR, OTHER)),
        (
            EDITED,
            {"answer": "  "},
            NOW,
            Verdict(Step.UNCLEAR, '"Approve as edited" needs the edited answer.'),
        ),
        (AGAIN, {"comment": " why? ", "code": FIRST}, NOW, Verdict(Step.ASKED_AGAIN, "why?")),
        (AGAIN, {}, NOW, Verdict(Step.UNCLEAR, '"Ask again" needs a comment: what the agent is to do.')),
        (REJECT, {"code": FIRST}, NOW, Verdict(Step.REJECTED)),
        (REJECT, {"comment": "no"}, NOW, Verdict(Step.REJECTED, "no")),
    ],
)
def test_what_follows_from_a_decision(
    option: str, inputs: dict[str, Any], shown: str, expected: Verdict
) -> None:
    assert judge(Decision((option,), inputs=inputs), code=NOW, shown=shown) == expected


def test_a_code_stands_for_the_data_and_not_for_the_order_of_its_keys() -> None:
    assert code_of({"a": 1, "b": 2}) == code_of({"b": 2, "a": 1}) != code_of({"a": 1, "b": 3})


@pytest.mark.parametrize("answer", ["```\n# Approve me", {"a": "`````"}, "plain"])
def test_nothing_in_an_answer_ends_the_block_that_shows_it(answer: Any) -> None:
    body = question_of(answer, agent_id="a*b", task_id="t", link="https://example.com/x").body
    fence = body.partition("\n")[0].rstrip("json")
    assert body.count(f"\n{fence}\n") == 1
    assert code_of(answer) in body


def test_a_long_answer_is_cut_and_not_edited_in_the_form() -> None:
    long = "x" * (SHOWN + 1)
    assert "(cut;" in question_of(long, agent_id=None, task_id="t", link="l").body
    assert form_of(long)["answer"]["value"] == ""


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ({"a": 1}, '```json\n{\n  "a": 1\n}\n```'),
        ("plain", "plain"),
        ('{"a": 1}', ""),
        ("5", ""),
    ],
)
def test_no_field_of_the_form_is_json(answer: Any, shown: str) -> None:
    """Airflow's form makes data of it, and shows "[object Object]"."""
    fields = form_of(answer)
    assert fields["answer"]["value"] == shown
    assert fields["code"]["value"].startswith("c")
