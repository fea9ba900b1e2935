"""Rows: one JSON form of each type, and keys that are there, not null and unique."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_xpander.bulk.rows import (
    RESERVED,
    BulkInputError,
    Row,
    RowCheck,
    json_line,
    json_value,
    key_columns,
    key_text,
)


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (2**70, 2**70),
        (1.5, 1.5),
        ("", ""),
        ("a\x00b", "a\x00b"),
        ("é\x85\u2028\u2029\r\n\x0b\x1c\U0001f600", "é\x85\u2028\u2029\r\n\x0b\x1c\U0001f600"),
        ("lone \ud800", "lone \ufffd"),
        (Text("sub"), "sub"),
        (float("nan"), None),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (Decimal("12.30"), "12.30"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0.000001"), "-0.000001"),
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        (Decimal("-Infinity"), "-Infinity"),
        (date(2026, 11, 26), "2026-11-26"),
        (time(9, 30), "09:30:00"),
        (datetime(2026, 11, 26, 9, 30), "2026-11-26T09:30:00"),
        (datetime(2026, 11, 26, 9, 30, 0, 5, UTC), "2026-11-26T09:30:00.000005+00:00"),
        (
            datetime(2026, 11, 26, 9, 30, tzinfo=timezone(timedelta(hours=2))),
            "2026-11-26T09:30:00+02:00",
        ),
        (timedelta(hours=1), 3600),
        (timedelta(milliseconds=1500), 1.5),
        (b"\x00\xff", "AP8="),
        (bytearray(b"a"), "YQ=="),
        (memoryview(b"a"), "YQ=="),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ((1, [date(2026, 1, 1)]), [1, ["2026-01-01"]]),
        (OrderedDict(a=Decimal(1)), {"a": "1"}),
    ],
)
def test_each_type_has_one_json_form_that_a_file_gives_back(value: Any, expected: Any) -> None:
    form = json_value(value)
    assert form == expected
    assert type(form) is type(expected)
    line = json_line(form)
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1
    assert json_value(json.loads(line)) == form


def test_a_line_can_be_made_of_whatever_an_answer_has() -> None:
    line = json_line({"a": ["lone \ud800", float("nan"), float("inf")], "b": {"\udfff": 2**70}})
    assert json.loads(line) == {"a": ["lone \ufffd", None, "Infinity"], "b": {"\ufffd": 2**70}}


@pytest.mark.parametrize("value", [object(), {1, 2}, {1: "a"}, 1j, [{"a": {2: 3}}]])
def test_what_has_no_json_form_is_refused_with_its_place_and_column(value: Any) -> None:
    with pytest.raises(BulkInputError, match=r"row 7 of the query, column 'x': .*CAST"):
        RowCheck(["id"]).row({"id": 1, "x": value}, "row 7 of the query")


def test_nesting_without_end_is_refused() -> None:
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(BulkInputError, match="column 'x': it is nested too deeply"):
        RowCheck(["id"]).row({"id": 1, "x": deep}, "row 1")


KEYS: list[Any] = [
    1, "1", True, "true", "", " ", 0, False, 1.5, "1.5", -1, 2**64, [1], ["1"], {"a": 1}, {"a": "1"}, "[1]",
    "é", "e\u0301",
]  # fmt: skip


def test_keys_are_compared_as_json_values() -> None:
    assert len({key_text([key]) for key in KEYS}) == len(KEYS)
    assert key_text(["a", "b"]) != key_text(["a,b"]) != key_text(['a","b'])
    assert key_text([1.0]) == key_text([1])
    assert key_text([-0.0]) == key_text([0])
    assert key_text([{"a": 1, "b": 2.0}]) == key_text([{"b": 2, "a": 1}])


def test_a_row_has_its_key_in_the_order_of_its_columns() -> None:
    row = RowCheck(["day", "id"]).row({"id": 17, "day": date(2026, 1, 2), "text": "hello"}, "row 1")
    assert row == Row(("2026-01-02", 17), {"id": 17, "day": "2026-01-02", "text": "hello"})
    assert row.key_text == '["2026-01-02",17]'


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"ID": 1, "b": 2}, r"line 3 of a\.csv has no column 'id', which key names; it has: ID, b$"),
        ({}, r"line 3 of a\.csv has no column 'id', which key names; it has: none$"),
        ({"id": None}, r"line 3 of a\.csv: the key column 'id' is null"),
        ({"id": float("nan")}, r"line 3 of a\.csv: the key column 'id' is null"),
        ({"id": "x"}, r'line 3 of a\.csv repeats the key \["x"\] of the column id'),
    ],
)
def test_a_key_that_is_missing_null_or_repeated_is_refused_with_its_place(raw: Any, message: str) -> None:
    check = RowCheck(["id"])
    check.row({"id": "x"}, "line 2 of a.csv")
    with pytest.raises(BulkInputError, match=message):
        check.row(raw, "line 3 of a.csv")


def test_a_key_of_several_columns_may_repeat_in_one_of_them() -> None:
    check = RowCheck(["day", "id"])
    check.row({"day": 1, "id": 1}, "row 1")
    check.row({"day": 1, "id": 2}, "row 2")
    with pytest.raises(BulkInputError, match=r"row 3 repeats the key \[1,2\] of day, id"):
        check.row({"day": 1.0, "id": 2}, "row 3")


def test_repeated_keys_are_found_among_many_in_little_memory() -> None:
    numbers = random.Random(13)
    keys = numbers.sample(range(10**9), 50_000)
    check = RowCheck(["id"])
    tracemalloc.start()
    for key in keys:
        check.row({"id": key}, "a row")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / len(keys) < 30
    for key in numbers.sample(keys, 1000):
        with pytest.raises(BulkInputError, match="repeats"):
            check.row({"id": key}, "a row")


@pytest.mark.parametrize("name", RESERVED)
def test_a_key_column_cannot_have_a_name_that_results_use(name: str) -> None:
    with pytest.raises(BulkInputError, match=f"cannot be called '{name}'"):
        key_columns(["id", name])


@pytest.mark.parametrize("key", ["", [], ["id", "id"], ["id", ""], [1]])
def test_the_key_names_columns(key: Any) -> None:
    with pytest.raises(BulkInputError, match="^key "):
        key_columns(key)


def test_a_key_is_one_name_or_several() -> None:
    assert key_columns("id") == ("id",)
    assert key_columns(["day", "id"]) == ("day", "id")


def test_the_error_is_a_value_error() -> None:
    assert issubclass(BulkInputError, ValueError)
