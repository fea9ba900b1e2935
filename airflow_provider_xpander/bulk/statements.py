"""SQL statements of the write back, for databases whose upsert is known, and plain inserts for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airflow_provider_xpander.bulk.rows import BulkInputError

UPSERT_DIALECTS = ("postgresql", "mysql", "sqlite")

_PART = r'(?:[^\W\d][\w$]*|"[^"\x00;]+"|`[^`\x00;]+`|\[[^\]\x00;]+\])'
_TABLE = re.compile(rf"{_PART}(?:\.{_PART}){{0,3}}")


def check_table_name(table: str) -> str:
    """
    Return the name of a table as it is put into statements.

    :param table: the name, also ``schema.table``, with quotes where the database needs them.
    :raises BulkInputError: it is no name.
    """
    if not _TABLE.fullmatch(table):
        raise BulkInputError(
            f"write_table must be the name of a table, such as 'schema.table', got {table!r}"
        )
    return table


@dataclass(frozen=True)
class Statements:
    """
    The statements for one table.

    :param table: its name.
    :param key: its key columns.
    :param columns: all columns that are written, the key's too.
    :param dialect: of SQL, as SQLAlchemy names it.
    :param placeholder: of a value, ``%s`` or ``?``.
    :param quote: puts the name of a column into quotes, if it has to be.
    :param upsert: rows with the same key are replaced.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    dialect: str
    placeholder: str
    quote: Callable[[str], str]
    upsert: bool = False

    @property
    def many_in_one(self) -> bool:
        """Whether one statement inserts several rows: known of the databases that have an upsert."""
        return self.dialect in UPSERT_DIALECTS

    def insert(self, rows: int) -> str:
        """
        Return the statement that writes rows.

        :param rows: how many.
        """
        row = f"({', '.join([self.placeholder] * len(self.columns))})"
        return f"INSERT INTO {self._target} VALUES {', '.join([row] * rows)}{self._on_conflict}"

    @property
    def trial(self) -> str:
        """The statement that a database takes if it takes the insert; it has no values and writes nothing."""
        trial = (
            f"INSERT INTO {self._target} SELECT {self._names(self.columns)} FROM {self.table} WHERE 1 = 0"
            f"{self._on_conflict}"
        )
        return trial.replace("%%", "%") if "%" in self.placeholder else trial

    def count(self, columns: Sequence[tuple[str, int]]) -> str:
        """
        Return the query that counts the rows with some values in some columns.

        :param columns: each with the number of its values.
        """
        some = (
            f"{self._name(name)} IN ({', '.join([self.placeholder] * values)})" for name, values in columns
        )
        return f"SELECT COUNT(*) FROM {self.table} WHERE {' AND '.join(some)}"

    @property
    def _target(self) -> str:
        return f"{self.table} ({self._names(self.columns)})"

    @property
    def _on_conflict(self) -> str:
        if not self.upsert:
            return ""
        others = [self._name(name) for name in self.columns if name not in self.key]
        if self.dialect == "mysql":
            # VALUES() is the form that all versions of MySQL and MariaDB know.
            changed = others or [self._name(self.key[0])]
            return f" ON DUPLICATE KEY UPDATE {', '.join(f'{name} = VALUES({name})' for name in changed)}"
        conflict = f" ON CONFLICT ({self._names(self.key)}) DO "
        if not others:
            return f"{conflict}NOTHING"
        return f"{conflict}UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in others)}"

    def _names(self, columns: Sequence[str]) -> str:
        return ", ".join(map(self._name, columns))

    def _name(self, column: str) -> str:
        quoted = self.quote(column)
        # Beside values, a driver takes "%" for the beginning of a placeholder.
        return quoted.replace("%", "%%") if "%" in self.placeholder else quoted


def quote_for(dialect: str, otherwise: Callable[[str], str]) -> Callable[[str], str]:
    """
    Return what puts the name of a column into quotes.

    :param dialect: of SQL, as SQLAlchemy names it.
    :param otherwise: does so for a dialect whose quotes are not known here.
    """
    if dialect not in UPSERT_DIALECTS:
        return otherwise
    mark = "`" if dialect == "mysql" else '"'
    return lambda name: f"{mark}{name.replace(mark, mark * 2)}{mark}"
