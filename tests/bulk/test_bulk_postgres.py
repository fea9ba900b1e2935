"""Rows out of PostgreSQL and answers into it, through the real hook and its real driver of each version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_xpander.bulk.answers import Answered
from airflow_provider_xpander.bulk.databases import database_hook
from airflow_provider_xpander.bulk.rows import BulkInputError
from airflow_provider_xpander.bulk.sources import read_rows
from airflow_provider_xpander.bulk.tables import BulkTableError, TableWriter
from dev.postgres import NoPostgres, local_postgres

COLUMNS: Any = {"label": "text", "score": "number", "count": "integer", "tags": "text"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    try:
        with local_postgres() as postgres:
            yield postgres.url
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.fixture
def hook(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_TABLES", server)
    hook = database_hook("tables", "rows_conn_id")
    run(hook, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return hook


def run(hook: Any, sql: str) -> list[Any]:
    connection = hook.get_conn()
    try:
        cursor = connection.cursor()
        cursor.execute(sql)
        rows = cursor.fetchall() if cursor.description else []
        connection.commit()
        return [tuple(row) for row in rows]
    finally:
        connection.close()


def writer(mode: str, **changes: Any) -> TableWriter:
    return TableWriter("tables", "public.t", mode, **{"key": ("id",), "columns": COLUMNS, **changes})


def answers(*ids: Any, **answer: Any) -> list[Answered]:
    full = {"label": "a'b%s\x00", "score": 1.5, "count": 2, "tags": [{"n": None}], **answer}
    return [Answered((each,), full, "answered", f"run-{each}") for each in ids]


def test_rows_of_every_type_are_read_with_a_cursor_on_the_server(hook: Any) -> None:
    sql = (
        "SELECT 17 AS id, 12.30::numeric AS price, 'NaN'::float8 AS nan, DATE '2026-11-26' AS day, "
        "TIMESTAMPTZ '2026-11-26 09:30+00' AS at, TIME '09:30' AS clock, INTERVAL '90 minutes' AS took, "
        "'\\x00ff'::bytea AS blob, '{\"a\": [1, null]}'::jsonb AS data, ARRAY[1, NULL] AS list, "
        "'5e0b0a36-8d5c-5d0e-9c43-4b9c6f6f7a10'::uuid AS uuid, true AS ok, NULL AS none, '100%s' AS text;"
    )
    ((row),) = read_rows(sql, key=("id",), rows_conn_id="tables")
    assert row.values == {
        "id": 17,
        "price": "12.30",
        "nan": None,
        "day": "2026-11-26",
        "at": "2026-11-26T09:30:00+00:00",
        "clock": "09:30:00",
        "took": 5400,
        "blob": "AP8=",
        "data": {"a": [1, None]},
        "list": [1, None],
        "uuid": "5e0b0a36-8d5c-5d0e-9c43-4b9c6f6f7a10",
        "ok": True,
        "none": None,
        "text": "100%s",
    }


def test_a_large_result_stays_on_the_server(hook: Any) -> None:
    rows = read_rows("SELECT * FROM generate_series(1, 3000) AS id", key=("id",), rows_conn_id="tables")
    assert [row.key for row in rows] == [(number,) for number in range(1, 3001)]
    sql = "SELECT generate_series(1, 1000000000000) AS id"  # would take hours, and terabytes
    endless = read_rows(sql, key=("id",), rows_conn_id="tables")
    assert next(endless).key == (1,)
    endless.close()  # type: ignore[attr-defined]
    assert list(read_rows("SELECT 1 AS id WHERE false", key=("id",), rows_conn_id="tables")) == []


def test_upsert(hook: Any) -> None:
    run(
        hook,
        "CREATE TABLE t (id int PRIMARY KEY, label text, score numeric, count int8, tags jsonb, status text)",
    )
    run(hook, "INSERT INTO t VALUES (1, 'old'), (9, 'kept')")
    for _ in range(2):
        table = writer("upsert")
        table.check([1])
        # Keys of CSV are texts; a value may be null in one row of a statement and not in the next.
        assert table.write([*answers(1, "2"), *answers(3, score=None, count=10**12)])
    assert run(hook, "SELECT id, label, score::text, count, tags::text, status FROM t ORDER BY id") == [
        (1, "a'b%s\ufffd", "1.5", 2, '[{"n": null}]', "answered"),
        (2, "a'b%s\ufffd", "1.5", 2, '[{"n": null}]', "answered"),
        (3, "a'b%s\ufffd", None, 10**12, '[{"n": null}]', "answered"),
        (9, "kept", None, None, None, None),
    ]


def test_append_is_repeatable(hook: Any) -> None:
    run(hook, "CREATE TABLE t (id int, label text, score real, count int, tags text, xpander_task_id text)")
    part = answers(*range(600))
    for history in range(2):
        table = writer("append")
        table.check([1])
        before = table.count(part)
        assert before == 600 * history
        assert table.write(part, before)
        assert not table.write(part, before)
    assert run(hook, "SELECT count(*) FROM t") == [(1200,)]


@pytest.mark.parametrize(
    ("mode", "create", "message"),
    [
        ("append", "CREATE TABLE other (id int)", 'relation "public.t" does not exist'),
        (
            "upsert",
            "CREATE TABLE t (id int, label text, score real, count int, tags text)",
            "unique index on exactly",
        ),
        (
            "append",
            "CREATE TABLE t (id text, label text, score real, count int, tags text)",
            "operator does not exist",
        ),
        (
            "append",
            (
                "CREATE TABLE t "
                "(id int, label int, score int, count int, tags int GENERATED ALWAYS AS (id) STORED)"
            ),
            "column",
        ),
    ],
)
def test_a_table_that_cannot_take_the_answers_is_found_before_one_is_paid(
    mode: str, create: str, message: str, hook: Any
) -> None:
    run(hook, create)
    with pytest.raises(BulkInputError, match=message):
        writer(mode).check([1])


def test_a_failure_tells_no_content(hook: Any) -> None:
    run(hook, "CREATE TABLE t (id int PRIMARY KEY, label int, score real, count int, tags text)")
    with pytest.raises(BulkTableError) as caught:
        writer("upsert").write(answers(1, label="SECRET"))
    assert "InvalidTextRepresentation, 22P02" in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert run(hook, "SELECT * FROM t") == []
