"""The part of a row that is sent: columns as JSON, or a template in a sandbox."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_xpander.bulk.row_input import RowInput
from airflow_provider_xpander.bulk.rows import BulkInputError, Row

ROW = Row(
    (17,),
    {
        "id": 17,
        "text": "äh {{ params.secret }}",
        "none": None,
        "tags": ["a"],
        "ok": True,
        "items": "a column",
    },
)


def test_by_default_all_columns_are_sent_as_json() -> None:
    assert RowInput().sent(ROW) == ROW.values
    assert json.loads(RowInput().text(ROW)) == ROW.values
    assert "äh" in RowInput().text(ROW)


def test_excluded_columns_are_neither_sent_nor_kept_but_for_the_key() -> None:
    row_input = RowInput(exclude_columns=["id", "text", "none", "unknown"])
    assert row_input.sent(ROW) == {"tags": ["a"], "ok": True, "items": "a column"}
    assert row_input.kept(ROW, ["id"]) == {"id": 17, "tags": ["a"], "ok": True, "items": "a column"}
    assert RowInput("x").kept(ROW, ["id"]) == ROW.values


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ row.id }}: {{ row['tags'][0] }}\n", "17: a\n"),
        ("{{ row.none }}|{{ row.ok }}|{{ row.tags }}", '|true|["a"]'),
        ("{{ row.items }}", "a column"),
        ("{% for name in row.keys() %}{{ name }} {% endfor %}", "id text none tags ok items "),
        ("{{ row.get('gone', 'none') }}", "none"),
        ("{{ row | tojson }}", json.dumps(ROW.values, ensure_ascii=False)),
        ("{{ '<&>' | tojson }}", '"<&>"'),
        ("{{ params.language }}", "de"),
        ("{{ row.text }}", "äh {{ params.secret }}"),
        ("no template", "no template"),
        ("", ""),
    ],
)
def test_a_template_sees_the_row_and_params(template: str, text: str) -> None:
    row_input = RowInput(template, params={"language": "de", "secret": "shown to templates only"})
    assert row_input.sent(ROW) == text
    assert row_input.text(ROW) == text


@pytest.mark.parametrize("name", ["ds", "var", "conn", "ti", "dag_run", "macros", "context"])
def test_a_template_that_asks_for_more_is_refused_before_any_row(name: str) -> None:
    with pytest.raises(BulkInputError, match=f"row_input sees row and params only, not {name}"):
        RowInput(f"{{{{ row.id }}}} {{{{ {name}.x }}}}")


@pytest.mark.parametrize(
    "template", ["{{ row.id", "{% if %}", "{{ row.id | nofilter }}", "{% include 'x' %}{%"]
)
def test_a_broken_template_is_refused_before_any_row(template: str) -> None:
    with pytest.raises(BulkInputError, match="^row_input"):
        RowInput(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ row.__class__.__mro__ }}",
        "{{ row.text.__class__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ row.update({'id': 1}) }}",
        "{{ row.tags.append(1) }}",
        "{{ lipsum.__globals__ }}",
        "{{ row['text'].format_map(row) }}{{ '{0.__class__}'.format(row) }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox_or_change_the_row(template: str) -> None:
    before = json.dumps(ROW.values)
    with pytest.raises(BulkInputError, match=r"row_input: the row with the key \[17\]"):
        RowInput(template).sent(ROW)
    assert json.dumps(ROW.values) == before


@pytest.mark.parametrize("template", ["{{ row.gone }}", "{{ row.id / 0 }}", "{{ row.id + row.text }}"])
def test_a_template_that_fails_names_the_row(template: str) -> None:
    with pytest.raises(BulkInputError, match=r"row_input: the row with the key \[17\]: \w+Error"):
        RowInput(template).sent(ROW)


def test_excluded_columns_are_not_seen_by_the_template() -> None:
    with pytest.raises(BulkInputError, match="UndefinedError"):
        RowInput("{{ row.text }}", exclude_columns=["text"]).sent(ROW)


def test_data_cannot_pose_as_a_template() -> None:
    hostile: dict[str, Any] = {"id": 1, "text": "{{ row.id }}{% raw %}", "{{ row.id }}": 1}
    assert RowInput("{{ row.text }}").sent(Row((1,), hostile)) == "{{ row.id }}{% raw %}"
