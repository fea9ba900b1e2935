from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.runs.branching import Branches, Chosen
from airflow_provider_xpander.runs.schema import NotConforming, schema_of

WHAT_FOR = {"refund": "money *back*", "group.reply": "a question"}
REST = {"confidence": 0.5, "reason": "so\nit is"}


@pytest.mark.parametrize(
    ("multiple", "answer", "expected"),
    [
        (False, {"branch": "refund"}, ("refund",)),
        (False, {"branch": "other"}, None),
        (False, {"branches": ["refund"]}, None),
        (True, {"branches": ["refund", "group.reply"]}, ("refund", "group.reply")),
        (True, {"branches": []}, None),
        (True, {"branches": ["refund", "refund"]}, None),
        (False, {"branch": "refund", "confidence": 1.5}, None),
        (False, {"branch": "refund", "confidence": None}, None),
    ],
)
def test_the_schema_takes_choices_only(
    multiple: bool, answer: dict[str, Any], expected: tuple[str, ...] | None
) -> None:
    branches = Branches(WHAT_FOR, multiple)
    try:
        found = branches.read(schema_of(branches.schema()).conform(REST | answer))
    except NotConforming:
        assert expected is None
    else:
        assert found == Chosen(expected or (), 0.5, "so it is")


@pytest.mark.parametrize(
    ("least", "confidence", "sure"),
    [(None, 0.0, True), (0.5, 0.5, True), (0.5, 0.49, False), (1, 1.0, True), (0, 0.0, True)],
)
def test_a_choice_is_sure_from_the_least_confidence_on(
    least: float | None, confidence: float, sure: bool
) -> None:
    doubt = Branches(WHAT_FOR, min_confidence=least).doubt(Chosen(("refund",), confidence, "why"))
    assert (doubt is None) is sure


def test_the_agent_is_told_what_each_branch_is_for() -> None:
    assert Branches(WHAT_FOR).asked().splitlines()[1:] == [
        "- refund: money *back*",
        "- group.reply: a question",
    ]


def test_a_person_sees_plain_text() -> None:
    question = Branches(WHAT_FOR).question("it <said> *so*", None)
    assert "it \\<said\\> \\*so\\*" in question.body
    assert "- **refund**: money \\*back\\*" in question.body
