"""Files of results and failed rows: what is in them, in each form, and that they are sources again."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from airflow_provider_xpander.bulk import results
from airflow_provider_xpander.bulk.answers import Answered, Failed, answer_columns
from airflow_provider_xpander.bulk.results import ResultFiles
from airflow_provider_xpander.bulk.rows import BulkInputError
from airflow_provider_xpander.bulk.sources import read_rows

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "score": {"type": "number"},
        "count": {"type": ["integer", "null"]},
        "good": {"type": "boolean"},
        "tags": {"type": "array"},
        "mixed": {"type": ["string", "integer"]},
    },
}
HOSTILE = 'a,"b"\nü\x00\ud800=1+1'
RECORDS = [
    Answered(
        (1, "x"),
        {
            "label": HOSTILE,
            "score": 1,
            "count": 2.0,
            "good": True,
            "tags": ["t"],
            "mixed": 3,
            "more": "of the agent's own",
        },
        "answered",
        "run-1",
    ),
    Answered((2, "y"), {"label": "", "count": None, "mixed": "3"}, "cached", "run-0"),
]
CLEAN = HOSTILE.replace("\ud800", "\ufffd")


def files(folder: Path, form: str) -> ResultFiles:
    key = ("id", "part")
    return ResultFiles(f"file://{folder}/out/", key=key, columns=answer_columns(SCHEMA, key), form=form)


def test_json_lines_have_the_key_the_answer_its_status_and_its_run(tmp_path: Path) -> None:
    url = files(tmp_path, "jsonl").write_results("00001", RECORDS)
    assert url == f"file://{tmp_path}/out/results/part-00001.jsonl"
    first, second = map(json.loads, (tmp_path / "out/results/part-00001.jsonl").read_text().splitlines())
    assert first == {
        "id": 1,
        "part": "x",
        "answer": {**RECORDS[0].answer, "label": CLEAN},
        "status": "answered",
        "xpander_task_id": "run-1",
    }
    assert list(first) == ["id", "part", "answer", "status", "xpander_task_id"]
    assert second["status"] == "cached"


def test_csv_has_a_column_for_each_property(tmp_path: Path) -> None:
    files(tmp_path, "csv").write_results("1", RECORDS)
    with (tmp_path / "out/results/part-1.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["id", "part", "label", "score", "count", "good", "tags", "mixed", "status", "xpander_task_id"],
            ["1", "x", CLEAN, "1", "2", "true", '["t"]', "3", "answered", "run-1"],
            ["2", "y", "", "", "", "", "", "3", "cached", "run-0"],
        ]


def test_parquet_has_the_types_of_the_schema(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = files(tmp_path, "parquet")
    out.write_results("1", RECORDS)
    out.write_results("2", RECORDS[1:])
    table = parquet.read_table(tmp_path / "out/results/part-1.parquet")
    assert table.to_pylist() == [
        {"id": 1, "part": "x", "label": CLEAN, "score": 1.0, "count": 2, "good": True, "tags": '["t"]',
         "mixed": "3", "status": "answered", "xpander_task_id": "run-1"},
        {"id": 2, "part": "y", "label": "", "score": None, "count": None, "good": None, "tags": None,
         "mixed": "3", "status": "cached", "xpander_task_id": "run-0"},
    ]  # fmt: skip
    # All parts have the same columns, whatever is null in them.
    assert table.schema == parquet.read_table(tmp_path / "out/results/part-2.parquet").schema
    assert parquet.read_table(tmp_path / "out/results").num_rows == 3


@pytest.mark.parametrize("value", [2**63, -(2**70), 1e300])
def test_an_integer_that_parquet_cannot_hold_is_null_and_loses_nothing_else(
    value: Any, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    record = Answered((1, "x"), {"label": "kept", "count": value, "score": 10**400}, "answered", "run-1")
    files(tmp_path, "parquet").write_results("1", [record])
    (row,) = parquet.read_table(tmp_path / "out/results").to_pylist()
    assert (row["label"], row["count"], row["score"]) == ("kept", None, None)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([1, 2], [1, 2]),
        ([1.5, 2.5], [1.5, 2.5]),
        ([True, False], [True, False]),
        ([1, "1"], ["1", "1"]),
        ([{"a": 1}, "x"], ['{"a": 1}', "x"]),
        ([1, 2**64], ["1", str(2**64)]),
    ],
)
def test_a_key_in_parquet_has_the_type_of_its_values(
    keys: list[Any], expected: list[Any], tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = ResultFiles(str(tmp_path), key=("id",), columns={"label": "text"}, form="parquet")
    out.write_results("1", [Answered((key,), {"label": "x"}, "answered", "run") for key in keys])
    assert [row["id"] for row in parquet.read_table(tmp_path / "results").to_pylist()] == expected


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_part_that_is_written_again_is_the_same_and_leaves_nothing_beside_it(
    form: str, tmp_path: Path
) -> None:
    out = files(tmp_path, form)
    out.write_results("1", RECORDS)
    written = (tmp_path / f"out/results/part-1.{form}").read_bytes()
    out.write_results("1", RECORDS)
    assert [path.name for path in (tmp_path / "out/results").iterdir()] == [f"part-1.{form}"]
    assert (tmp_path / f"out/results/part-1.{form}").read_bytes() == written


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_part_without_records_can_be_read(form: str, tmp_path: Path) -> None:
    out = files(tmp_path, form)
    out.write_results("1", [])
    assert list(read_rows(out.results_url, key=("id",))) == []


def test_failed_rows_are_a_source_again(tmp_path: Path) -> None:
    out = files(tmp_path, "jsonl")
    row = {"id": 1, "part": "x", "text": HOSTILE, "none": None}
    out.write_failed("00001", [Failed((1, "x"), row, "the answer is no JSON", "run-1")])
    out.write_failed("00002", [Failed((2, "x"), {"id": 2, "part": "x"}, "never asked", None)])
    line = json.loads((tmp_path / "out/failed/part-00001.jsonl").read_text())
    assert list(line) == ["id", "part", "row", "reason", "xpander_task_id"]
    again = list(read_rows(out.failed_url, key=("id", "part")))
    assert [each.key for each in again] == [(1, "x"), (2, "x")]
    assert again[0].values == {**row, "text": CLEAN}


class Inner(BaseModel):
    name: str


class Answer(BaseModel):
    label: Literal["a", "b"]
    score: float | None = None
    count: int
    inner: Inner
    choice: int | str
    flags: list[bool]


def test_the_columns_of_a_model_are_known_through_its_references() -> None:
    assert answer_columns(Answer.model_json_schema(), ("id",)) == {
        "label": "text",
        "score": "number",
        "count": "integer",
        "inner": "text",
        "choice": "text",
        "flags": "text",
    }


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {
        "properties": {
            "a": {"$ref": "#/properties/a"},
            "b": {"anyOf": [{"$ref": "#/properties/b"}]},
            "c": True,
        }
    }
    assert answer_columns(schema, ("id",)) == {"a": "text", "b": "text", "c": "text"}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "object"}, "output_schema must name properties"),
        ({"properties": {"id": {}}}, "the answer's 'id' would be a second column"),
        ({"properties": {"status": {}, "x": {}}}, "the answer's 'status' would be a second column"),
    ],
)
def test_columns_that_cannot_be_are_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(BulkInputError, match=message):
        answer_columns(schema, ("id",))


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "find_spec", lambda name: None)
    with pytest.raises(BulkInputError, match=r"pip install 'airflow-provider-xpander\[parquet\]'"):
        files(tmp_path, "parquet")
    assert files(tmp_path, "csv")


def test_importing_the_parts_loads_no_optional_library() -> None:
    code = (
        "import sys; from airflow_provider_xpander.bulk import databases, results, row_input, sources; "
        "print([name for name in sys.modules if name.startswith(('pyarrow', 'airflow.providers.common'))])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.splitlines()[-1:] == ["[]"], ran.stderr
