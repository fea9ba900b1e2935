"""Recordings: what a question is, what is hidden in it, and which answer it gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_xpander.api.text import remember
from airflow_provider_xpander.emulator import Prompt
from airflow_provider_xpander.testing.recording import Recording, difference, question


def prompt(text: str = "hello", **fields: object) -> Prompt:
    return Prompt.of({"input": {"text": text, "user": {"email": "ada@example.com"}}, **fields}, (), "triage")


def test_a_question_has_no_person_title_mark_or_credential() -> None:
    remember("hush-key-4711")
    asked = question(
        prompt(
            "log in with hush-key-4711 on 2026-11-26",
            title="T [airflow 1]", source="airflow", id="7", user_tokens={"a": "b"}, user_oidc_token="c",
            mcp_servers=[{"name": "crm"}], output_format="json", output_schema=None,
        ),
        (r"\d{4}-\d\d-\d\d",),
    )  # fmt: skip
    assert asked == {
        "target": "triage",
        "input": {"text": "log in with *** on <ignored>"},
        "output_format": "json",
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://me:pass-word@files.example.com/a.csv", "https://files.example.com/a.csv"),
        ("see s3://b/c?X-Amz-Signature=abc&part=2, then stop", "see s3://b/c?part=2, then stop"),
        ("(https://example.com/?sig=abc)", "(https://example.com/"),
        ("no address: a://", "no address: a://"),
        ({"crm_api_key": "abc", "max_tokens": 5}, {"crm_api_key": "***", "max_tokens": 5}),
        ([{"auth": {"password": "abc"}}], [{"auth": {"password": "***"}}]),
    ],
)  # fmt: skip
def test_a_question_has_no_credential_in_its_urls_and_fields(given: object, kept: object) -> None:
    assert question(prompt(payload_extension={"x": given}))["payload_extension"] == {"x": kept}


def test_a_schema_is_asked_as_it_is() -> None:
    schema = {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}
    assert question(prompt(output_schema=schema))["output_schema"] == schema


@pytest.mark.parametrize("change", [{"output_format": "json"}, {"text": "other"}, {"think_mode": "harder"}])
def test_what_is_asked_differently_is_another_question(change: dict) -> None:
    assert question(prompt(**change)) != question(prompt())


def test_the_same_question_gets_the_next_answer_and_the_last_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    turns = [
        {"question": question(prompt()), "status": status, "result": result}
        for status, result in (("failed", "no tool"), ("completed", "ok"))
    ]
    path.write_text(json.dumps({"version": 1, "turns": turns}))
    recording = Recording(path)
    given = [recording.answer(prompt()) for _ in range(3)]
    assert [(one.status, one.result) for one in given] == [
        ("failed", "no tool"), ("completed", "ok"), ("completed", "ok")
    ]  # fmt: skip
    assert recording.objection() is None
    assert recording.answer(prompt("new")).status == "error"
    said = recording.objection()
    assert said is not None
    assert '-    "text": "hello"' in said
    assert '+    "text": "new"' in said
    assert recording.objection() is None, "the next test is not to blame"


def test_the_difference_is_that_to_the_most_similar_question() -> None:
    recorded = [question(prompt(text)) for text in ("something else altogether", "the load failed at noon")]
    shown = difference(question(prompt("the load failed at night")), recorded)
    assert "at noon" in shown
    assert "something else" not in shown


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="--xpander-record"):
        Recording(tmp_path / "none.json")
