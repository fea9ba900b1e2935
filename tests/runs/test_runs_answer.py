from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.answer import (
    AnswerRules,
    XpanderAnswerError,
    XpanderAnswerInvalid,
    encode_answer,
    read_answer,
    summarize,
    summarize_turn,
)
from airflow_provider_xpander.runs.schema import import_schema, schema_of


def completed(result: Any) -> Task:
    return Task.model_validate({"id": "t-1", "status": "completed", "result": result})


@pytest.mark.parametrize(
    ("result", "wants_json", "answer"),
    [
        ("plain", False, "plain"),
        ('{"a": 1}', False, '{"a": 1}'),
        ('{"a": 1}', True, {"a": 1}),
        ({"a": 1}, True, {"a": 1}),
        ([1], True, [1]),
        ({"a": 1}, False, {"a": 1}),
        (None, False, None),
        ("", False, ""),
        ('{"__classname__": "os.system"}', True, {"__classname__": "os.system"}),
        ("a\x00b", False, "a\x00b"),
    ],
)
def test_the_answer_of_a_run(result: Any, wants_json: bool, answer: Any) -> None:
    assert read_answer(completed(result), AnswerRules(wants_json=wants_json)) == answer


@pytest.mark.parametrize("result", ["Sorry, I cannot.", "", None, "[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_an_answer_that_is_not_the_wanted_json_is_kept(result: Any) -> None:
    with pytest.raises(XpanderAnswerInvalid) as caught:
        read_answer(completed(result), AnswerRules(wants_json=True))
    assert (caught.value.task_id, caught.value.answer) == ("t-1", result)
    assert "t-1" in str(caught.value)


def test_the_message_shows_the_first_500_characters_on_one_line() -> None:
    with pytest.raises(XpanderAnswerInvalid) as caught:
        read_answer(completed("\x1b[31mline\n" + "x" * 1000), AnswerRules(wants_json=True))
    assert "line " + "x" * 495 + "..." in str(caught.value)
    assert "x" * 496 not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_the_summary_is_a_fixed_list_of_fields() -> None:
    task = Task.model_validate(
        {
            "id": "t-1", "agent_id": "a-1", "status": "RUNNING", "title": "Report\x00",
            "created_at": "2026-02-07T06:18:47Z", "tokens": {"total_tokens": 12},
            "result": "s3cret", "input": {"text": "s3cret"}, "user_oidc_token": "s3cret",
            "user_tokens": {"n": "s3cret"}, "mcp_servers": [{"api_key": "s3cret"}], "surprise": "s3cret",
            "payload_extension": {"x": "s3cret"}, "additional_context": "s3cret",
        }
    )  # fmt: skip
    summary = summarize(task)
    assert summary == {
        "id": "t-1", "agent_id": "a-1", "status": "executing", "title": "Report\ufffd",
        "created_at": "2026-02-07T06:18:47Z", "started_at": None, "finished_at": None,
        "tokens": {
            "completion_tokens": None, "prompt_tokens": None, "total_tokens": 12,
            "cache_read_tokens": None, "cache_write_tokens": None,
        },
        "is_manually_stopped": None, "used_mutating_tools": None, "agent_version": None,
        "llm_model_provider": None, "llm_model_name": None, "duration": None,
    }  # fmt: skip
    assert "s3cret" not in json.dumps(summary)


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def test_what_does_not_match_is_told_by_path_expectation_and_value() -> None:
    with pytest.raises(
        XpanderAnswerInvalid, match=r"t-1 .*output_schema: \$\.n: expected integer, got \"x\""
    ) as c:
        read_answer(completed('{"n": "x"}'), AnswerRules(True, lambda: schema_of(SCHEMA)))
    assert c.value.problems == ('$.n: expected integer, got "x"',)
    assert c.value.answer == '{"n": "x"}'


def test_a_schema_that_cannot_be_read_any_more_does_not_lose_the_answer() -> None:
    with pytest.raises(
        XpanderAnswerError, match=r"t-1 completed, but .* nowhere\.Model cannot be imported"
    ) as c:
        read_answer(completed('{"n": 1}'), AnswerRules(True, lambda: import_schema("nowhere.Model")))
    assert c.value.answer == '{"n": 1}'
    assert not isinstance(c.value, XpanderAnswerInvalid)  # a repair would not help


@pytest.mark.parametrize("result", [[[[]]], "[[[]]]"], ids=["object", "text"])
def test_an_answer_that_is_nested_too_deeply_for_xcom_is_invalid(result: Any) -> None:
    for _ in range(120):
        result = [result] if isinstance(result, list) else f"[{result}]"
    with pytest.raises(XpanderAnswerInvalid, match="nested deeper than 100 levels"):
        read_answer(completed(result), AnswerRules(wants_json=True))


@pytest.mark.parametrize(
    ("answer", "content", "media_type"),
    [
        ("müde\x00", "müde\x00".encode(), "text/plain; charset=utf-8"),
        ("\ud800x", b"?x", "text/plain; charset=utf-8"),
        (
            {"ü": [1, None], "__type": 2**70},
            f'{{"ü": [1, null], "__type": {2**70}}}'.encode(),
            "application/json",
        ),
        ({"a": "\ud800"}, b'{"a": "\\ud800"}', "application/json"),
        ([float("inf")], b'["~inf"]', "application/json"),
        (None, b"null", "application/json"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_file_holds_what_the_agent_answered(answer: Any, content: bytes, media_type: str) -> None:
    assert encode_answer(answer) == (content, media_type)


def test_the_summary_adds_up_the_tokens_of_all_turns() -> None:
    def turn(minute: int, tokens: Any) -> Task:
        return Task.model_validate(
            {
                "id": "t-1", "status": "completed", "finished_at": f"2026-02-07T06:{minute}:00Z",
                "tokens": tokens, "llm_model_name": "m", "result": "s3cret",
            }
        )  # fmt: skip

    first = turn(10, {"total_tokens": 12, "prompt_tokens": 10})
    second, third = turn(11, None), turn(12, {"total_tokens": 5})
    summary = summarize(third, [summarize_turn(first), summarize_turn(second)])
    assert summary["tokens"]["total_tokens"] == 17
    assert summary["tokens"]["prompt_tokens"] == 10
    assert [one["finished_at"][14:16] for one in summary["turns"]] == ["10", "11", "12"]
    assert [one["tokens"] and one["tokens"]["total_tokens"] for one in summary["turns"]] == [12, None, 5]
    assert summary["id"] == "t-1"
    assert "s3cret" not in json.dumps(summary)
