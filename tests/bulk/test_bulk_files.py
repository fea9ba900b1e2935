"""Rows out of files: each form, types that survive, and hostile files, told with their line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_xpander.bulk import files
from airflow_provider_xpander.bulk.rows import BulkInputError, json_line
from airflow_provider_xpander.bulk.sources import read_rows

try:
    from airflow.sdk.io import attach
except ImportError:  # Airflow 2
    from airflow.io.store import attach

Rows = list[dict[str, Any]]
BOM = "\ufeff".encode()


def read(url: Any, key: tuple[str, ...] = ("id",)) -> Rows:
    return [row.values for row in read_rows(str(url), key=key)]


def as_csv(rows: Rows) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_jsonl(rows: Rows) -> bytes:
    return b"".join(map(json_line, rows))


def as_parquet(rows: Rows) -> bytes:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink, row_group_size=3)
    return sink.getvalue()


FORMS = pytest.mark.parametrize(
    ("ending", "write"), [("csv", as_csv), ("jsonl", as_jsonl), ("parquet", as_parquet)]
)
ZIPPED = pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])


def put(folder: Path, name: str, content: bytes) -> str:
    zipped = gzip.compress(content) if name.endswith(".gz") else content
    (folder / name).write_bytes(zipped)
    return f"file://{folder}/{name}"


@ZIPPED
@FORMS
def test_any_text_comes_back_from_each_form(
    ending: str, write: Callable[[Rows], bytes], zipped: bool, tmp_path: Path
) -> None:
    numbers = random.Random(13)
    letters = "a1 ,;\"'\n\r\t\\\ufeff\u2028é\U0001f600{}%[]"
    rows = [
        {"id": f"k{number}", "text": "".join(numbers.choices(letters, k=numbers.randrange(40)))}
        for number in range(50)
    ]
    url = put(tmp_path, f"rows.{ending}{'.gz' if zipped else ''}", write(rows))
    assert read(url) == rows
    assert read(url.removeprefix("file://")) == rows


def test_types_survive_in_their_json_form(tmp_path: Path) -> None:
    row = {
        "id": 17,
        "day": date(2026, 11, 26),
        "at": datetime(2026, 11, 26, 9, 30, tzinfo=UTC),
        "clock": time(9, 30),
        "price": Decimal("12.30"),
        "blob": b"\x00\xff",
        "none": None,
        "tags": ["a", None],
        "inner": {"x": 1.5},
    }
    expected = {
        "id": 17,
        "day": "2026-11-26",
        "at": "2026-11-26T09:30:00+00:00",
        "clock": "09:30:00",
        "price": "12.30",
        "blob": "AP8=",
        "none": None,
        "tags": ["a", None],
        "inner": {"x": 1.5},
    }
    assert read(put(tmp_path, "rows.parquet", as_parquet([row]))) == [expected]
    assert read(put(tmp_path, "rows.jsonl", as_jsonl([expected]))) == [expected]


def test_nanoseconds_of_parquet_are_cut(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = arrow.table(
        {
            "id": [1],
            "at": arrow.array([1_700_000_000_123_456_789], arrow.timestamp("ns", tz="UTC")),
            "clock": arrow.array([1_001], arrow.time64("ns")),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == [
        {"id": 1, "at": "2023-11-14T22:13:20.123456+00:00", "clock": "00:00:00.000001"}
    ]


def test_csv_gives_texts_and_an_empty_one_is_a_key(tmp_path: Path) -> None:
    assert read(put(tmp_path, "rows.csv", b"id,n\r\n1,\r\n,2\r\n")) == [
        {"id": "1", "n": ""},
        {"id": "", "n": "2"},
    ]


def test_json_lines_keep_numbers_and_nulls(tmp_path: Path) -> None:
    content = b'{"id": 1, "n": NaN, "m": null}\n\n  {"id": "1", "n": -Infinity, "big": 123456789012345678901}'
    assert read(put(tmp_path, "rows.jsonl", content)) == [
        {"id": 1, "n": None, "m": None},
        {"id": "1", "n": "-Infinity", "big": 123456789012345678901},
    ]


@ZIPPED
@pytest.mark.parametrize(
    ("name", "content"), [("rows.csv", b"id,a\r\n1,2\r\n"), ("rows.jsonl", b'{"id": "1", "a": "2"}\n')]
)
def test_a_bom_is_taken_off(name: str, content: bytes, zipped: bool, tmp_path: Path) -> None:
    url = put(tmp_path, name + (".gz" if zipped else ""), BOM + content)
    assert read(url) == [{"id": "1", "a": "2"}]


def test_json_lines_that_were_put_together_have_a_bom_in_the_middle(tmp_path: Path) -> None:
    content = BOM + b'{"id": 1}\n' + BOM + b'{"id": 2}\n'
    assert read(put(tmp_path, "rows.jsonl", content)) == [{"id": 1}, {"id": 2}]


def test_a_glob_takes_all_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    put(tmp_path, "b.csv", b"id\n2\n")
    put(tmp_path, "a.jsonl.gz", b'{"id": 1}\n')
    put(tmp_path, "c.csv", b"other,id\nx,3\n")
    put(tmp_path, "note.txt", b"")
    assert read(tmp_path / "[abc].*") == [{"id": 1}, {"id": "2"}, {"other": "x", "id": "3"}]


def test_a_key_that_repeats_in_another_file_is_found(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id\n1\n")
    put(tmp_path, "b.csv", b"id\n2\n1\n")
    with pytest.raises(BulkInputError, match=r'line 3 of .*b\.csv repeats the key \["1"\]'):
        read(tmp_path / "*.csv")


def test_a_store_is_read_like_a_folder() -> None:
    memory = MemoryFileSystem()
    attach("memory", fs=memory)
    memory.pipe_file("/tickets/part-1.jsonl", b'{"id": 1}\n')
    try:
        assert read("memory://tickets/*.jsonl") == [{"id": 1}]
    finally:
        memory.rm("/tickets", recursive=True)


def test_a_file_of_failed_rows_is_a_source_as_it_is(tmp_path: Path) -> None:
    failed = {
        "day": "d",
        "id": 1,
        "row": {"id": 1, "text": "a"},
        "reason": "invalid",
        "xpander_task_id": None,
    }
    plain = {"day": "d", "id": 2, "row": {"id": 9}, "reason": "a column of one's own"}
    url = put(tmp_path, "rows.jsonl", as_jsonl([failed, plain]))
    assert read(url, ("day", "id")) == [{"id": 1, "text": "a", "day": "d"}, plain]


@pytest.mark.parametrize("content", [b"", b"\n\n", BOM])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.csv.gz"])
def test_no_rows_are_fine(name: str, content: bytes, tmp_path: Path) -> None:
    assert read(put(tmp_path, name, content)) == []


def test_a_header_alone_and_an_empty_table_are_no_rows(tmp_path: Path) -> None:
    assert read(put(tmp_path, "rows.csv", b"id,a\n")) == []
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow.table({"id": arrow.array([], arrow.int64())}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == []


HOSTILE: list[tuple[str, bytes, str]] = [
    ("a.csv", b"id,a\n1,2\n2\n", r"line 3 of .*a\.csv has 1 fields, and the header 2"),
    ("a.csv", b"id,a\n1,2,3\n", r"line 2 of .*a\.csv has 3 fields, and the header 2"),
    ("a.csv", b'id,a\n1,"x\ny"\n2\n', r"line 4 of .*a\.csv has 1 fields"),
    ("a.csv", b'id,a\n1,"x" y\n', r"line 2 of .*a\.csv is no CSV"),
    ("a.csv", b'id,a\n1,"never closed\n2,3\n', r"line 3 of .*a\.csv is no CSV"),
    ("a.csv", b"id,a\r1,2\r", r"line 1 of .*a\.csv is no CSV"),
    ("a.csv", b"id,a,id\n1,2,3\n", r"the header of .*a\.csv has a column twice: id"),
    ("a.csv", b"id,a\n1,\xe9\n", r"line 2 of .*a\.csv is not UTF-8, at byte 3"),
    ("a.csv.gz", b"id,a\n1,\xe9\n", r"line 2 of .*a\.csv\.gz is not UTF-8"),
    ("a.csv", "id,a\n1,2\n".encode("utf-16"), r"line 1 of .*a\.csv is not UTF-8, at byte 1"),
    ("a.csv", BOM + b"id\n1\n" + BOM + b"id\n2\n", r"line 3 of .*a\.csv begins with a byte order mark"),
    ("a.csv", b"ID,a\n1,2\n", r"line 2 of .*a\.csv has no column 'id', which key names; it has: ID, a"),
    ("a.csv", b"id;a\n1;2\n", r"line 2 of .*a\.csv has no column 'id', which key names; it has: id;a"),
    ("a.jsonl", b'{"id": 1}\n{"id": \n', r"line 2 of .*a\.jsonl is no JSON: .* at its character \d"),
    ("a.jsonl", b'[{"id": 1}]\n', r"line 1 of .*a\.jsonl is no JSON object, but a list"),
    ("a.jsonl", b'{"id": 1, "a": "\x00"}\n', r"line 1 of .*a\.jsonl is no JSON"),
    ("a.jsonl", b'{"id": null}\n', r"line 1 of .*a\.jsonl: the key column 'id' is null"),
    ("a.jsonl", b'{"id": 1}\n\n{"x": 1}\n', r"line 3 of .*a\.jsonl has no column 'id'"),
    ("a.jsonl", b'{"id": 1, "a": ' + b"[" * 100_000, r"line 1 of .*a\.jsonl is no JSON: nested too deeply"),
    ("a.jsonl", b'{"id": ' + b"9" * 5000 + b"}", r"line 1 of .*a\.jsonl is no JSON"),
    ("a.jsonl", b'{"id": 1}\n\xff\n', r"line 2 of .*a\.jsonl is not UTF-8, at byte 1"),
    ("a.parquet", b"PAR1 but not really PAR1", r"a\.parquet is no Parquet"),
    ("a.parquet", b"", r"a\.parquet is no Parquet"),
    ("a.txt", b"", r"a file's name must end with \.jsonl, \.csv, \.parquet"),
]


@pytest.mark.parametrize(("name", "content", "message"), HOSTILE)
def test_what_is_wrong_in_a_file_is_told_with_its_line(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BulkInputError, match=message):
        read(put(tmp_path, name, content))


def test_nuls_in_csv_are_text(tmp_path: Path) -> None:
    assert read(put(tmp_path, "a.csv", b"id,a\n1,x\x00y\n")) == [{"id": "1", "a": "x\x00y"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"id": 1}\n{"id": 2, "a": "%s"}'),
        ("a.csv", b'id,a\n1,2\n"%s"\n'),
        ("a.csv", b"id,a\n1,2\n%s\n"),
    ],
)
def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_CHUNK", 64)
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    limit = csv.field_size_limit(1000)
    try:
        with pytest.raises(BulkInputError, match=rf"line \d of .*{name} is "):
            read(put(tmp_path, name, content % (b"x" * 2000)))
    finally:
        csv.field_size_limit(limit)


def test_a_long_field_is_read(tmp_path: Path) -> None:
    text = "x" * 1_000_000
    assert read(put(tmp_path, "a.csv", f"id,a\n1,{text}\n".encode())) == [{"id": "1", "a": text}]


@pytest.mark.parametrize(
    "broken",
    [
        gzip.compress(b'{"id": 1}\n' * 5000)[:-50],
        gzip.compress(b'{"id": 1}\n')[:-4] + b"\x00\x00\x00\x01",
        b'{"id": 1}\n',
    ],
    ids=["cut off", "wrong length", "not compressed"],
)
def test_a_broken_gzip_file_is_named(broken: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(broken)
    with pytest.raises(BulkInputError, match=r"a\.jsonl\.gz is no whole gzip file|repeats the key"):
        read(tmp_path / "a.jsonl.gz")
    (tmp_path / "a.csv.gz").write_bytes(broken)
    with pytest.raises(BulkInputError, match=r"a\.csv\.gz is no whole gzip file|has no column 'id'"):
        read(tmp_path / "a.csv.gz")


@pytest.mark.parametrize("name", ["none.csv", "none-*.csv", "none/*.csv"])
def test_no_file_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(BulkInputError, match=r"rows: there is no file file:///.*none"):
        read(f"file://{tmp_path}/{name}")


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(BulkInputError, match=r"a\.csv is a folder; name its files"):
        read(tmp_path / "a.csv")


def test_a_store_that_airflow_does_not_know_is_an_error() -> None:
    with pytest.raises(BulkInputError, match="rows: nostore://bucket/a.csv: "):
        read("nostore://bucket/a.csv")


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = put(tmp_path, "a.parquet", b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BulkInputError, match=r"pip install 'airflow-provider-xpander\[parquet\]'"):
        read(url)


def test_a_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        for number in range(100_000):
            file.write(json.dumps({"id": number, "text": "x" * 100}).encode() + b"\n")
        file.write(b"no JSON\n")
    rows = read_rows(str(path), key=("id",))
    assert next(rows).values["id"] == 0
    with pytest.raises(BulkInputError, match="line 100001 of"):
        list(rows)
