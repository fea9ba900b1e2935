from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.models import InvokeInput, InvokeRequest, Target, User, parse_request
from airflow_provider_xpander.api.request import SECRET_FIELDS
from airflow_provider_xpander.api.routes import get_task
from airflow_provider_xpander.emulator.request_model import AgentExecutionRequest

DOCUMENT = (Path(__file__).parents[2] / "docs/api.md").read_text()
SECTION = DOCUMENT[DOCUMENT.index("\n## 3. ") : DOCUMENT.index("\n## 4. ")]
ROWS = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", SECTION, re.MULTILINE)
"""Name, type and default of each field, from the contract."""
TYPES = {
    "string": str | None,
    "object": dict[str, Any] | None,
    "JSON Schema object": dict[str, Any] | None,
    "object[]": list[dict[str, Any]] | None,
    "bool": bool | None,
}
OF_TYPE: dict[str, Any] = {
    "payload_extension": {"ticket": 7}, "output_schema": {"type": "object"}, "run_locally": True,
    "output_format": "json", "events_streaming": True, "mcp_servers": [{"name": "m"}],
    "think_mode": "harder", "disable_attachment_injection": True, "user_tokens": {"n": "t"},
    "return_metrics": True, "llm_reasoning_effort": "xhigh", "source_node_type": "webhook",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, _, _ in ROWS if name != "input"])
def test_every_field_of_the_api_is_sent_as_given(name: str) -> None:
    value = OF_TYPE.get(name, "x-1" if name.endswith("id") else "some text")
    body = InvokeRequest.model_validate({"input": "hi", name: value}).body()
    assert body[name] == value


def test_the_fields_are_those_of_the_contract() -> None:
    assert [name for name in InvokeRequest.model_fields if name != "extra_body"] == [row[0] for row in ROWS]
    of_input, of_user = (text for text in SECTION.split("\n\n") if text.startswith("`input"))
    assert set(InvokeInput.model_fields) == set(re.findall(r"`(\w+)` \(", of_input))
    assert set(re.findall(r"`([a-z_]+)`", of_user)) - {"member", "display_name"} == set(User.model_fields)


@pytest.mark.parametrize(("name", "kind", "default"), ROWS[1:])
def test_a_field_has_type_and_default_of_the_contract(name: str, kind: str, default: str) -> None:
    field = InvokeRequest.model_fields[name]
    values = kind.strip("`").split()
    if kind.startswith("`"):
        assert set(values) <= set(get_args(get_args(field.annotation)[0]))
    else:
        assert field.annotation == TYPES[kind]
    unset = AgentExecutionRequest.model_validate({"input": {}}).model_dump()[name]
    word = default.split()[0]
    assert unset == {"null": None, "false": False, "[]": []}.get(word, word)


def test_the_emulator_reads_more_than_the_provider_sends() -> None:
    given = {"input": {"text": "", "image": "x"}, "titel": "x", "output_format": "text", "output_schema": {}}
    read = AgentExecutionRequest.model_validate(given).model_dump()
    assert "titel" not in read
    assert read["input"] == {"text": "", "files": [], "user": None}
    with pytest.raises(ValidationError, match="think_mode"):
        AgentExecutionRequest.model_validate({"input": {}, "think_mode": "hard"})


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("hello", {"text": "hello"}),
        ({"text": "hello"}, {"text": "hello"}),
        ({"files": ["https://x/f.pdf"]}, {"files": ["https://x/f.pdf"]}),
        (
            {"text": "hello", "user": {"email": "a@b.c", "timezone": "Europe/Berlin"}},
            {"text": "hello", "user": {"email": "a@b.c", "timezone": "Europe/Berlin"}},
        ),
        (InvokeInput(text="hello", user=User(email="a@b.c")), {"text": "hello", "user": {"email": "a@b.c"}}),
    ],
)
def test_the_input_is_a_text_or_an_object(given: Any, sent: dict[str, Any]) -> None:
    assert parse_request({"input": given}).body() == {"input": sent}


def test_only_what_was_set_is_sent() -> None:
    assert InvokeRequest(input="hi", title=None).body() == {"input": {"text": "hi"}}


@pytest.mark.parametrize(
    "request_of_caller",
    ["hi", {"input": "hi"}, InvokeRequest(input="hi")],
    ids=["text", "mapping", "model"],
)
def test_a_request_can_be_given_in_three_ways(request_of_caller: Any) -> None:
    assert parse_request(request_of_caller) == InvokeRequest(input="hi")


@pytest.mark.parametrize(
    ("fields", "wants", "sent_format"),
    [
        ({}, False, None),
        ({"output_format": "text"}, False, "text"),
        ({"output_format": "json"}, True, "json"),
        ({"output_schema": {"type": "object"}}, True, "json"),
        ({"output_schema": {}}, True, "json"),
        ({"output_schema": {"type": "object"}, "output_format": "json"}, True, "json"),
    ],
)
def test_a_schema_asks_for_json(fields: dict[str, Any], wants: bool, sent_format: str | None) -> None:
    request = InvokeRequest.model_validate({"input": "hi", **fields})
    assert request.wants_json is wants
    assert request.body().get("output_format") == sent_format


def test_extra_body_goes_on_the_top_level() -> None:
    request = InvokeRequest(input="hi", extra_body={"tool_call_limit": 3, "younger": {"a": None}})
    assert request.body() == {"input": {"text": "hi"}, "tool_call_limit": 3, "younger": {"a": None}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, ["input"]),
        ({"input": ""}, ["input", "text", "file"]),
        ({"input": " \n"}, ["input", "text", "file"]),
        ({"input": {}}, ["input", "text", "file"]),
        ({"input": {"files": []}}, ["input", "text", "file"]),
        ({"input": {"files": ["/data/a.pdf"]}}, ["input.files", "http", "'/data/a.pdf'"]),
        ({"input": {"files": ["file:///data/a.pdf"]}}, ["input.files", "presigned", "'file:///data/a.pdf'"]),
        ({"input": {"files": ["https://x/a", "a.pdf"]}}, ["input.files", "'a.pdf'"]),
        ({"input": {"files": ["https://x/a", 3]}}, ["input.files[1]: ", "string, got 3"]),
        ({"input": {"files": ["C:\\a.pdf"]}}, ["input.files", "fetches each file itself"]),
        ({"input": {"files": ["s3://bucket/a.pdf"]}}, ["input.files", "'s3://bucket/a.pdf'"]),
        ({"input": {"files": ["https://"]}}, ["input.files", "'https://'"]),
        ({"input": 7}, ["input"]),
        ({"input": "hi", "titel": "x"}, ["titel", "extra_body"]),
        ({"input": {"text": "hi", "image": "x"}}, ["input.image"]),
        ({"input": {"text": "hi", "user": {"id": "u"}}}, ["input.user.email"]),
        (
            {"input": "hi", "output_format": "html"},
            ["output_format", "'html'", "text", "markdown", "json", "voice"],
        ),
        ({"input": "hi", "think_mode": "hard"}, ["think_mode", "'hard'", "default", "harder"]),
        ({"input": "hi", "llm_reasoning_effort": "max"}, ["llm_reasoning_effort", "'max'", "low", "xhigh"]),
        ({"input": "hi", "title": 7}, ["title", "7"]),
        ({"input": "hi", "output_schema": {}, "output_format": "text"}, ["output_format", "'text'", "json"]),
        ({"input": "hi", "extra_body": {"title": "x"}}, ["extra_body", "title"]),
        ({"input": "hi", "extra_body": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}, ["JSON"]),
        ({"input": "hi", "extra_body": {"ratio": float("nan")}}, ["JSON"]),
        ({"input": "hi", "payload_extension": {"ratio": float("inf")}}, ["JSON"]),
        ({"input": "hi", "payload_extension": {"thing": object()}}, ["JSON"]),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, dict) else "",
)
def test_a_wrong_request_is_refused_with_what_is_wrong(fields: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(XpanderValidationError) as caught:
        parse_request(fields)
    for word in named:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"user_oidc_token": ["s3cret"]},
        {"user_tokens": "s3cret"},
        {"user_tokens": ["s3cret"]},
        {"mcp_servers": ["s3cret"]},
        {"mcp_servers": {"api_key": "s3cret"}},
    ],
    ids=repr,
)
def test_the_value_of_a_secret_field_is_in_no_message(fields: dict[str, Any]) -> None:
    with pytest.raises(XpanderValidationError) as caught:
        parse_request({"input": "hi", **fields})
    assert next(iter(fields)) in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in str(caught.value.__cause__)
    with pytest.raises(ValidationError) as raw:
        InvokeRequest.model_validate({"input": "hi", **fields})
    assert "s3cret" not in str(raw.value)


def test_secrets_are_not_in_the_repr() -> None:
    secrets = {
        "user_tokens": {"n": "s3cret"},
        "user_oidc_token": "s3cret",
        "mcp_servers": [{"api_key": "s3cret"}],
    }
    assert set(secrets) == SECRET_FIELDS
    request = InvokeRequest.model_validate({"input": "hi", "extra_body": {"x": "s3cret"}, **secrets})
    assert "s3cret" not in repr(request)


@pytest.mark.parametrize(
    ("target", "fields", "text"),
    [
        (Target.agent("a-1"), ("agent", "a-1", None), "agent a-1"),
        (Target.agent("a-1", "draft"), ("agent", "a-1", "draft"), "agent a-1 (version draft)"),
        (Target.workflow("w-1", version="2"), ("workflow", "w-1", "2"), "workflow w-1 (version 2)"),
    ],
)
def test_targets(target: Target, fields: tuple[str, str, str | None], text: str) -> None:
    assert (target.kind, target.id, target.version) == fields
    assert str(target) == text


@pytest.mark.parametrize("id", ["", "  ", "None", " None ", None, 7])
@pytest.mark.parametrize(("make", "name"), [(Target.agent, "agent_id"), (Target.workflow, "workflow_id")])
def test_a_target_needs_an_id(make: Any, name: str, id: Any) -> None:
    with pytest.raises(XpanderValidationError, match=f"{name} must be a non-empty string") as caught:
        make(id)
    is_null = id in ("None", " None ")
    assert ("which is what a template makes of null" in str(caught.value)) is is_null


STRANGE = {
    "a-1 ": "U+0020 (SPACE) as its character 4",
    "a\t1": "U+0009 (a control character) as its character 2",
    "a-1\n": "U+000A (a control character) as its character 4",
    "a\u00a01": "U+00A0 (NO-BREAK SPACE) as its character 2",
    "\u200ba-1": "U+200B (ZERO WIDTH SPACE) as its character 1",
    "a-\u200d1": "U+200D (ZERO WIDTH JOINER)",
    "\ufeffa-1": "U+FEFF (ZERO WIDTH NO-BREAK SPACE)",
    "a\u202e1": "U+202E (RIGHT-TO-LEFT OVERRIDE)",
    "a\u00ad1": "U+00AD (SOFT HYPHEN)",
    "a\u20281": "U+2028 (LINE SEPARATOR)",
    "a\ud8001": "U+D800",
    "a\u31641": "U+3164 (HANGUL FILLER)",
    "a\u28001": "U+2800 (BRAILLE PATTERN BLANK)",
}


@pytest.mark.parametrize(("id", "named"), STRANGE.items(), ids=map(ascii, STRANGE))
def test_an_id_with_a_character_that_nobody_sees_is_refused_by_its_name(id: str, named: str) -> None:
    for make, name in (
        (Target.agent, "agent_id"),
        (Target.workflow, "workflow_id"),
        (lambda version: Target.agent("a-1", version), "version"),
        (lambda thread: parse_request({"input": "hi", "id": thread}), "thread_id"),
        (lambda worker: parse_request({"input": "hi", "worker_id": worker}), "worker_id"),
    ):
        with pytest.raises(XpanderValidationError) as caught:
            make(id)
        assert str(caught.value).startswith(f"{name} has {named}")
        assert str(caught.value).isascii()


@pytest.mark.parametrize("id", [".", ".."])
def test_an_id_that_would_lead_to_another_path_is_refused(id: str) -> None:
    with pytest.raises(XpanderValidationError, match="task_id must be no step in a path"):
        get_task(id)


@pytest.mark.parametrize("id", ["a-1", "ä", "conversation-123", "a/b:c@d", "\U0001f916"])
def test_an_id_may_be_any_text_that_one_sees(id: str) -> None:
    assert Target.agent(id).id == id
    assert parse_request({"input": "hi", "id": id}).body()["id"] == id


@pytest.mark.parametrize("unset", ["", " ", "\n", None])
@pytest.mark.parametrize(
    "name",
    [
        "id", "title", "parent_execution_id", "worker_id", "triggering_agent_id", "llm_model_provider",
        "llm_model_name", "user_oidc_token",
    ],
)  # fmt: skip
def test_an_optional_text_that_is_empty_is_not_sent(name: str, unset: Any) -> None:
    assert parse_request({"input": "hi", name: unset}).body() == {"input": {"text": "hi"}}


@pytest.mark.parametrize("unset", ["", " ", None])
def test_an_empty_version_is_the_latest(unset: Any) -> None:
    assert Target.agent("a-1", unset) == Target.agent("a-1")


@pytest.mark.parametrize("null", ["None", " None\n"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda null: Target.agent("a-1", null), "version"),
        (lambda null: parse_request({"input": "hi", "id": null}), "thread_id"),
        (lambda null: parse_request({"input": "hi", "title": null}), "title"),
        (lambda null: parse_request({"input": "hi", "llm_model_name": null}), "llm_model_name"),
        (lambda null: parse_request({"input": "hi", "user_oidc_token": null}), "user_oidc_token"),
    ],
    ids=["version", "thread_id", "title", "llm_model_name", "user_oidc_token"],
)
def test_what_a_template_makes_of_null_is_refused(make: Any, name: str, null: str) -> None:
    with pytest.raises(XpanderValidationError, match=f"^{name} is the text .*None.* makes of null.* or ''"):
        make(null)
