from __future__ import annotations

import json
import sys
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.runs.schema import (
    MAX_PROBLEMS,
    AnswerSchema,
    NotConforming,
    check_path,
    import_schema,
    schema_of,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "priority": {"enum": ["low", "high"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "owner": {"anyOf": [{"$ref": "#/$defs/owner"}, {"type": "null"}]},
    },
    "required": ["priority", "tags"],
    "additionalProperties": False,
    "$defs": {"owner": {"type": "object", "required": ["name"]}},
}


NO_OTHERS = "no other properties than those of the schema"


class Ticket(BaseModel):
    """A ticket."""

    model_config = ConfigDict(strict=True)

    priority: Literal["low", "high"]
    due: date | None = Field(default=None, strict=False)
    kind: str = Field(default="bug", alias="type")

    @field_validator("kind")
    @classmethod
    def _no_secrets(cls, value: str) -> str:
        if value == "crash":
            raise RuntimeError("the validator is broken")
        return value


class Outer:
    Tickets = RootModel[list[Ticket]]


class NoSchema(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    what: AnswerSchema | Any = Field(default_factory=object)
    how: type[int] | Any
    why: Outer


def problems(schema: AnswerSchema, data: Any) -> list[str]:
    with pytest.raises(NotConforming) as caught:
        schema.conform(data)
    assert all(problem.isprintable() for problem in caught.value.problems)
    return list(caught.value.problems)


def test_what_matches_a_json_schema_stays_as_it_is() -> None:
    data = {"priority": "low", "tags": ["a"], "owner": {"name": 2**70}}
    assert schema_of(SCHEMA).conform(data) is data
    assert schema_of(SCHEMA).body == SCHEMA


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"priority": "P1", "tags": []}, ['$.priority: expected one of "low", "high", got "P1"']),
        ({"priority": "low", "tags": ["a", 7]}, ["$.tags[1]: expected string, got 7"]),
        ({}, ["$: expected the missing 'priority', 'tags', got an empty object"]),
        (
            {"priority": "low", "tags": [], "x": 1},
            [f"$: expected {NO_OTHERS}, got an object with the keys 'priority', 'tags', 'x'"],
        ),
        ([1, 2], ["$: expected object, got a list of 2"]),
        (None, ["$: expected object, got null"]),
        ("x" * 5_000_000, [f'$: expected object, got "{"x" * 80}"...']),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_does_not_match_is_told(data: Any, said: list[str]) -> None:
    assert problems(schema_of(SCHEMA), data) == said


def test_hostile_values_and_names_are_told_in_one_harmless_line() -> None:
    data = {"priority": "\x1b[31mP1\r\n::group::x", "tags": [], "\x1b]0;x\x07\u2028": 1}
    first, second = sorted(problems(schema_of(SCHEMA), data), reverse=True)
    assert second == '$.priority: expected one of "low", "high", got "\\u001b[31mP1\\r\\n: :group::x"'
    assert (
        first == f"$: expected {NO_OTHERS}, got an object with the keys 'priority', 'tags', "
        r"'\x1b]0;x\x07\u2028'"
    )


def test_only_the_first_problems_are_told() -> None:
    wrong = problems(schema_of({"items": {"type": "string"}}), list(range(1000)))
    assert wrong[-1] == f"$[{MAX_PROBLEMS - 1}]: expected string, got {MAX_PROBLEMS - 1}"


def test_endless_nesting_is_a_problem_and_no_crash() -> None:
    data: Any = {}
    for _ in range(500):
        data = {"a": data}
    schema = schema_of({"$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"})
    assert problems(schema, data) == ["$: expected less nesting"]


@pytest.mark.parametrize(
    ("schema", "data", "said"),
    [
        ({"multipleOf": 0.1}, float("inf"), "OverflowError"),
        ({"multipleOf": 0.1}, 10**400, "OverflowError"),
        ({"items": {"multipleOf": 1.5}}, [10**400], "OverflowError"),
        ({"uniqueItems": True}, [{"a": 1}, 10**400, 0.5], None),
        ({"maximum": 5.5}, 10**400, "expected maximum 5.5"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_whatever_a_check_dies_of_is_a_problem_of_the_answer(
    schema: dict[str, Any], data: Any, said: str | None
) -> None:
    checked = schema_of({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    if said is None:
        assert checked.conform(data) is data
    else:
        (problem,) = problems(checked, data)
        assert said in problem


def test_a_model_gives_its_schema_and_plain_data() -> None:
    schema = schema_of(Ticket)
    assert schema.body == Ticket.model_json_schema()
    found = schema.conform({"priority": "low", "due": "2026-11-01", "type": "__type"})
    assert found == {"priority": "low", "due": "2026-11-01", "type": "__type"}
    assert json.loads(json.dumps(found)) == found
    assert Ticket.model_validate(found).due == date(2026, 11, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"priority": "P1"}, ["$.priority: Input should be 'low' or 'high', got \"P1\""]),
        ({}, ["$.priority: Field required, got an empty object"]),
        ({"priority": "low", "due": "soon"}, ["$.due: Input should be a valid date"]),
        ({"priority": "low", "type": "crash"}, ["$: ", "could not check it: RuntimeError: the validator is"]),
        ([1] * 3, ["$: Input should be an object, got a list of 3"]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_does_not_match_a_model_is_told(data: Any, said: list[str]) -> None:
    (problem,) = problems(schema_of(Ticket), data)
    assert all(part in problem for part in said), problem


def test_lone_surrogates_of_an_answer_do_not_break_a_model() -> None:
    assert schema_of(Ticket).conform({"priority": "low", "type": "\ud800"})["type"] == "\ufffd"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "got 7"),
        ([Ticket], "got [<class"),
        (BaseModel, "got <class"),
        (dict, "got <class 'dict'>"),
        (NoSchema, "no JSON Schema can be made of test_runs_schema.NoSchema"),
        ({"type": "text"}, "output_schema is no JSON Schema: at $.type: 'text'"),
        ({"properties": {"a": {"pattern": "["}}}, "at $.properties.a.pattern: '['"),
        ({"properties": []}, "at $.properties"),
        ({"$ref": "#/$defs/nothing"}, "$ref '#/$defs/nothing' leads nowhere"),
        ({"items": {"$ref": "https://example.com/schema.json"}}, "leads nowhere; put what it refers to"),
        ({"const": {1, 2}}, "only JSON data can be sent"),
        ({"maximum": float("nan")}, "only JSON data can be sent"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_wrong_schema_is_refused(value: Any, said: str) -> None:
    with pytest.raises(XpanderValidationError, match="output_schema") as caught:
        schema_of(value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"$ref": {"type": "string"}}},
        {"default": {"$ref": "#/not/a/reference"}},
        {"$id": "https://example.com/a.json", "items": {"$ref": "a.json#/$defs/b"}, "$defs": {"b": {}}},
        {"$ref": "#b", "$defs": {"b": {"$anchor": "b"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"$ref": "#"}}},
        {"$schema": "https://example.com/unknown", "type": "object"},
        {"properties": {"a": {"$ref": "#"}}},
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_unusual_but_right_is_let_pass(schema: dict[str, Any]) -> None:
    assert schema_of(schema).body == schema
    schema_of(schema).conform({})


@pytest.mark.parametrize("path", ["Ticket", "a/b.py", "a.b:Ticket", "a..b", "", "a.b ", "1.b", "{}"])
def test_what_cannot_be_an_import_path_is_refused_without_importing(path: str) -> None:
    with pytest.raises(XpanderValidationError, match=r"output_schema must be .*package\.module\.Model"):
        check_path(path)


def test_an_import_path_is_imported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answer_models.py").write_text(
        "from pydantic import BaseModel\n"
        "class Ticket(BaseModel):\n    class Part(BaseModel):\n        n: int\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    check_path("answer_models.Ticket")
    assert "answer_models" not in sys.modules
    assert import_schema("answer_models.Ticket.Part").conform({"n": 1}) == {"n": 1}
    del sys.modules["answer_models"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.Model", "nowhere.Model cannot be imported: ModuleNotFoundError"),
        ("json.Model", "json.Model cannot be imported: AttributeError"),
        ("json.dumps", "json.dumps is no pydantic model class, but <function dumps"),
        ("json.JSONDecoder", "output_schema must be a JSON Schema (a dict), a pydantic model class"),
        ("pydantic.BaseModel", "output_schema must be"),
    ],
)
def test_an_import_path_that_gives_no_model_is_refused(path: str, said: str) -> None:
    with pytest.raises(XpanderValidationError) as caught:
        import_schema(path)
    assert said in str(caught.value)
