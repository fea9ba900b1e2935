"""The write back, through the real hook of SQLite: a retry doubles nothing, an error tells no values."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_xpander.bulk import tables
from airflow_provider_xpander.bulk.answers import Answered
from airflow_provider_xpander.bulk.rows import BulkInputError
from airflow_provider_xpander.bulk.statements import Statements, check_table_name, quote_for
from airflow_provider_xpander.bulk.tables import BulkTableError, TableWriter

COLUMNS: Any = {"label": "text", "tags": "text"}


class Database:
    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows

    def rows(self) -> list[Any]:
        return self.run("SELECT * FROM t ORDER BY id, rowid")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("AIRFLOW_CONN_TABLES", f"sqlite://{tmp_path}/tables.db")
    return Database(tmp_path / "tables.db")


HISTORY = "CREATE TABLE t (id INTEGER, label TEXT, tags TEXT, Xpander_Task_Id TEXT)"
KEYED = "CREATE TABLE t (id INTEGER PRIMARY KEY, label TEXT NOT NULL, tags TEXT, status TEXT)"


def writer(mode: str = "append", **changes: Any) -> TableWriter:
    return TableWriter("tables", "t", mode, **{"key": ("id",), "columns": COLUMNS, **changes})


def answers(*ids: Any, label: Any = "good", run: str = "run-1") -> list[Answered]:
    return [Answered((each,), {"label": label, "tags": [each]}, "answered", run) for each in ids]


def test_upsert_replaces_by_key_and_may_be_repeated(database: Database) -> None:
    database.run(KEYED)
    database.run("INSERT INTO t VALUES (1, 'old', NULL, NULL), (9, 'kept', NULL, NULL)")
    for _ in range(2):
        table = writer("upsert")
        table.check()
        assert table.count(answers(1, 2)) == 0
        assert table.write(answers(1, 2))
        assert database.rows() == [
            (1, "good", "[1]", "answered"), (2, "good", "[2]", "answered"), (9, "kept", None, None),
        ]  # fmt: skip


def test_append_keeps_the_history_of_a_key(database: Database) -> None:
    database.run(HISTORY)
    for run in ("run-1", "run-2"):
        table = writer()
        assert table.write(answers(1, 2, run=run), table.count(answers(1, 2, run=run)))
    assert database.rows() == [
        (1, "good", "[1]", "run-1"), (1, "good", "[1]", "run-2"),
        (2, "good", "[2]", "run-1"), (2, "good", "[2]", "run-2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "columns", ["id INTEGER, label TEXT, tags TEXT, xpander_task_id TEXT", "id, label, tags"]
)
@pytest.mark.parametrize("history", [0, 1, 3])
def test_an_append_that_is_repeated_doubles_nothing(history: int, columns: str, database: Database) -> None:
    database.run(f"CREATE TABLE t ({columns})")
    part = answers(*range(1200))
    for _ in range(history):
        assert writer().write(part, writer().count(part))
    before = writer().count(part)
    assert before == 1200 * history
    assert writer().write(part, before)
    for _ in range(2):  # a retry that does not know whether the part is in the table
        assert not writer().write(part, before)
    assert len(database.rows()) == 1200 * (history + 1)


def test_an_append_that_was_rolled_back_is_written_by_the_retry(database: Database) -> None:
    database.run("CREATE TABLE t (id INTEGER, label TEXT CHECK (label <> 'bad'), tags TEXT)")
    part = [*answers(*range(500)), *answers(500, label="bad")]
    before = writer().count(part)
    with pytest.raises(BulkTableError):
        writer().write(part, before)
    assert database.rows() == []
    database.run("DROP TABLE t")
    database.run("CREATE TABLE t (id INTEGER, label TEXT, tags TEXT)")
    assert writer().write(part, before)
    assert len(database.rows()) == 501


def test_rows_of_another_run_with_the_same_keys_are_told_apart_by_the_run(database: Database) -> None:
    database.run(HISTORY)
    ours, theirs = answers(1, 2), answers(1, 2, run="run-2")
    before = writer().count(ours)
    assert writer().write(theirs, writer().count(theirs))
    assert writer().write(ours, before)
    assert len(database.rows()) == 4


def test_without_the_run_an_append_that_cannot_be_told_is_refused(database: Database) -> None:
    database.run("CREATE TABLE t (id INTEGER, label TEXT, tags TEXT)")
    before = writer().count(answers(1, 2))
    database.run("INSERT INTO t VALUES (1, 'of somebody else', NULL)")
    with pytest.raises(BulkTableError, match="had 0 rows with the keys of these 2 answers, and has 1 now"):
        writer().write(answers(1, 2), before)
    assert len(database.rows()) == 1


def test_values_of_every_kind_arrive(database: Database) -> None:
    database.run("CREATE TABLE t (k1 TEXT, k2 INTEGER, a, b, c, d, e, status, xpander_task_id)")
    record = Answered(
        ("x", 2**70),
        {
            "a": {"n": [1, None]},
            "b": True,
            "c": 1.5,
            "d": "NUL \x00 lone \ud800 '; DROP TABLE t",
            "more": 1,
        },
        "cached",
        "run-0",
    )
    columns: Any = {"a": "text", "b": "boolean", "c": "number", "d": "text", "e": "integer"}
    table = writer(key=("k1", "k2"), columns=columns)
    assert table.write([record], table.count([record]))
    assert not table.write([record], 0)
    assert database.run("SELECT * FROM t") == [
        ("x", float(2**70), '{"n": [1, null]}', 1, 1.5, "NUL \ufffd lone \ufffd '; DROP TABLE t", None,
         "cached", "run-0"),
    ]  # fmt: skip


def test_names_with_quotes_blanks_and_reserved_words_are_written(database: Database) -> None:
    database.run('CREATE TABLE "my ""t" ("order" INTEGER PRIMARY KEY, "a ""b%" TEXT)')
    columns: Any = {'a "b%': "text"}
    part = [Answered((1,), {'a "b%': "x"}, "answered", "run")]
    with pytest.raises(BulkInputError, match="write_table must be the name of a table"):
        TableWriter("tables", '"my ""t"', "upsert", key=("order",), columns=columns)
    database.run('ALTER TABLE "my ""t" RENAME TO "my t"')
    table = TableWriter("tables", 'main."my t"', "upsert", key=("order",), columns=columns)
    table.check()
    assert table.write(part)
    assert database.run('SELECT * FROM "my t"') == [(1, "x")]


@pytest.mark.parametrize(
    ("mode", "create", "message"),
    [
        (
            "append",
            "CREATE TABLE other (id)",
            r"t cannot be written \(append\): OperationalError: no such table: t",
        ),
        (
            "append",
            "CREATE TABLE t (id, label)",
            "t has no column 'tags', which the key or the answer has; it has id",
        ),
        ("append", "CREATE TABLE t (ID, label, Tags)", None),
        ("append", "CREATE TABLE t (label, tags)", "t has no column 'id'"),
        (
            "append",
            "CREATE VIEW t AS SELECT 1 AS id, 2 AS label, 3 AS tags",
            "cannot modify t because it is a view",
        ),
        (
            "upsert",
            "CREATE TABLE t (id, label, tags)",
            r"t cannot be written \(upsert\): .*unique index on exactly",
        ),
        (
            "upsert",
            "CREATE TABLE t (id, label, tags, UNIQUE (id, label))",
            "unique index on exactly the key: id",
        ),
        ("upsert", "CREATE TABLE t (id UNIQUE, label, tags)", None),
    ],
)
def test_a_table_that_cannot_take_the_answers_is_found_before_one_is_paid(
    mode: str, create: str, message: str | None, database: Database
) -> None:
    database.run(create)
    if message is None:
        writer(mode).check([1])
    else:
        with pytest.raises(BulkInputError, match=message):
            writer(mode).check([1])


def test_the_check_writes_nothing(database: Database) -> None:
    database.run(KEYED)
    database.run("INSERT INTO t VALUES (1, 'old', NULL, NULL)")
    writer("upsert").check([1])
    writer("append").check([1])
    assert database.rows() == [(1, "old", None, None)]


def test_an_upsert_that_is_not_known_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.run(KEYED)
    hook = tables.database_hook("tables", "write_conn_id")
    monkeypatch.setattr(hook, "dialect_name", "oracle", raising=False)
    monkeypatch.setattr(tables, "database_hook", lambda *_: hook)
    with pytest.raises(BulkInputError, match="write_mode='upsert' is known for postgresql, mysql, sqlite"):
        writer("upsert").check()
    # Rows are appended to any database, one statement a row.
    writer().check([1])
    assert writer().write(answers(1, 2), 0)
    assert len(database.rows()) == 2


def test_a_database_without_transactions_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(HISTORY)

    class WithoutTransactions(sqlite3.Connection):
        def rollback(self) -> None:
            raise sqlite3.NotSupportedError("no transactions")

    hook = tables.database_hook("tables", "write_conn_id")
    hook.get_conn = lambda: sqlite3.connect(database.path, factory=WithoutTransactions)  # type: ignore[method-assign]
    monkeypatch.setattr(tables, "database_hook", lambda *_: hook)
    with pytest.raises(
        BulkInputError, match=r"cannot be written \(append\): NotSupportedError: no transactions"
    ):
        writer().check()


def test_no_content_of_a_row_is_told_or_logged(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    database.run("CREATE TABLE t (id INTEGER, label INTEGER CHECK (typeof(label) = 'integer'), tags TEXT)")
    caplog.set_level(logging.DEBUG)
    with pytest.raises(BulkTableError) as caught:
        writer().write(answers(1, label="SECRET CONTENT"), 0)
    assert "IntegrityError, SQLITE_CONSTRAINT_CHECK. They are in the files of results" in str(caught.value)
    assert "SECRET" not in str(caught.value) + caplog.text
    assert caught.value.__suppress_context__


class Diagnosis:
    column_name = "label"
    constraint_name = None
    datatype_name = "int4"
    message_detail = "Failing row contains (SECRET)"


def test_an_error_of_a_driver_is_told_by_kind_code_and_names() -> None:
    error = ValueError("SECRET")
    error.sqlstate, error.diag = "22P02", Diagnosis()  # type: ignore[attr-defined]
    assert tables._without_content(error) == "ValueError, 22P02, column label, datatype int4"
    assert tables._without_content(OSError(1366, "Incorrect value: 'SECRET'")) == "OSError, 1366"


def test_a_database_that_is_away_is_no_fault_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TABLES", "sqlite:///no/such/folder/tables.db")
    for call in (writer().check, lambda: writer().count(answers(1)), lambda: writer().write(answers(1))):
        with pytest.raises(BulkTableError, match="the database of the connection 'tables' cannot be reached"):
            call()


def test_an_empty_part_asks_for_nothing() -> None:
    assert writer().count([]) == 0
    assert not writer().write([])


@pytest.mark.parametrize(
    "name",
    ["", "a b", "t; DROP TABLE t", "t--", "1t", "a..b", "(SELECT 1)", "t\n", 'a"b', "a.b.c.d.e", "t WHERE"],
)
def test_what_is_no_name_of_a_table_is_refused(name: str) -> None:
    with pytest.raises(BulkInputError, match="write_table must be the name of a table"):
        check_table_name(name)


@pytest.mark.parametrize("name", ["t", "schema.t", '"My Table"', "`a b`.`c`", "[dbo].[t]", "db.s.t", "tä$1"])
def test_names_of_tables(name: str) -> None:
    assert check_table_name(name) == name


def shape(dialect: str, upsert: bool, columns: tuple[str, ...] = ("id", 'a%`"')) -> Statements:
    placeholder = "?" if dialect == "sqlite" else "%s"
    quote = quote_for(dialect, lambda name: name)
    return Statements("t", ("id",), columns, dialect, placeholder, quote, upsert)


@pytest.mark.parametrize(
    ("statements", "insert"),
    [
        (shape("postgresql", False), 'INSERT INTO t ("id", "a%%`""") VALUES (%s, %s), (%s, %s)'),
        (
            shape("postgresql", True),
            (
                'INSERT INTO t ("id", "a%%`""") VALUES (%s, %s), (%s, %s) ON CONFLICT ("id") DO '
                'UPDATE SET "a%%`""" = excluded."a%%`"""'
            ),
        ),
        (
            shape("postgresql", True, ("id",)),
            'INSERT INTO t ("id") VALUES (%s), (%s) ON CONFLICT ("id") DO NOTHING',
        ),
        (
            shape("sqlite", True),
            (
                'INSERT INTO t ("id", "a%`""") VALUES (?, ?), (?, ?) ON CONFLICT ("id") DO '
                'UPDATE SET "a%`""" = excluded."a%`"""'
            ),
        ),
        (
            shape("mysql", True),
            (
                'INSERT INTO t (`id`, `a%%``"`) VALUES (%s, %s), (%s, %s) ON DUPLICATE KEY '
                'UPDATE `a%%``"` = VALUES(`a%%``"`)'
            ),
        ),
        (
            shape("mysql", True, ("id",)),
            "INSERT INTO t (`id`) VALUES (%s), (%s) ON DUPLICATE KEY UPDATE `id` = VALUES(`id`)",
        ),
        (shape("oracle", False, ("id", "a")), "INSERT INTO t (id, a) VALUES (%s, %s), (%s, %s)"),
    ],
)
def test_statements_by_dialect(statements: Statements, insert: str) -> None:
    assert statements.insert(2) == insert


def test_statements_of_mysql_that_check_and_count() -> None:
    assert shape("mysql", True).trial == (
        'INSERT INTO t (`id`, `a%``"`) SELECT `id`, `a%``"` FROM t WHERE 1 = 0 ON DUPLICATE KEY '
        'UPDATE `a%``"` = VALUES(`a%``"`)'
    )
    assert shape("mysql", False).count([("id", 2), ("a%", 1)]) == (
        "SELECT COUNT(*) FROM t WHERE `id` IN (%s, %s) AND `a%%` IN (%s)"
    )


INDEXES = {
    "the key": ([("t", 0, "PRIMARY", 1, "ID")], True),
    "two columns": ([("t", 0, "u", 1, "id"), ("t", 0, "u", 2, "label")], False),
    "an expression": ([("t", 0, "u", 1, None)], False),
    "none": ([], False),
    "as mappings": ([dict(zip("abcde", ("t", 0, "u", 1, "id"), strict=True))], True),
}


@pytest.mark.parametrize(("rows", "fine"), INDEXES.values(), ids=INDEXES)
def test_mysql_is_asked_for_a_unique_key(rows: list[Any], fine: bool) -> None:
    asked: list[str] = []
    cursor = type("Cursor", (), {"execute": lambda _, sql: asked.append(sql), "fetchall": lambda _: rows})()
    check: Callable[[Any], None] = writer("upsert")._check_unique
    if fine:
        check(cursor)
    else:
        with pytest.raises(BulkInputError, match="It needs a unique index on exactly the key: id"):
            check(cursor)
    assert asked == ["SHOW INDEX FROM t WHERE Non_unique = 0"]
