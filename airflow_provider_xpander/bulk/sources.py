"""
Sources of rows: a list, also out of XCom; files by their URL or a glob; a query by SQL.

All are read as they come and never whole, checked row by row, and turned into JSON data (``rows.py``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.bulk.databases import database_hook, streaming_cursor
from airflow_provider_xpander.bulk.files import RawRow, file_rows
from airflow_provider_xpander.bulk.rows import BulkInputError, Row, RowCheck

SQL_ROWS = 1000
"""Rows of a query that are fetched at a time."""

_ALLOWED = (
    "rows must be a list of mappings, the URL or glob of files (.jsonl, .csv, .parquet, also .gz), or SQL "
    "together with rows_conn_id"
)
_SQL = re.compile(
    r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:select|with|values|call|exec)\s", re.IGNORECASE | re.DOTALL
)


def check_rows(rows: Any, rows_conn_id: str | None = None) -> None:
    """
    Say what is wrong with the arguments, as far as that shows without reading anything.

    :param rows: the source.
    :param rows_conn_id: the connection of a query.
    :raises BulkInputError: it is none that can be read.
    """
    if rows_conn_id is not None:
        if not isinstance(rows, str) or not rows.strip():
            raise BulkInputError(f"{_ALLOWED}; with rows_conn_id, rows is SQL, got {_kind(rows)}")
    elif isinstance(rows, str):
        if not rows.strip():
            raise BulkInputError(f"{_ALLOWED}, got an empty text")
        if _SQL.match(rows):
            raise BulkInputError(f"{_ALLOWED}; for SQL, give rows_conn_id too")
    elif isinstance(rows, Mapping | bytes) or not isinstance(rows, Iterable):
        raise BulkInputError(f"{_ALLOWED}, got {_kind(rows)}")


def read_rows(rows: Any, *, key: Sequence[str], rows_conn_id: str | None = None) -> Iterator[Row]:
    """
    Read the rows of a source, one by one.

    :param rows: a list of mappings, or of lists of them, also a lazy one of Airflow's (the output of a mapped
        task); the URL or glob of files; or SQL, one query.
    :param key: names of the key columns.
    :param rows_conn_id: the connection of a query.
    :raises BulkInputError: a row cannot be used, or the source cannot; where is said.
    :raises Exception: whatever the library raises that reaches the files or the database.
    """
    check_rows(rows, rows_conn_id)
    check = RowCheck(key)
    if rows_conn_id is not None:
        found = _query_rows(rows, rows_conn_id)
    elif isinstance(rows, str):
        found = file_rows(rows.strip(), key)
    else:
        found = _list_rows(rows, "the list")
    for raw, place in found:
        yield check.row(raw, place)


def _list_rows(rows: Iterable[Any], where: str) -> Iterator[RawRow]:
    for number, row in enumerate(rows, 1):
        place = f"row {number} of {where}"
        if isinstance(row, Mapping):
            yield row, place
        elif isinstance(row, list | tuple) and where == "the list":  # of one instance of a mapped task
            yield from _list_rows(row, f"list {number} in it")
        else:
            raise BulkInputError(f"rows: {place} is no mapping of columns to values, but {_kind(row)}")


def _query_rows(sql: str, conn_id: str) -> Iterator[RawRow]:
    hook = database_hook(conn_id, "rows_conn_id")
    with closing(hook.get_conn()) as connection, closing(streaming_cursor(connection)) as cursor:
        cursor.arraysize = SQL_ROWS
        cursor.execute(sql)
        number = 0
        # Some cursors know their columns only after the first rows.
        chunk = cursor.fetchmany(SQL_ROWS) if cursor.description or _is_named(cursor) else []
        names = _column_names(cursor.description)
        while chunk:
            for values in chunk:
                number += 1
                row = values.values() if isinstance(values, Mapping) else values
                yield dict(zip(names, row, strict=True)), f"row {number} of the query"
            chunk = cursor.fetchmany(SQL_ROWS)


def _is_named(cursor: Any) -> bool:
    return bool(getattr(cursor, "name", None))


def _column_names(description: Sequence[Sequence[Any]] | None) -> list[str]:
    if description is None:
        raise BulkInputError("rows: the SQL gives no rows; it must be one query")
    names = [str(column[0]) for column in description]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BulkInputError(
            f"rows: the query has a column twice: {printable(', '.join(twice), 200)}; name them apart by AS"
        )
    return names


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
