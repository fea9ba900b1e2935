"""Sources of rows: lists and lazy ones, SQL through the real hook of SQLite, and what is refused at once."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_xpander.bulk import databases
from airflow_provider_xpander.bulk.rows import BulkInputError
from airflow_provider_xpander.bulk.sources import SQL_ROWS, check_rows, read_rows


class Lazy(Sequence[Any]):
    """As Airflow gives the output of a mapped task: no list, each item is fetched when it is asked for."""

    def __init__(self, *items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, at: Any) -> Any:
        return self._items[at]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW_CONN_TABLES", f"sqlite://{tmp_path}/tables.db")
    monkeypatch.setenv("AIRFLOW_CONN_NOT_A_DATABASE", "smtp://localhost")
    return tmp_path / "tables.db"


def fill(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("rows", [[], (), Lazy(), iter([])])
def test_no_rows_are_fine(rows: Any) -> None:
    assert list(read_rows(rows, key=("id",))) == []


@pytest.mark.parametrize(
    "rows",
    [
        [{"id": 1, "day": date(2026, 1, 2)}, {"id": "1"}],
        ({"id": 1, "day": date(2026, 1, 2)}, {"id": "1"}),
        Lazy({"id": 1, "day": date(2026, 1, 2)}, {"id": "1"}),
        Lazy([{"id": 1, "day": date(2026, 1, 2)}], [], [{"id": "1"}]),
    ],
    ids=["list", "tuple", "output of a mapped task", "output of a mapped task, a list each"],
)
def test_a_list_gives_its_rows(rows: Any) -> None:
    first, second = read_rows(rows, key=("id",))
    assert first.values == {"id": 1, "day": "2026-01-02"}
    assert first.key == (1,)
    assert second.values == {"id": "1"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 1}, "x"], "row 2 of the list is no mapping of columns to values, but a value of type str"),
        ([[{"id": 1}], [{"id": 2}, 3]], "row 2 of list 2 in it is no mapping"),
        ([[[{"id": 1}]]], "row 1 of list 1 in it is no mapping"),
        ([{"id": 1}, {}], "row 2 of the list has no column 'id'"),
        ([[{"id": 1}], [{"id": 1}]], r"row 1 of list 2 in it repeats the key \[1\]"),
        ([{"id": 1, 2: 3}], "row 1 of the list, column '2': a name in an object must be a text"),
    ],
)
def test_what_is_wrong_in_a_list_is_told_with_its_place(rows: Any, message: str) -> None:
    with pytest.raises(BulkInputError, match=message):
        list(read_rows(rows, key=("id",)))


@pytest.mark.parametrize(
    ("rows", "conn_id", "message"),
    [
        (
            {"id": 1},
            None,
            "rows must be a list of mappings, the URL or glob of files .*, got a value of type dict",
        ),
        (7, None, "got a value of type int"),
        (None, None, "got a value of type NoneType"),
        (b"a.csv", None, "got a value of type bytes"),
        (" ", None, "got an empty text"),
        ("SELECT * FROM t", None, "for SQL, give rows_conn_id too"),
        (
            "-- all\n/* of\nthem */ with t as (select 1) select * from t",
            None,
            "for SQL, give rows_conn_id too",
        ),
        ("", "tables", "with rows_conn_id, rows is SQL"),
        ([{"id": 1}], "tables", "with rows_conn_id, rows is SQL"),
    ],
)
def test_what_is_no_source_is_refused_without_reading(rows: Any, conn_id: str | None, message: str) -> None:
    with pytest.raises(BulkInputError, match=message):
        check_rows(rows, conn_id)


@pytest.mark.parametrize("rows", ["selected/*.csv", "s3://select/with.jsonl", "with.csv"])
def test_a_file_is_not_taken_for_sql(rows: str) -> None:
    check_rows(rows)


def test_sql_gives_its_rows_with_their_types(database: Path) -> None:
    fill(
        database,
        "CREATE TABLE t (id INTEGER, name TEXT, price REAL, blob BLOB)",
        "INSERT INTO t VALUES (2, 'b%s', 1.5, x'00ff'), (1, NULL, 9e999, NULL)",
    )
    sql = "SELECT id, name, price, blob FROM t WHERE name IS NULL OR name LIKE 'b%' ORDER BY id;"
    rows = list(read_rows(sql, key=("id",), rows_conn_id="tables"))
    assert [row.values for row in rows] == [
        {"id": 1, "name": None, "price": "Infinity", "blob": None},
        {"id": 2, "name": "b%s", "price": 1.5, "blob": "AP8="},
    ]


NUMBERS = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < {}) SELECT id FROM n"


@pytest.mark.parametrize("count", [1, SQL_ROWS, SQL_ROWS + 1, 3 * SQL_ROWS])
def test_sql_is_read_in_chunks(count: int, database: Path) -> None:
    rows = read_rows(NUMBERS.format(count), key=("id",), rows_conn_id="tables")
    assert [row.key for row in rows] == [(number,) for number in range(1, count + 1)]


def test_sql_is_not_read_whole(database: Path) -> None:
    """A hundred million rows would take minutes."""
    rows = read_rows(NUMBERS.format(10**8), key=("id",), rows_conn_id="tables")
    assert next(rows).key == (1,)
    rows.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 1 AS id WHERE false", None),
        ("SELECT 1 AS id, 2 AS id", "the query has a column twice: id; name them apart by AS"),
        ("SELECT 1 AS id UNION ALL SELECT 1", r"row 2 of the query repeats the key \[1\]"),
        (
            "SELECT 1 AS id UNION ALL SELECT NULL ORDER BY 1 DESC",
            "row 2 of the query: the key column 'id' is null",
        ),
        ("SELECT 1 AS other", "row 1 of the query has no column 'id', which key names; it has: other"),
        ("CREATE TABLE x (id)", "the SQL gives no rows; it must be one query"),
    ],
)
def test_what_is_wrong_in_a_query_is_told_with_its_place(
    sql: str, message: str | None, database: Path
) -> None:
    rows = read_rows(sql, key=("id",), rows_conn_id="tables")
    if message is None:
        assert list(rows) == []
    else:
        with pytest.raises(BulkInputError, match=message):
            list(rows)


@pytest.mark.filterwarnings("ignore")  # of Flask, which other hooks import on Airflow 2
def test_a_connection_to_something_else_is_refused(database: Path) -> None:
    with pytest.raises(
        BulkInputError, match=r"rows_conn_id: the connection 'not_a_database' .* not a DbApiHook"
    ):
        list(read_rows("SELECT 1", key=("id",), rows_conn_id="not_a_database"))


def test_sql_without_the_provider_names_the_extra(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.common.sql.hooks.sql", None)
    with pytest.raises(BulkInputError, match=r"pip install 'airflow-provider-xpander\[sql\]'"):
        list(read_rows("SELECT 1", key=("id",), rows_conn_id="tables"))


class Cursor:
    """As psycopg2's server-side cursor: it knows its columns after the first rows only."""

    description: Any = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.arraysize = 1
        self.chunks: Iterator[list[Any]] = iter([[(1,)], [(2,)], []])

    def execute(self, sql: str) -> None:
        assert self.description is None

    def fetchmany(self, size: int) -> list[Any]:
        self.description = [("id",)]
        return next(self.chunks)

    def close(self) -> None:
        pass


class Connection:
    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        return Cursor(**kwargs) if kwargs else ("cursor", *args)

    def close(self) -> None:
        pass


def of_driver(module: str) -> Any:
    return type("Connection", (Connection,), {"__module__": module})()


def test_a_cursor_that_learns_its_columns_late_gives_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = type("Hook", (), {"get_conn": lambda self: of_driver("psycopg2.extensions")})()
    monkeypatch.setattr("airflow_provider_xpander.bulk.sources.database_hook", lambda *_: hook)
    assert [row.key for row in read_rows("SELECT id", key=("id",), rows_conn_id="x")] == [(1,), (2,)]


@pytest.mark.parametrize("module", ["psycopg2.extensions", "psycopg"])
def test_postgresql_is_asked_for_a_cursor_on_the_server(module: str) -> None:
    assert databases.streaming_cursor(of_driver(module)).name == "xpander_rows"


@pytest.mark.parametrize("module", ["MySQLdb", "pymysql"])
def test_mysql_is_asked_for_a_cursor_that_does_not_store(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursors = type("cursors", (), {"SSCursor": "SSCursor"})
    monkeypatch.setitem(sys.modules, f"{module}.cursors", cursors)
    monkeypatch.setattr(databases, "import_module", sys.modules.__getitem__)
    assert databases.streaming_cursor(of_driver(f"{module}.connections")) == ("cursor", "SSCursor")


def test_other_drivers_stream_by_themselves() -> None:
    assert databases.streaming_cursor(of_driver("sqlite3")) == ("cursor",)
