"""Records of rows that were answered or failed, and the columns that an answer makes in files and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_xpander.bulk.rows import BulkInputError, JsonValue

ColumnType = Literal["text", "integer", "number", "boolean"]
OWN_COLUMNS = ("status", "xpander_task_id")
"""What results have besides the key and the answer."""

_TYPES: dict[Any, ColumnType] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """
    A row that has its answer.

    :param key: the values of its key columns.
    :param answer: the answer, an object.
    :param status: ``answered``, or ``cached`` if the answer was paid for earlier.
    :param xpander_task_id: the run that gave it.
    """

    key: tuple[JsonValue, ...]
    answer: dict[str, JsonValue]
    status: Literal["answered", "cached"]
    xpander_task_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """
    A row that has none.

    :param key: the values of its key columns.
    :param row: its columns, as far as they were sent, and its key.
    :param reason: why, in one line.
    :param xpander_task_id: the last run that was asked about it, None if there was none.
    """

    key: tuple[JsonValue, ...]
    row: dict[str, JsonValue]
    reason: str
    xpander_task_id: str | None


def answer_columns(schema: Mapping[str, Any], key: Sequence[str]) -> dict[str, ColumnType]:
    """
    Return the columns that an answer makes where there are columns, each with its type.

    What is nested, or may be of several types, is a text: a text as it is, all else as JSON.

    :param schema: the JSON Schema of the answer, an object.
    :param key: names of the key columns.
    :raises BulkInputError: it names no properties, or one that is called like a column that is there already.
    """
    properties = _resolved(schema, schema).get("properties")
    if not isinstance(properties, Mapping) or not properties:
        raise BulkInputError(
            "output_schema must name properties, for columns to be made of them; result_format='jsonl' "
            "without write_table needs none"
        )
    taken = [name for name in properties if name in (*key, *OWN_COLUMNS)]
    if taken:
        raise BulkInputError(
            f"output_schema: the answer's {', '.join(map(repr, taken))} would be a second column of that "
            f"name: results have the key ({', '.join(key)}), {' and '.join(OWN_COLUMNS)}. Name it otherwise, "
            f"or use result_format='jsonl' without write_table"
        )
    return {name: _type_of(part, schema) for name, part in properties.items()}


def column_values(record: Answered, columns: Mapping[str, ColumnType]) -> list[JsonValue]:
    """
    Return the values of a record column by column: its answer's, its status and its run.

    :param record: the record.
    :param columns: of the answer, with their types.
    """
    values = [_fit(record.answer.get(name), kind) for name, kind in columns.items()]
    return [*values, record.status, record.xpander_task_id]


def as_cell(value: JsonValue) -> str | int | float | bool | None:
    """
    Return a value for a place that knows no lists and objects: those as JSON text.

    :param value: JSON data.
    """
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _fit(value: JsonValue, kind: ColumnType) -> JsonValue:
    """Return a value of the type of its column; one that has another type is left as it is."""
    if kind == "text" and value is not None and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return as_cell(value)


def _type_of(part: Any, schema: Mapping[str, Any], depth: int = 10) -> ColumnType:
    kinds = set(_kinds(part, schema, depth))
    return kinds.pop() if len(kinds) == 1 else "text"


def _kinds(part: Any, schema: Mapping[str, Any], depth: int) -> list[ColumnType]:
    """Give the types that a schema allows, without null; text for what is none of a column."""
    part = _resolved(part, schema)
    choices = part.get("anyOf") or part.get("oneOf")
    if isinstance(choices, list) and depth:
        return [kind for choice in choices for kind in _kinds(choice, schema, depth - 1)]
    kinds = part.get("type")
    named = kinds if isinstance(kinds, list) else [kinds]
    return [_TYPES.get(kind, "text") for kind in named if kind != "null"]


def _resolved(part: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references within the schema, of which pydantic makes many."""
    for _ in range(10):
        reference = part.get("$ref") if isinstance(part, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        part = schema
        for step in reference[2:].split("/"):
            part = part.get(step, {}) if isinstance(part, Mapping) else {}
    return part if isinstance(part, Mapping) else {}
