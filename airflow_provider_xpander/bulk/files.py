"""
Rows out of files: JSON Lines, CSV with a header, Parquet; each also compressed by gzip.

Files are read as they come, never whole. What is wrong in one is told with its line.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.bulk.rows import BulkInputError
from airflow_provider_xpander.storage import open_path

FORMS = (".jsonl", ".csv", ".parquet")
LONGEST_LINE = 16 * 2**20
"""Bytes of a line, or characters of a field of CSV, at the most; more is a file that is something else."""
PARQUET_ROWS = 1000
"""Rows of a Parquet file that are in memory at a time."""

_CHUNK = 2**20
_BOM = "\ufeff"

RawRow = tuple[Mapping[str, Any], str]
"""A row as a file gave it, and its place for people."""


def file_rows(url: str, key: Sequence[str]) -> Iterator[RawRow]:
    """
    Read the rows of a file, or of all files that match a glob, in the order of their names.

    :param url: of the file, with any scheme that fsspec knows.
    :param key: the key columns, by which a file of failed rows is known.
    :raises BulkInputError: there is no such file, or it is not what its name says.
    :raises Exception: whatever the library that reaches the place raises.
    """
    for name, file_system in find_files(url):
        form = form_of(name)
        with file_system.open(name, "rb") as raw, _told_of(name):
            file: Any = gzip.GzipFile(fileobj=raw) if name.lower().endswith(".gz") else raw
            if form == ".csv":
                yield from _csv_rows(file, name)
            elif form == ".jsonl":
                yield from _json_rows(file, name, key)
            else:
                yield from _parquet_rows(file, name)


def find_files(url: str) -> list[tuple[str, Any]]:
    """
    Return the files that a URL or glob stands for, sorted, each with its file system.

    :param url: of a file, or with ``*``, ``?`` or ``[...]`` in it.
    :raises BulkInputError: there is none, or one is of another form than those that are read.
    """
    try:
        path = open_path(url)
    except (ValueError, ImportError) as error:
        raise BulkInputError(f"rows: {printable(url, 300)}: {printable(error, 300)}") from error
    found: dict[str, Any] = path.fs.glob(path.path, detail=True)
    if not found:
        raise BulkInputError(f"rows: there is no file {printable(url, 300)}")
    for name, about in found.items():
        if about.get("type") == "directory":
            raise BulkInputError(f"rows: {name} is a folder; name its files, such as {name}/*.jsonl")
        form_of(name)
    return [(name, path.fs) for name in sorted(found)]


def form_of(name: str) -> str:
    """
    Return the form of a file, one of ``FORMS``, by its name.

    :param name: of the file.
    :raises BulkInputError: it is none of them.
    """
    plain = name.lower().removesuffix(".gz")
    for form in FORMS:
        if plain.endswith(form):
            return form
    raise BulkInputError(
        f"rows: {printable(name, 300)}: a file's name must end with {', '.join(FORMS)}, or one and .gz"
    )


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Name the file in what the libraries say of its content."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BulkInputError(f"rows: {name} is no whole gzip file: {printable(error, 200)}") from error


def _lines(file: IO[bytes], name: str) -> Iterator[str]:
    """Give the lines of a file, with their ends."""
    for number, line in enumerate(_split(file, name), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise BulkInputError(
                f"rows: line {number} of {name} is not UTF-8, at byte {error.start + 1}: save it as UTF-8"
            ) from None
        yield text.removeprefix(_BOM) if number == 1 else text


def _split(file: IO[bytes], name: str) -> Iterator[bytes]:
    rest = b""
    number = 1
    while chunk := file.read(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"
        number += len(lines)
        if len(rest) > LONGEST_LINE:
            raise BulkInputError(f"rows: line {number} of {name} is longer than {LONGEST_LINE // 2**20} MiB")
    if rest:
        yield rest


def _json_rows(file: IO[bytes], name: str, key: Sequence[str]) -> Iterator[RawRow]:
    for number, line in enumerate(_lines(file, name), 1):
        # Files that were put together have a mark in the middle.
        text = line.removeprefix(_BOM).strip()
        if not text:
            continue
        place = f"line {number} of {name}"
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            why = (
                "nested too deeply" if isinstance(error, RecursionError) else printable(_without_text(error))
            )
            raise BulkInputError(f"rows: {place} is no JSON: {why}. Each line is one JSON object") from None
        if not isinstance(row, dict):
            raise BulkInputError(f"rows: {place} is no JSON object, but a {type(row).__name__}")
        yield _unpacked(row, key), place


def _without_text(error: ValueError) -> str:
    return (
        f"{error.msg}, at its character {error.colno}"
        if isinstance(error, json.JSONDecodeError)
        else str(error)
    )


def _unpacked(line: dict[str, Any], key: Sequence[str]) -> dict[str, Any]:
    """Return the row of a line of a failed file; any other line is a row itself."""
    row = line.get("row")
    if isinstance(row, dict) and line.keys() == {*key, "row", "reason", "xpander_task_id"}:
        return {**row, **{name: line[name] for name in key}}
    return line


def _csv_rows(file: IO[bytes], name: str) -> Iterator[RawRow]:
    # The limit is the process's: raising it changes nothing for files that were read before.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    reader = csv.reader(_lines(file, name), strict=True)
    try:
        header = next((record for record in reader if record), [])
        _refuse_repeated(header, f"the header of {name}")
        for record in reader:
            place = f"line {reader.line_num} of {name}"
            if not record:  # an empty line
                continue
            if len(record) != len(header):
                raise BulkInputError(
                    f"rows: {place} has {len(record)} fields, and the header {len(header)}: put fields that "
                    f"hold commas, quotes or line ends into double quotes"
                )
            if record[0].startswith(_BOM):
                raise BulkInputError(
                    f"rows: {place} begins with a byte order mark: were two files put together? Give them "
                    f"one by one, by a glob"
                )
            yield dict(zip(header, record, strict=True)), place
    except csv.Error as error:
        raise BulkInputError(
            f"rows: line {reader.line_num} of {name} is no CSV (commas, double quotes, UTF-8): {error}"
        ) from None


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BulkInputError(f"rows: {where} has a column twice: {printable(', '.join(twice), 200)}")


def _parquet_rows(file: IO[bytes], name: str) -> Iterator[RawRow]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise BulkInputError(
            f"rows: {name} is Parquet, which needs pyarrow: pip install 'airflow-provider-xpander[parquet]'"
        ) from error
    with tempfile.TemporaryFile() as whole:
        if isinstance(file, gzip.GzipFile):  # Parquet is read from its end
            shutil.copyfileobj(file, whole)
            whole.seek(0)
        try:
            content = parquet.ParquetFile(whole if isinstance(file, gzip.GzipFile) else file)
            _refuse_repeated(content.schema_arrow.names, name)
            number = 0
            for batch in content.iter_batches(batch_size=PARQUET_ROWS):
                for row in _without_nanoseconds(batch, arrow).to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield row, f"row {number} of {name}"
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
            raise BulkInputError(
                f"rows: {name} is no Parquet that can be read: {printable(error)}"
            ) from error


def _without_nanoseconds(batch: Any, arrow: Any) -> Any:
    """Cut times to microseconds, which Python has."""
    cut = {
        arrow.timestamp: arrow.types.is_timestamp,
        arrow.time64: arrow.types.is_time64,
        arrow.duration: arrow.types.is_duration,
    }
    for at, field in enumerate(batch.schema):
        for make, fits in cut.items():
            if fits(field.type) and field.type.unit == "ns":
                zone = {"tz": field.type.tz} if make is arrow.timestamp else {}
                column = batch.column(at).cast(make("us", **zone), safe=False)
                batch = batch.set_column(at, field.name, column)
    return batch
