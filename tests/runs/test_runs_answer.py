from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.answer import (
    XpanderAnswerError,
    parse_json,
    read_answer,
    summarize,
    xcom_safe,
)

try:  # Airflow 3.2 and later
    from airflow.sdk.serde import deserialize, serialize
except ImportError:
    from airflow.serialization.serde import deserialize, serialize


def completed(result: Any) -> Task:
    return Task.model_validate({"id": "t-1", "status": "completed", "result": result})


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"a": 1}', {"a": 1}),
        (" [1, 2]\n", [1, 2]),
        ('"text"', "text"),
        ("7", 7),
        ("null", None),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('\n```JSON\r\n{"a": 1}\r\n```\n', {"a": 1}),
        ('```json\n{"a": "```"}\n```', {"a": "```"}),
        ('<think>Hm, {"b": 2}?</think>\n{"a": 1}', {"a": 1}),
        ('<think>a</think><think>b</think>```json\n{"a": 1}\n```', {"a": 1}),
        ('{"a": "</think>"}', {"a": "</think>"}),
    ],
)
def test_json_is_found_in_what_models_put_around_it(text: str, data: Any) -> None:
    assert parse_json(text) == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "no",
        "{",
        '{"a": 1} and more',
        "NaN",
        '{"a": Infinity}',
        "[-Infinity]",
        "{'a': 1}",
        "```json\nno\n```",
    ],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


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
        ('{"__classname__": "os.system"}', True, {"~__classname__": "os.system"}),
        ("a\x00b", False, "a\ufffdb"),
    ],
)
def test_the_answer_of_a_run(result: Any, wants_json: bool, answer: Any) -> None:
    assert read_answer(completed(result), wants_json=wants_json) == answer


@pytest.mark.parametrize("result", ["Sorry, I cannot.", "", None, "[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_an_answer_that_is_not_the_wanted_json_is_kept(result: Any) -> None:
    with pytest.raises(XpanderAnswerError) as caught:
        read_answer(completed(result), wants_json=True)
    assert (caught.value.task_id, caught.value.answer) == ("t-1", result)
    assert "t-1" in str(caught.value)


def test_the_message_shows_the_first_500_characters_on_one_line() -> None:
    with pytest.raises(XpanderAnswerError) as caught:
        read_answer(completed("\x1b[31mline\n" + "x" * 1000), wants_json=True)
    assert "line " + "x" * 495 + "..." in str(caught.value)
    assert "x" * 496 not in str(caught.value)
    assert "\x1b" not in str(caught.value)


HOSTILE = [
    {"__type": "x"}, {"__var": "x"}, {"__classname__": "os.system"}, {"__version__": 1}, {"__data__": "x"},
    {"__id__": "x"}, {"__cause__": "x"}, {"__source": "x"}, {"~__classname__": "x"},
    {"__classname__": "builtins.tuple", "__version__": 1, "__data__": ["a"]},
    [{"deep": {"__type": "dict", "__var": {}}}],
    {"a": 2**63, "b": -(2**63) - 1, "c": 10**400},
    {"inf": float("inf"), "nan": float("nan"), "list": [float("-inf")]},
    {"nul\x00": "a\x00b", "lone": "\ud800", "pair": "\U0001f916"},
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: ascii(data)[:60])
def test_hostile_data_comes_back_as_data(data: Any) -> None:
    safe = xcom_safe(data)
    # As strict as a database with a JSON column.
    stored = json.dumps(serialize(safe), allow_nan=False)
    assert "\\u0000" not in stored
    json.dumps(safe, ensure_ascii=False).encode()
    assert deserialize(json.loads(stored)) == safe
    assert xcom_safe({"answer": data})["answer"] == safe


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ({"a": [1, 2.5, True, None, "x"]}, {"a": [1, 2.5, True, None, "x"]}),
        ({"__classname__": 1}, {"~__classname__": 1}),
        ({"~__classname__": 1}, {"~~__classname__": 1}),
        ({"__typename": 1, "class": 2, "__init__": 3}, {"__typename": 1, "class": 2, "__init__": 3}),
        (2**64 - 1, 2**64 - 1),
        (2**64, str(2**64)),
        (-(2**63), -(2**63)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (True, True),
        ("müde 🤖", "müde 🤖"),
        ("\ud800x", "\ufffdx"),
        (float("inf"), "inf"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_only_what_is_harmful_is_changed(value: Any, safe: Any) -> None:
    assert xcom_safe(value) == safe


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
