"""JSON is read in all forms in which models give it, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.runs.json_text import parse_json

A = {"a": 1}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        pytest.param('{"a": 1}', A, id="as it stands"),
        pytest.param(" [1, 2]\n", [1, 2], id="blanks around it"),
        pytest.param('"text"', "text", id="a text"),
        pytest.param("7", 7, id="a number"),
        pytest.param("null", None, id="null"),
        pytest.param('\ufeff{"a": 1}', A, id="a BOM"),
        pytest.param('\u00a0\u200b{"a": 1}\u00a0', A, id="blanks that JSON does not know"),
        # In a fence.
        pytest.param('```json\n{"a": 1}\n```', A, id="fence"),
        pytest.param('```\n{"a": 1}\n```', A, id="fence without a language"),
        pytest.param('\n```JSON\r\n{"a": 1}\r\n```\n', A, id="capitals and CR"),
        pytest.param('\ufeff```json\n{"a": 1}\n```', A, id="a BOM before a fence"),
        pytest.param('````json\n{"a": 1}\n````', A, id="four backticks"),
        pytest.param('````\n```json\n{"a": 1}\n```\n````', A, id="a fence in a longer one"),
        pytest.param('~~~json\n{"a": 1}\n~~~', A, id="tildes"),
        pytest.param('```json title="answer.json"\n{"a": 1}\n```', A, id="info string"),
        pytest.param('``` json\n{"a": 1}\n```', A, id="a blank before the language"),
        pytest.param('```json {"a": 1}```', A, id="one line"),
        pytest.param('```{"a": 1}```', A, id="one line without a language"),
        pytest.param("~~~json [1]~~~", [1], id="one line of tildes"),
        pytest.param('```json {"a":\n1}\n```', A, id="data in the first line of a fence"),
        pytest.param('```json\n{"a": 1}```', A, id="the end in the last line of data"),
        pytest.param('```json\n{"a": 1}', A, id="no end"),
        pytest.param('```json\n{"a": "```"}\n```', {"a": "```"}, id="backticks in the data"),
        pytest.param('```json\n// the answer\n{"a": 1}\n```', A, id="a comment in a fence"),
        pytest.param("```json\n[1, 2]\n```", [1, 2], id="a list of plain values in a fence"),
        # A fence in prose.
        pytest.param('Look:\n\n```json\n{"a": 1}\n```\n\nDoes it help?', A, id="prose around a fence"),
        pytest.param('1. So:\n   ```json\n   {"a": 1}\n   ```', A, id="a fence in a list"),
        pytest.param('```json\n{"a": 1}```\nDoes it help?', A, id="prose right behind a fence"),
        pytest.param(
            'I ran\n```sql\nselect \'{"b": 2}\'\n```\nand got\n```json\n{"a": 1}\n```', A, id="other code"
        ),
        # The only fence, and other JSON in the prose around it.
        pytest.param('I got {"b": 2}, so:\n```json\n{"a": 1}\n```', A, id="an object before the fence"),
        pytest.param('From ["x"] and {} I take:\n```json\n{"a": 1}\n```\nFine?', A, id="several before it"),
        pytest.param('As {"a": ...} asks:\n```json\n{"a": 1}\n```', A, id="broken JSON before the fence"),
        pytest.param('```json\n{"a": 1}\n```\nThat is `{"a":1}`.', A, id="the same again behind the fence"),
        pytest.param('```sql\nselect 1\n```\n{"c": 3}\n```json\n{"a": 1}\n```', A, id="and other code"),
        # An object in prose.
        pytest.param('Here you are: {"a": 1} Does it help?', A, id="prose around an object"),
        pytest.param('{"a": 1} and more', A, id="prose behind an object"),
        pytest.param('**Answer**: `{"a": 1}`', A, id="inline code"),
        pytest.param('As [1] and [docs](https://x.example) say of {name}: {"a": 1}', A, id="other brackets"),
        pytest.param('So it is [{"a": 1}], then.', [A], id="a list of objects in prose"),
        pytest.param('The tags are ["a", "b"].', ["a", "b"], id="a list in prose"),
        # Reasoning before it.
        pytest.param('<think>Hm, {"b": 2}?</think>\n{"a": 1}', A, id="reasoning"),
        pytest.param('<think>a</think><think>b</think>```json\n{"a": 1}\n```', A, id="reasoning twice"),
        pytest.param('Hm, {"b": 2} or {"c": 3}?</think>{"a": 1}', A, id="reasoning without its beginning"),
        pytest.param('<think>Hm, {"b": </think>{"a": 1}', A, id="broken JSON in reasoning"),
        pytest.param("<thinking>Hm</thinking>7", 7, id="reasoning by another name"),
        pytest.param('{"a": "</think>"}', {"a": "</think>"}, id="a tag in the data"),
        pytest.param('<think>Hm</think>{"a": "</think>"}', {"a": "</think>"}, id="a tag before and in it"),
        pytest.param(
            'Hm</think>\n```json\n{"a": "</think>b"}\n```', {"a": "</think>b"}, id="and a fence around it"
        ),
        pytest.param('So: {"a": "</think>"}', {"a": "</think>"}, id="prose, and a tag in the data"),
    ],
)  # fmt: skip
def test_json_is_found_in_what_models_put_around_it(text: str, data: Any) -> None:
    assert parse_json(text) == data


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a": 1}\n{"a": 2}', id="two objects"),
        pytest.param('Either {"a": 1} or {"a": 2}.', id="two objects in prose"),
        pytest.param('```json\n{"a": 1}\n```\nor\n```json\n{"a": 2}\n```', id="two fences"),
        pytest.param('For example\n```json\n{"a": 1}\n```\nI say {"b": 2}', id="an object behind the fence"),
        pytest.param('```json\n{"a": 1}\n```\nI say {"a": true}', id="nearly the same behind the fence"),
        pytest.param('{"c": 3}\n```json\n{"a": 1}\n```\nor\n```json\n{"a": 2}\n```', id="fences and prose"),
        pytest.param('{"a": 1}\n{"a": 1}', id="two rows that are equal"),
        pytest.param('```json\n{"a": 1}\n{"a": 2}\n```', id="two objects in a fence"),
    ],
)
def test_of_two_candidates_none_is_chosen(text: str) -> None:
    with pytest.raises(ValueError, match="more than one JSON value"):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "no",
        "{",
        "NaN",
        '{"a": Infinity}',
        "[-Infinity]",
        'It is {"a": NaN}',
        "{'a': 1}",
        "```json\nno\n```",
        '```json\n{"a": 1,}\n```',
        "It is 7",
        "It is [7], as [8] says",
        '```python\nprint({"a": 1})\n```',
        '<think>Hm, {"a": 1}',
        '```json\n{"a": 1}\n```\nor {"a": oops}',
        # Never a part of what is broken.
        '{"b": {"a": 1}, oops}',
        '[{"a": 1}, oops]',
        "{'b': {\"a\": 1}}",
        '{b: {"a": 1}}',
        'It is {"b": {"a": 1} and that is all, {"a": 1}',
    ],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


MANY = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "```\n" + " " * 2_000_000,
        "```json\n" + "\n``` " * 4 * MANY,
        "```json\n" * 2 * MANY,
        "``` " + " " * 2_000_000 + "`",
        "~" * 2_000_000 + "\n~",
        "</think>" * 4 * MANY,
        "<think>" * 4 * MANY,
        "\x1b[" * 1_000_000,
        "{" * MANY,
        "[" * MANY,
        "[{" * MANY,
        "{x}" * MANY,
        "{ " + " " * 2_000_000,
        "[1 x]" * MANY,
        '{"' * MANY,
        '{"a": ' * MANY,
        '{"</think>' * MANY,
        '["]["][", ' * MANY,
        '["</think>[",' * MANY,
        "[1] " * MANY,
        "\n" * 1_000_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
@pytest.mark.timeout(20)
def test_a_hostile_text_is_refused_in_no_time(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_json(text)
