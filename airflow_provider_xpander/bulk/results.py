"""
Files of results and of failed rows: parts that are written whole and never changed.

A retry that writes a part again, under the same name and with the same records, changes nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from airflow_provider_xpander.bulk.answers import (
    OWN_COLUMNS,
    Answered,
    ColumnType,
    Failed,
    as_cell,
    column_values,
)
from airflow_provider_xpander.bulk.rows import BulkInputError, JsonValue, json_line, json_value
from airflow_provider_xpander.storage import write_whole

RESULT_FORMATS = ("jsonl", "csv", "parquet")
_LONGEST_INTEGER = 2**63


class ResultFiles:
    """
    The parts below one folder: ``results/part-*`` and ``failed/part-*.jsonl``.

    :param result_path: URL of the folder.
    :param key: names of the key columns.
    :param columns: those that an answer makes, for ``csv`` and ``parquet``.
    :param form: of the results, one of ``RESULT_FORMATS``.
    :raises BulkInputError: ``parquet`` was asked for, and pyarrow is not installed.
    """

    def __init__(
        self,
        result_path: str,
        *,
        key: Sequence[str],
        columns: Mapping[str, ColumnType] | None = None,
        form: str = "jsonl",
    ) -> None:
        if form == "parquet" and find_spec("pyarrow") is None:
            raise BulkInputError(
                "result_format='parquet' needs pyarrow: pip install 'airflow-provider-xpander[parquet]'"
            )
        self._folder = result_path.rstrip("/")
        self._key = tuple(key)
        self._columns = dict(columns or {})
        self._form = form

    @property
    def results_url(self) -> str:
        """The parts of results, as a glob."""
        return f"{self._folder}/results/part-*.{self._form}"

    @property
    def failed_url(self) -> str:
        """The parts of failed rows, as a glob, which is a source of rows again."""
        return f"{self._folder}/failed/part-*.jsonl"

    def write_results(self, name: str, records: Sequence[Answered]) -> str:
        """
        Write a part of results, and return its URL.

        :param name: of the part, the same for the same records.
        :param records: what is in it.
        :raises Exception: whatever the library raises that reaches the place.
        """
        if self._form == "csv":
            content = self._csv(records)
        elif self._form == "parquet":
            content = self._parquet(records)
        else:
            content = b"".join(map(json_line, map(self._result, records)))
        return self._write(f"results/part-{name}.{self._form}", content)

    def write_failed(self, name: str, records: Iterable[Failed]) -> str:
        """
        Write a part of failed rows, and return its URL.

        :param name: of the part, the same for the same records.
        :param records: what is in it.
        :raises Exception: whatever the library raises that reaches the place.
        """
        content = b"".join(map(json_line, map(self._failed, records)))
        return self._write(f"failed/part-{name}.jsonl", content)

    def _write(self, name: str, content: bytes) -> str:
        url = f"{self._folder}/{name}"
        write_whole(url, content)
        return url

    def _result(self, record: Answered) -> JsonValue:
        own = {"answer": record.answer, "status": record.status, "xpander_task_id": record.xpander_task_id}
        return {**dict(zip(self._key, record.key, strict=True)), **own}

    def _failed(self, record: Failed) -> JsonValue:
        own = {"row": record.row, "reason": record.reason, "xpander_task_id": record.xpander_task_id}
        return {**dict(zip(self._key, record.key, strict=True)), **own}

    def _table(self, records: Iterable[Answered]) -> list[list[JsonValue]]:
        """Give the values of the records, column by column in each, as JSON has them."""
        return [
            [json_value(value) for value in (*record.key, *column_values(record, self._columns))]
            for record in records
        ]

    @property
    def _names(self) -> list[str]:
        return [*self._key, *self._columns, *OWN_COLUMNS]

    def _csv(self, records: Iterable[Answered]) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._names)
        for values in self._table(records):
            writer.writerow(map(_csv_cell, values))
        return text.getvalue().encode()

    def _parquet(self, records: Sequence[Answered]) -> bytes:
        import pyarrow as arrow
        from pyarrow import parquet

        types = {
            "text": arrow.string(), "integer": arrow.int64(), "number": arrow.float64(),
            "boolean": arrow.bool_(),
        }  # fmt: skip
        columns: list[list[JsonValue]] = [list(values) for values in zip(*self._table(records), strict=True)]
        if not records:
            columns = [[] for _ in self._names]
        kinds = [_kind(values) for values in columns[: len(self._key)]]
        kinds += [*self._columns.values(), "text", "text"]
        table = arrow.table(
            {
                name: arrow.array([_parquet_cell(value, kind) for value in values], types[kind])
                for name, values, kind in zip(self._names, columns, kinds, strict=True)
            }
        )
        sink: Any = io.BytesIO()
        parquet.write_table(table, sink)
        return bytes(sink.getvalue())


def _csv_cell(value: JsonValue) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return as_cell(value)


def _kind(values: Iterable[JsonValue]) -> ColumnType:
    """Return the type of a key column: the one of its values, text for several."""
    kinds: set[ColumnType] = {
        "boolean" if isinstance(value, bool) else
        "integer" if isinstance(value, int) and abs(value) < _LONGEST_INTEGER else
        "number" if isinstance(value, float) else
        "text"
        for value in values
    }  # fmt: skip
    return kinds.pop() if len(kinds) == 1 else "text"


def _parquet_cell(value: JsonValue, kind: ColumnType) -> JsonValue:
    """Return what fits into a column, and null for the one number that does not: beyond 64 bits."""
    cell = as_cell(value)
    if cell is None:
        return None
    if kind == "text":
        return cell if isinstance(cell, str) else str(_csv_cell(cell))
    if kind == "integer":
        return cell if isinstance(cell, int) and abs(cell) < _LONGEST_INTEGER else None
    if kind == "number":
        return float(cell) if isinstance(cell, int | float) and abs(cell) < 10**300 else None
    return cell if isinstance(cell, bool) else None
