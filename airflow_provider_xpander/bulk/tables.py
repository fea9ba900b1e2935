"""
The write back: answers into a table that exists, in transactions that a retry can repeat.

``upsert`` replaces the row with the same key, so a repetition changes nothing.

``append`` adds rows. The table may hold the history of a key: a key that is there must not keep a row out,
nor may its old rows be deleted. Instead, the rows that could be taken for those of a part are counted before
it is written, and the ledger keeps the count. The transaction counts again: as many as before, and the part
is written; as many more as the part has, and an earlier try has written it. Counted are rows with the part's
keys and, where the table has that column, the part's runs: no other DAG run's rows are taken for these then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.bulk.answers import OWN_COLUMNS, Answered, ColumnType, as_cell, column_values
from airflow_provider_xpander.bulk.databases import database_hook
from airflow_provider_xpander.bulk.rows import BulkInputError, JsonValue
from airflow_provider_xpander.bulk.statements import (
    UPSERT_DIALECTS,
    Statements,
    check_table_name,
    quote_for,
)
from airflow_provider_xpander.runs.xcom_safe import clean_text

WRITE_MODES = ("append", "upsert")
COUNTED_ROWS = 500
"""Rows of a part that one query counts: each takes a value of each key column."""
INSERTED_VALUES = 900
"""Values in one statement; old versions of SQLite take 999."""


class BulkTableError(XpanderError):
    """Answers could not be written to the table; they are in the files of results. A retry writes them."""


class TableWriter:
    """
    Writes the answers of parts into a table.

    :param conn_id: connection of the database.
    :param table: its name, also with a schema.
    :param mode: one of ``WRITE_MODES``.
    :param key: names of the key columns.
    :param columns: those that an answer makes, with their types.
    :raises BulkInputError: the name is none.
    """

    def __init__(
        self, conn_id: str, table: str, mode: str, *, key: Sequence[str], columns: Mapping[str, ColumnType]
    ) -> None:
        self._conn_id = conn_id
        self._table = check_table_name(table)
        self._upsert = mode == "upsert"
        self._key = tuple(key)
        self._columns = dict(columns)
        self._hook: Any = None
        self._statements: Statements | None = None
        self._own: tuple[bool, ...] = ()

    def check(self, sample: Sequence[JsonValue] | None = None) -> None:
        """
        See that the table takes the answers, without writing anything, before one is paid for.

        :param sample: a key of a row, to see that the table can be asked for it.
        :raises BulkInputError: there is no such table, it lacks a column, or the database has no upsert here.
        :raises BulkTableError: the database cannot be reached.
        """
        with self._transaction() as (connection, cursor):
            try:
                statements = self._prepared(cursor)
                if self._upsert and statements.dialect == "mysql":
                    self._check_unique(cursor)
                cursor.execute(statements.trial)
                if sample is not None and not self._upsert:
                    self._count(cursor, [Answered(tuple(sample), {}, "answered", "")])
                connection.rollback()
            except XpanderError:
                raise
            except Exception as error:  # of whatever driver; there are no rows in it yet
                raise BulkInputError(
                    f"write_table: {self._table} cannot be written ({_mode(self._upsert)}): "
                    f"{type(error).__name__}: {printable(error, 300)}{self._hint}"
                ) from error

    def count(self, records: Sequence[Answered]) -> int:
        """
        Return how many rows of the table could be taken for those of a part, for :meth:`write`.

        :param records: the part, before it is written for the first time.
        :raises BulkTableError: the database fails.
        """
        if self._upsert or not records:
            return 0
        with self._transaction() as (_, cursor), self._told():
            self._prepared(cursor)
            return self._count(cursor, records)

    def write(self, records: Sequence[Answered], before: int = 0) -> bool:
        """
        Write a part in one transaction, unless an earlier try has done so.

        :param records: the part.
        :param before: what :meth:`count` said before it was written for the first time.
        :return: whether it was written now.
        :raises BulkTableError: the database fails, or somebody else has changed rows with the same keys.
        """
        if not records:
            return False
        with self._transaction() as (connection, cursor), self._told():
            statements = self._prepared(cursor)
            if not self._upsert:
                there = self._count(cursor, records)
                if there == before + len(records):
                    return False
                if there != before:
                    raise BulkTableError(
                        f"write_table: {self._table} had {before} rows with the keys of these {len(records)} "
                        f"answers, and has {there} now: somebody else writes them too, so whether the "
                        f"answers are in it cannot be told. They are in the files of results. Give the table "
                        f"the column xpander_task_id, or use write_mode='upsert'"
                    )
            for rows in _chunks([self._values(record) for record in records], self._rows_at_once):
                if statements.many_in_one:
                    cursor.execute(statements.insert(len(rows)), [value for row in rows for value in row])
                else:
                    cursor.executemany(statements.insert(1), rows)
            connection.commit()
        return True

    @property
    def _rows_at_once(self) -> int:
        return max(1, INSERTED_VALUES // (len(self._key) + len(self._columns) + len(OWN_COLUMNS)))

    def _values(self, record: Answered) -> list[Any]:
        values = [*record.key, *column_values(record, self._columns)]
        there = [True] * (len(values) - len(OWN_COLUMNS)) + list(self._own)
        return [_bindable(value) for value, wanted in zip(values, there, strict=True) if wanted]

    def _count(self, cursor: Any, records: Sequence[Answered]) -> int:
        statements = self._prepared(cursor)
        total = 0
        for part in _chunks(records, COUNTED_ROWS):
            asked = [
                (name, dict.fromkeys(_bindable(record.key[at]) for record in part))
                for at, name in enumerate(statements.key)
            ]
            if self._own[1]:
                asked.append(
                    (statements.columns[-1], dict.fromkeys(record.xpander_task_id for record in part))
                )
            values = [value for _, column in asked for value in column]
            cursor.execute(statements.count([(name, len(column)) for name, column in asked]), values)
            total += int(_first(cursor.fetchone()))
        return total

    def _prepared(self, cursor: Any) -> Statements:
        """Read the names of the table's columns, as the database spells them, once."""
        if self._statements is None:
            dialect = str(self._hook.dialect_name).replace("mariadb", "mysql")
            if self._upsert and dialect not in UPSERT_DIALECTS:
                raise BulkInputError(
                    f"write_mode='upsert' is known for {', '.join(UPSERT_DIALECTS)}, and the connection "
                    f"{self._conn_id!r} is one to {dialect}: use 'append'"
                )
            cursor.execute(f"SELECT * FROM {self._table} WHERE 1 = 0")
            there = [str(column[0]) for column in cursor.description]
            key = tuple(self._column(name, there) for name in self._key)
            answer = tuple(self._column(name, there) for name in self._columns)
            own = [_same(name, there) for name in OWN_COLUMNS]
            self._own = tuple(name is not None for name in own)
            self._statements = Statements(
                table=self._table,
                key=key,
                columns=(*key, *answer, *filter(None, own)),
                dialect=dialect,
                placeholder=self._hook.placeholder,
                quote=quote_for(dialect, self._hook.dialect.escape_word),
                upsert=self._upsert,
            )
        return self._statements

    def _column(self, name: str, there: Sequence[str]) -> str:
        found = _same(name, there)
        if found is None:
            raise BulkInputError(
                f"write_table: {self._table} has no column {name!r}, which the key or the answer has; it has "
                f"{printable(', '.join(there), 300)}. Add it, or take the property out of output_schema"
            )
        return found

    def _check_unique(self, cursor: Any) -> None:
        """Refuse a table of MySQL without a unique key: there, an upsert would append."""
        cursor.execute(f"SHOW INDEX FROM {self._table} WHERE Non_unique = 0")
        indexes: dict[str, set[str]] = {}
        for row in cursor.fetchall():
            _, _, name, _, column, *_ = row.values() if isinstance(row, Mapping) else row
            indexes.setdefault(name, set()).add(str(column).casefold())
        if {name.casefold() for name in self._key} not in indexes.values():
            raise BulkInputError(f"write_table: {self._table} cannot be written (upsert){self._hint}")

    @property
    def _hint(self) -> str:
        return f". It needs a unique index on exactly the key: {', '.join(self._key)}" if self._upsert else ""

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Any, Any]]:
        """Open a connection; what is not committed is rolled back."""
        self._hook = self._hook or database_hook(self._conn_id, "write_conn_id")
        try:
            connection = self._hook.get_conn()
            if self._hook.supports_autocommit:
                self._hook.set_autocommit(connection, False)
        except Exception as error:  # of whatever driver
            raise BulkTableError(
                f"write_table: the database of the connection {self._conn_id!r} cannot be reached: "
                f"{type(error).__name__}: {printable(error, 300)}"
            ) from error
        with closing(connection), closing(connection.cursor()) as cursor:
            try:
                yield connection, cursor
            except BaseException:  # a kill or time-out of Airflow 2 too
                with suppress(Exception):
                    connection.rollback()
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell of a failure without the database's own text, which may quote values of a row."""
        try:
            yield
        except XpanderError:
            raise
        except Exception as error:  # of whatever driver
            raise BulkTableError(
                f"write_table: answers were not written to {self._table}: {_without_content(error)}. They "
                f"are in the files of results, and a retry writes them"
            ) from None


def _mode(upsert: bool) -> str:
    return "upsert" if upsert else "append"


def _same(name: str, there: Sequence[str]) -> str | None:
    """Return a column by its name, or by the only one that differs in upper and lower case."""
    if name in there:
        return name
    found = [column for column in there if column.casefold() == name.casefold()]
    return found[0] if len(found) == 1 else None


def _bindable(value: JsonValue) -> str | int | float | bool | None:
    """Return what every driver takes: no lists, no integers beyond 64 bits, no NUL in a text."""
    cell = as_cell(value)
    if isinstance(cell, str):
        return clean_text(cell)
    if isinstance(cell, int) and not -(2**63) <= cell < 2**63:
        return str(cell)
    return cell


def _first(row: Any) -> Any:
    return next(iter(row.values() if isinstance(row, Mapping) else row))


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _without_content(error: Exception) -> str:
    """Return the kind of a database's error, its code, and the names in it, but no value."""
    code = next(
        (
            found
            for name in ("sqlstate", "pgcode", "sqlite_errorname")
            if isinstance(found := getattr(error, name, None), str)
        ),
        str(error.args[0]) if error.args and isinstance(error.args[0], int) else None,
    )
    diagnosis = getattr(error, "diag", None)
    names = [
        f"{what} {printable(found, 100)}"
        for what in ("column", "constraint", "datatype")
        if (found := getattr(diagnosis, f"{what}_name", None))
    ]
    return ", ".join(filter(None, [type(error).__name__, code, *names]))
