"""
Rows: their keys, the JSON form of their values, and the checks that come before anything is paid.

A row is JSON data from the moment it is read, so that a snapshot of it gives the same row back. What JSON has
no type for takes one form, whatever the source:

=======================  =======================================================================
date, time, both         text in ISO 8601: ``2026-11-26``, ``09:30:00``, ``2026-11-26T09:30:00+00:00``
interval (timedelta)     its seconds, a number
decimal                  text with all its digits: ``12.30``
bytes                    text in base64
UUID                     text: ``5e0b0a36-8d5c-5d0e-9c43-4b9c6f6f7a10``
enum                     its value
NaN, NaT                 null, as a missing value
infinity                 text: ``Infinity``, ``-Infinity``
=======================  =======================================================================
"""

from __future__ import annotations

import base64
import json
import math
import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Any, TypeAlias
from uuid import UUID

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.text import printable

JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"

RESERVED = ("answer", "status", "xpander_task_id", "row", "reason")
"""Names in results and failed rows, which a key column cannot have."""


_ENDS_OF_LINE = "\x85\u2028\u2029"
"""What JSON may hold as it is, but some readers take for the end of a line, ``str.splitlines`` for one."""


class BulkInputError(XpanderValidationError):
    """The rows, or what is said about them, cannot be used; nothing was paid. No retry mends it."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    One row of a source.

    :param key: the values of its key columns, in their order.
    :param values: all its columns, those of the key too.
    """

    key: tuple[JsonValue, ...]
    values: dict[str, JsonValue]

    @property
    def key_text(self) -> str:
        """The key as one text: two rows have the same one if, and only if, their keys are equal JSON."""
        return key_text(self.key)


def key_columns(key: str | Sequence[str]) -> tuple[str, ...]:
    """
    Check the names of the key columns.

    :param key: a name, or several.
    :raises BulkInputError: there is none, one twice, or one that results have a use for themselves.
    """
    names = (key,) if isinstance(key, str) else tuple(key)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise BulkInputError(f"key must be the name of a column, or a list of names, got {key!r}")
    if len(set(names)) < len(names):
        raise BulkInputError(f"key names a column twice: {', '.join(names)}")
    taken = [name for name in names if name in RESERVED]
    if taken:
        raise BulkInputError(
            f"key: a key column cannot be called {' or '.join(map(repr, taken))}, because results have a "
            f"field of that name; rename it in the source, in SQL by AS. Taken are {', '.join(RESERVED)}"
        )
    return names


def key_text(key: Sequence[JsonValue]) -> str:
    """
    Return a key as one text, which is the same for equal keys only: ``1`` is ``1.0``, but not ``"1"``.

    :param key: the values of the key columns.
    """
    return json.dumps(_plain_numbers(list(key)), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain_numbers(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain_numbers(item) for name, item in value.items()}
    return value


def json_line(value: JsonValue) -> bytes:
    """
    Return JSON data as one line of a file of JSON Lines, in UTF-8, with its newline.

    :param value: JSON data; NaN and lone surrogates, which an answer may have, are as in :func:`json_value`.
    """
    try:
        return _line(value)
    except ValueError:
        return _line(json_value(value))


def _line(value: JsonValue) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for end in _ENDS_OF_LINE:
        if end in text:
            text = text.replace(end, f"\\u{ord(end):04x}")
    return text.encode() + b"\n"


def json_value(value: Any) -> JsonValue:
    """
    Return the JSON form of a value of a source.

    Lone surrogates, which no file can hold, become U+FFFD.

    :param value: what a driver or parser gave.
    :raises TypeError: there is no JSON form of its type.
    :raises RecursionError: lists and objects are nested too deeply.
    """
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int:
        return int(value)
    if kind is float:
        return _float(value)
    if kind is dict:
        return {_name(name): json_value(item) for name, item in value.items()}
    if kind is list or kind is tuple:
        return [json_value(item) for item in value]
    return _other(value)


def _other(value: Any) -> JsonValue:
    if type(value).__module__ == "numpy":
        return json_value(value.tolist())
    if isinstance(value, datetime) and value != value:  # NaT of pandas
        return None
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _plain_numbers(value.total_seconds())
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return json_value(value.value)
    # Those of subclasses.
    if isinstance(value, str):
        return _text(str(value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, Mapping):
        return {_name(name): json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    raise TypeError(f"there is no JSON form of {type(value).__module__}.{type(value).__qualname__}")


def _text(value: str) -> str:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a name in an object must be a text, got {printable(repr(name), 50)}")
    return _text(str(name))


def _float(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _decimal(value: Decimal) -> str | None:
    if value.is_nan():
        return None
    return format(value, "f") if value.is_finite() else "Infinity" if value > 0 else "-Infinity"


class RowCheck:
    """
    The check of the rows of one source, one after the other: each has a key, and no two the same.

    It remembers eight bytes of a digest for each row, so a million rows take some 20 MB. Of 30 million tables
    of a million rows, one would be refused by mistake; another attempt has another salt.

    :param columns: names of the key columns.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._seen = _Digests()
        self._salt = os.urandom(16)

    def row(self, raw: Mapping[str, Any], place: str) -> Row:
        """
        Return a row in its JSON form.

        :param raw: column by column, as the source gave it.
        :param place: where it stands, for people: ``line 3 of s3://bucket/tickets.csv``.
        :raises BulkInputError: its key is missing, null or repeated, or a value has no JSON form.
        """
        values: dict[str, JsonValue] = {}
        for name, value in raw.items():
            try:
                values[_name(name)] = json_value(value)
            except (TypeError, RecursionError) as error:
                why = "it is nested too deeply" if isinstance(error, RecursionError) else error
                raise BulkInputError(
                    f"rows: {place}, column {printable(name, 100)!r}: {why}. Convert it in the source, in "
                    f"SQL by CAST"
                ) from None
        key = tuple(self._part_of_key(values, name, place) for name in self._columns)
        row = Row(key, values)
        digest = blake2b(row.key_text.encode(), digest_size=8, key=self._salt).digest()
        if not self._seen.add(int.from_bytes(digest)):
            raise BulkInputError(
                f"rows: {place} repeats the key {printable(row.key_text, 200)} of {self._key}, which an "
                f"earlier row has: a key must be unique. Name more columns in key, or leave one row out"
            )
        return row

    @property
    def _key(self) -> str:
        return "the column " + self._columns[0] if len(self._columns) == 1 else ", ".join(self._columns)

    def _part_of_key(self, values: dict[str, JsonValue], name: str, place: str) -> JsonValue:
        if name not in values:
            there = printable(", ".join(values), 300) or "none"
            raise BulkInputError(f"rows: {place} has no column {name!r}, which key names; it has: {there}")
        value = values[name]
        if value is None:
            raise BulkInputError(
                f"rows: {place}: the key column {name!r} is null; each row needs a key. Leave such rows out"
            )
        return value


class _Digests:
    """A set of numbers of 64 bits in one array: a set of Python's own takes ten times the memory."""

    def __init__(self) -> None:
        self._count = 0
        self._slots = array("Q", bytes(8 * 1024))

    def add(self, digest: int) -> bool:
        """
        Add a number; False if it was there.

        :param digest: below 2**64.
        """
        digest = digest or 1  # 0 is an empty slot
        if not _put(self._slots, digest):
            return False
        self._count += 1
        if self._count * 3 > len(self._slots) * 2:
            old, self._slots = self._slots, array("Q", bytes(8 * 2 * len(self._slots)))
            for each in old:
                if each:
                    _put(self._slots, each)
        return True


def _put(slots: array[int], digest: int) -> bool:
    last = len(slots) - 1  # their number is a power of two
    at = digest & last
    while found := slots[at]:
        if found == digest:
            return False
        at = (at + 1) & last
    slots[at] = digest
    return True
