from __future__ import annotations

import json
from datetime import UTC, datetime

import yaml

from airflow_provider_xpander.cli.output import rendered, rendered_one

ROWS = [
    {"id": "a", "at": datetime(2026, 11, 26, 6, 0, tzinfo=UTC), "result": {"x": 1.5}, "none": None},
    {"id": "bcd", "at": None, "result": "line one\nline two \x1b[31mred", "none": None},
]


def test_a_table() -> None:
    assert rendered(ROWS, "table").splitlines() == [
        "id  | at                  | result                | none",
        "====+=====================+=======================+=====",
        'a   | 2026-11-26 06:00:00 | {"x": 1.5}            |',
        "bcd |                     | line one line two red |",
    ]


def test_a_table_of_nothing() -> None:
    assert rendered([], "table") == "No data found"
    assert json.loads(rendered([], "json")) == []


def test_json_and_yaml_keep_types_and_texts() -> None:
    for read, output in ((json.loads, "json"), (yaml.safe_load, "yaml")):
        first, second = read(rendered(ROWS, output))
        assert first["result"] == {"x": 1.5}
        assert first["at"] == "2026-11-26T06:00:00+00:00"
        assert second["result"] == ROWS[1]["result"]
        assert second["none"] is None


def test_one_record() -> None:
    assert rendered_one({"id": "a", "status": "completed"}, "table").splitlines() == [
        "id     | a",
        "status | completed",
    ]
    assert json.loads(rendered_one(ROWS[0], "json"))["id"] == "a"
