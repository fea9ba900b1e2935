from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from airflow_provider_xpander.emulator.agents import (
    AGENTS,
    WORKFLOWS,
    Prompt,
    classifier,
    echo,
    failing,
    not_json,
    paused,
    sloppy,
    slow,
    triage,
)
from airflow_provider_xpander.emulator.classify import level, pick, summarize
from airflow_provider_xpander.emulator.conform import conform
from airflow_provider_xpander.emulator.registry import Registry

BILLING = "I was charged twice for invoice 4711, please refund me. My mail is ann@example.com."
BUG = "The export crashes with an exception since yesterday. Production is down, urgent!"
ACCESS = "I cannot log in, my password is rejected and the account is locked."
FEATURE = "It would be nice to have a dark mode, no rush."
OTHER = "Hello there."


@pytest.mark.parametrize(
    ("text", "category", "priority"),
    [
        (BILLING, "billing", "high"),
        (BUG, "bug", "urgent"),
        (ACCESS, "access", "high"),
        (FEATURE, "feature", "low"),
        (OTHER, "other", "medium"),
    ],
)
def test_tickets_are_classified(text: str, category: str, priority: str) -> None:
    answer = classifier(Prompt(text, wants_json=True)).result
    assert (answer["category"], answer["priority"]) == (category, priority)
    assert answer["summary"]
    routed = triage(Prompt(text)).result
    assert (routed["category"], routed["priority"]) == (category, priority)
    assert category in routed["route"]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (BUG, ["low", "medium", "high"], "high"),
        (BUG, ["P1", "P2", "P3"], "P1"),
        (FEATURE, ["Low", "High"], "Low"),
        (BILLING, ["bug_report", "billing_issue", "feature_request", "general"], "billing_issue"),
        (FEATURE, ["bug_report", "billing_issue", "feature_request", "general"], "feature_request"),
        (OTHER, ["bug", "general_question", "x"], "general_question"),
        (OTHER, ["red", "blue"], "blue"),
        ("The sky is red", ["blue", "red", "green"], "red"),
        ("Thanks, I love it", ["negative", "neutral", "positive"], "positive"),
        (BUG, ["positive", "neutral", "negative"], "negative"),
        (OTHER, ["positive", "neutral", "negative"], "neutral"),
    ],
)
def test_options_are_picked_by_what_the_text_says(text: str, options: list[str], expected: str) -> None:
    assert pick(text, options) == expected


@pytest.mark.parametrize(("text", "expected"), [(BUG, 3), (ACCESS, 2), (OTHER, 1), (FEATURE, 0)])
def test_level(text: str, expected: int) -> None:
    assert level(text) == expected


def test_summary_is_the_first_sentence_and_short() -> None:
    assert summarize("One  two. Three.") == "One two."
    assert len(summarize("x" * 500)) == 120


TICKET = {
    "type": "object",
    "required": [
        "category",
        "urgency",
        "sentiment",
        "summary",
        "is_urgent",
        "confidence",
        "tags",
        "customer",
    ],
    "additionalProperties": False,
    "properties": {
        "category": {"type": "string", "enum": ["billing", "bug", "access", "feature", "other"]},
        "urgency": {"$ref": "#/$defs/Urgency"},
        "sentiment": {"type": ["string", "null"]},
        "summary": {"type": "string", "maxLength": 20},
        "is_urgent": {"type": "boolean"},
        "confidence": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        "customer": {
            "anyOf": [
                {"type": "null"},
                {
                    "type": "object",
                    "required": ["email"],
                    "properties": {"email": {"type": "string"}, "invoice": {"type": "integer"}},
                },
            ]
        },
        "kind": {"const": "ticket"},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "$defs": {"Urgency": {"enum": ["low", "medium", "high"]}},
}


@pytest.mark.parametrize("text", [BILLING, BUG, ACCESS, FEATURE, OTHER, ""])
def test_answers_conform_to_the_schema(text: str) -> None:
    answer = conform(text, TICKET)
    jsonschema.validate(answer, TICKET)
    assert set(answer) == set(TICKET["properties"])


def test_properties_are_filled_with_sense() -> None:
    answer = conform(BILLING, TICKET)
    assert answer["category"] == "billing"
    assert answer["sentiment"] == "negative"
    assert answer["customer"] == {"email": "ann@example.com", "invoice": 4711}
    assert conform(FEATURE, TICKET)["is_urgent"] is False
    urgent = conform(BUG, TICKET)
    assert (urgent["urgency"], urgent["is_urgent"], urgent["score"]) == ("high", True, 5)


def test_a_schema_that_contains_itself_has_an_end() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {"child": {"$ref": "#"}, "name": {"type": "string"}},
    }
    assert conform("x", node)["child"]["child"]["name"] == "x"


def test_classifier_answers_a_sentence_unless_json_is_asked_for() -> None:
    answer = classifier(Prompt(BILLING)).result
    assert answer.startswith("This is a billing ticket of high priority")


@pytest.mark.parametrize(
    ("prompt", "result"),
    [
        (Prompt("hi"), "hi"),
        (Prompt("hi", wants_json=True), {"text": "hi"}),
        (Prompt('{"n": 1e400}', wants_json=True), '{"n": 1e400}'),
        (
            Prompt("hi", True, {"type": "object", "properties": {"summary": {"type": "string"}}}),
            {"summary": "hi"},
        ),
    ],
)
def test_echo(prompt: Prompt, result: Any) -> None:
    assert echo(prompt).result == result


@pytest.mark.parametrize(
    ("text", "status"),
    [("", "failed"), ("failed", "failed"), ("an error please", "error"), ("stopped", "stopped")],
)
def test_failing_ends_as_the_text_says(text: str, status: str) -> None:
    behaviour = failing(Prompt(text))
    assert behaviour.status == status
    assert (behaviour.result is None) is (status == "stopped")


@pytest.mark.parametrize(("text", "seconds"), [("", 5), ("take 7", 7), ("take 0.2 s", 0.2)])
def test_slow_takes_what_the_text_says(text: str, seconds: float) -> None:
    assert slow(Prompt(text)).seconds == seconds


@pytest.mark.parametrize(
    ("text", "fields", "resume_after"),
    [
        ("", {"hitl_request"}, None),
        ("connector login", {"pending_eca_request"}, None),
        ("self-schedule 3", set(), 3),
        ("schedule", set(), 2),
    ],
)
def test_paused_waits_for_what_the_text_says(text: str, fields: set[str], resume_after: float | None) -> None:
    behaviour = paused(Prompt(text))
    assert behaviour.pause is not None
    assert (set(behaviour.pause), behaviour.resume_after) == (fields, resume_after)


def test_not_json_is_not_json() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(not_json(Prompt("x", wants_json=True)).result)


@pytest.mark.parametrize(
    ("text", "earlier", "right"),
    [
        ("charged twice", [], False),
        ("Correct it", ["charged twice"], True),
        ("Correct it", ["charged twice, wrong 2"], False),
        ("Correct it", ["charged twice, wrong 2", "Correct it"], True),
        ("charged twice, prose", [], False),
        ("Correct it", ["charged twice, prose"], True),
        ("charged twice, truncated", [], False),
    ],
)
def test_sloppy_gets_it_right_when_it_was_told_often_enough(
    text: str, earlier: list[str], right: bool
) -> None:
    schema = {"type": "object", "properties": {"category": {"enum": ["billing", "bug"]}}}
    result = sloppy(Prompt(text, True, schema, tuple(earlier))).result
    assert (result == {"category": "billing"}) is right


def test_workflows_may_be_agents_but_agents_are_not_workflows() -> None:
    assert Registry().find("workflow", "echo") is AGENTS["echo"]
    assert Registry().find("workflow", "triage") is WORKFLOWS["triage"]
    assert Registry().find("agent", "triage") is None
    assert Registry().find("agent", "nobody") is None


def test_files_stand_for_a_missing_text() -> None:
    assert Prompt.of({"input": {"text": "", "files": ["a.pdf"]}}).text == "a.pdf"
