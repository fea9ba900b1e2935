"""Packs: what is asked, how an answer is joined to its rows, and what a bad row costs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from airflow_provider_xpander.bulk.packs import (
    NotAPack,
    Pack,
    Verdict,
    after_answer,
    after_failure,
    judge,
    schema_for,
    text_of,
)
from airflow_provider_xpander.runs.schema import schema_of

WORD = schema_of({"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]})


def answer(*keys: str, **more: Any) -> dict[str, Any]:
    """Return the answer of an honest agent about these keys."""
    return {"rows": [{"key": key, "answer": {"word": key}} for key in keys], **more}


def verdicts(data: Any, count: int = 3) -> list[Verdict]:
    return judge(data, count, WORD.conform)


def test_one_row_is_asked_about_by_itself() -> None:
    assert text_of("Translate.", [{"id": 1, "text": "ü"}]) == 'Translate.\n\n{"id": 1, "text": "ü"}'
    assert text_of("Translate.", ["as a text"]) == "Translate.\n\nas a text"
    assert schema_for(1, WORD.body) == WORD.body


def test_a_pack_is_one_json_document_at_the_end() -> None:
    text = text_of("Translate.", [{"id": 1}, "two"])
    common, document = text.split("\n\n", 1)
    assert common == "Translate."
    assert json.loads(document) == {"rows": [{"key": "r1", "row": {"id": 1}}, {"key": "r2", "row": "two"}]}
    row = {
        "type": "object",
        "properties": {"key": {"type": "string"}, "answer": WORD.body},
        "required": ["key", "answer"],
    }
    assert schema_for(2, WORD.body) == {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": row}},
        "required": ["rows"],
    }


class Part(BaseModel):
    name: str
    parts: list[Part] = []


class Whole(BaseModel):
    part: Part


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(schema_of(Whole).body, id="a model's definitions"),
        pytest.param(schema_of(Part).body, id="a model that refers to itself"),
        pytest.param(
            {"type": "object", "properties": {"part": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}},
            id="refers to its root",
        ),
        pytest.param(
            {"properties": {"name": {"type": "string"}, "part": {"$ref": "#/properties/name"}}},
            id="refers to a part",
        ),
        pytest.param(
            {
                "$id": "urn:x",
                "$defs": {"n": {"type": "string"}},
                "properties": {"name": {"$ref": "#/$defs/n"}},
            },
            id="has an id",
        ),
    ],
)
def test_the_schema_of_a_pack_checks_each_row_as_its_own_does(schema: dict[str, Any]) -> None:
    whole, own = schema_of(schema_for(2, schema)), schema_of(schema)
    rng = random.Random(7)
    kinds = set()
    for _ in range(500):
        data = _anything(rng)
        fits = []
        for check, value in ((own, data), (whole, {"rows": [{"key": "r1", "answer": data}]})):
            try:
                check.conform(value)
                fits.append(True)
            except ValueError:
                fits.append(False)
        assert fits[0] == fits[1], data
        kinds.add(fits[0])
    assert kinds == {True, False}


def _anything(rng: random.Random, depth: int = 0) -> Any:
    if depth > 3 or rng.random() < 0.5:
        return rng.choice(["a", 1, None])
    names = rng.sample(["name", "part", "parts"], rng.randint(1, 3))
    return {
        name: [_anything(rng, depth + 1)] if name == "parts" else _anything(rng, depth + 1) for name in names
    }


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        (answer("r1", "r2", "r3"), [None, None, None]),
        pytest.param(answer("r3", "r1", "r2"), [None, None, None], id="shuffled"),
        pytest.param(answer("r1", "r3"), [None, "leaves the row out", None], id="missing"),
        pytest.param(answer("r1", "r2", "r2", "r3"), [None, "twice", None], id="doubled"),
        pytest.param(answer("r1", "r2", "r3", "r4", "17", ""), [None, None, None], id="foreign besides"),
        pytest.param(answer("r1", "R2", "r3"), [None, "leaves the row out", None], id="changed key"),
        pytest.param(
            {"rows": [{"key": 1, "answer": {"word": "a"}}, *answer("r2", "r3")["rows"]]},
            ["leaves the row out", None, None],
            id="a key that is no text",
        ),
        pytest.param(
            {"rows": [{"key": "r1"}, *answer("r2", "r3")["rows"]]}, ["no answer", None, None], id="no answer"
        ),
        pytest.param(
            {"rows": [{"key": "r1", "answer": {"word": 7}}, *answer("r2", "r3")["rows"]]},
            ["does not match", None, None],
            id="invalid",
        ),
        pytest.param(
            {"rows": [answer("r1"), None, "r2", ["r3"]]}, ["leaves", "leaves", "leaves"], id="nested and odd"
        ),
        pytest.param({"rows": []}, ["leaves", "leaves", "leaves"], id="empty"),
    ],
)
def test_an_answer_is_joined_by_token(data: Any, problems: list[str | None]) -> None:
    found = verdicts(data)
    for number, (verdict, problem) in enumerate(zip(found, problems, strict=True), 1):
        assert (verdict.problem is None) == (problem is None)
        assert (problem or "") in (verdict.problem or "")
        if problem is None:
            assert verdict.answer == {"word": f"r{number}"}


@pytest.mark.parametrize("data", [None, [], "r1", 7, {}, {"rows": {"r1": {}}}, {"answers": []}])
def test_json_of_another_form_is_no_answer_to_a_pack(data: Any) -> None:
    with pytest.raises(NotAPack):
        verdicts(data)


def test_a_million_extra_rows_are_joined_in_one_pass() -> None:
    rows = answer("r1", "r2", "r3")["rows"]
    extra = [{"key": "r9", "answer": {}}] * 1_000_000
    assert [one.problem for one in verdicts({"rows": [*extra, *rows]})] == [None] * 3


def test_rows_that_an_answer_is_no_use_for_are_asked_alone() -> None:
    pack = Pack((4, 5, 6))
    good, bad = Verdict("x"), Verdict(problem="twice")
    assert after_answer(pack, [good, bad, good]) == [Pack((5,), again=True)]
    assert after_answer(pack, [good, good, good]) == []
    # Where no row is any good, it is the pack that failed.
    assert after_answer(pack, [bad, bad, bad]) == [Pack((4, 5, 6), 1, again=True)]
    assert after_answer(Pack((4,), 1), [bad]) == []


def _ask_all(count: int, poisonous: Callable[[tuple[int, ...]], bool]) -> tuple[int, set[int], set[int]]:
    """Ask until nothing is left; return the number of runs, and which rows were answered and failed."""
    todo, runs = [Pack(tuple(range(count)))], 0
    answered: set[int] = set()
    failed: set[int] = set()
    while todo:
        pack = todo.pop(0)
        runs += 1
        if not poisonous(pack.rows):
            assert not answered & set(pack.rows)
            answered |= set(pack.rows)
            continue
        then = after_failure(pack)
        if not then:
            failed |= set(pack.rows)
        assert sorted(row for one in then for row in one.rows) in ([], list(pack.rows))
        todo += then
    return runs, answered, failed


@pytest.mark.parametrize("count", range(1, 101))
def test_one_poisonous_row_costs_itself_only(count: int) -> None:
    for bad in {0, count // 3, count - 1}:
        runs, answered, failed = _ask_all(count, lambda rows, bad=bad: bad in rows)
        assert failed == {bad}
        assert answered == set(range(count)) - failed
        assert runs - 1 <= 3 * math.log2(count) + 2


def test_a_pack_that_fails_once_is_asked_again_as_it_is() -> None:
    runs = iter([True, False])
    assert _ask_all(20, lambda rows: next(runs)) == (2, set(range(20)), set())
