"""The output of a command: records as a table, JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_xpander.api.text import printable

Row = Mapping[str, Any]
_CELL = 2000
"""Characters of one value in a table."""


def rendered(rows: Sequence[Row], output: str) -> str:
    """
    Return records as text.

    :param rows: the records, all with the same keys.
    :param output: ``table``, ``json`` or ``yaml``.
    """
    if output == "table":
        return _table(rows)
    return _data([_plain(row) for row in rows], output)


def rendered_one(row: Row, output: str) -> str:
    """
    Return one record as text; in a table, one line for each of its values.

    :param row: the record.
    :param output: ``table``, ``json`` or ``yaml``.
    """
    if output != "table":
        return _data(_plain(row), output)
    width = max(map(len, row))
    return "\n".join(f"{name:<{width}} | {_cell(value)}".rstrip() for name, value in row.items())


def _data(value: Any, output: str) -> str:
    if output == "json":
        return json.dumps(value, indent=2)
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=False)).rstrip("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return "No data found"
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(map(str.ljust, line, widths)) for line in cells]
    lines.insert(1, "=+=".join("=" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    text = value if isinstance(value, str) else json.dumps(_plain(value))
    return printable(text, _CELL)
