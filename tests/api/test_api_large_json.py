"""The decoder for large bodies gives what the standard library gives, and refuses what that refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_xpander.api import large_json
from airflow_provider_xpander.api.large_json import loads

SOUND = [
    '{"items": [{"id": "t-1", "result": "a \\"quote\\", ] and }"}, {"id": "t-2"}], "total_pages": 2}',
    ' {\n "items" :\t[ 1 , [2, [3]], {"a": {"b": []}} ]\r, "x" : null , "y": {"items": [1]} } \n',
    '{"items": [], "total": 0}',
    '{"items": [  ]}',
    '{"a": 1, "a": [2]}',
    '{"a": -1.5e3, "b": true, "c": "\\ud83d\\ude00 é ü 漢", "d": 123456789012345678901234567890}',
    '{"a": NaN, "b": [Infinity]}',
    "{}",
    "[1, 2]",
    '"text"',
]
BROKEN = [
    '{"items": [1, 2',
    '{"items": [1 2]}',
    '{"items": [1,]}',
    '{"items": [1], }',
    '{"items": [1] "total": 2}',
    '{"items" [1]}',
    '{"items": }',
    '{"items": [1]} {"more": 1}',
    '{"items": [1]]',
    '{"items',
    "{'items': [1]}",
    "",
    "<html></html>",
]


@pytest.mark.parametrize("size", [1, 3, 1 << 20], ids=["slices of 1", "of 3", "of 1 MiB"])
@pytest.mark.parametrize("text", SOUND)
def test_what_is_json_is_read_as_the_standard_library_does(
    text: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_json, "SLICE", size)
    assert repr(loads(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_encodings_of_json_are_read_too(encoding: str) -> None:
    assert loads('{"items": ["ü"]}'.encode(encoding)) == {"items": ["ü"]}


@pytest.mark.parametrize("body", [*(text.encode() for text in BROKEN), b'{"a": "\xff"}'])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        json.loads(body)
    with pytest.raises(ValueError, match="."):
        loads(body)


def test_only_what_is_kept_of_an_item_is_kept() -> None:
    def keep(item: Any) -> Any:
        return item["id"]

    body = b'{"items": [{"id": 1, "result": "long"}, {"id": 2}], "other": {"items": [3]}}'
    assert loads(body, keep) == {"items": [1, 2], "other": {"items": [3]}}
