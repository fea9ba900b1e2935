"""
The part of a row that is sent to the agent: its columns as JSON, or the text of a template.

The template is not Airflow's: it is rendered for each row, in a sandbox, and sees ``row`` and ``params``
only. So no row's data can reach variables, connections or the context, and nothing in a row is a template.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.bulk.rows import BulkInputError, JsonValue, Row

_NAMES = ("row", "params")


class RowInput:
    """
    What is sent of the rows.

    :param template: the template, in Jinja; None for all columns as JSON.
    :param exclude_columns: columns that are not sent, and not kept with failed rows either.
    :param params: what the template sees as ``params``.
    :raises BulkInputError: the template cannot be used.
    """

    def __init__(
        self,
        template: str | None = None,
        *,
        exclude_columns: Iterable[str] = (),
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self._excluded = frozenset(exclude_columns)
        self._params = dict(params or {})
        self._template = None if template is None else _compiled(template)

    def sent(self, row: Row) -> dict[str, JsonValue] | str:
        """
        Return what a pack carries of a row: an object of its columns, or its text.

        :param row: the row.
        :raises BulkInputError: the template fails on this row.
        """
        columns = {name: value for name, value in row.values.items() if name not in self._excluded}
        if self._template is None:
            return columns
        try:
            return str(self._template.render(row=columns, params=self._params))
        except Exception as error:  # whatever the template does with a row's data
            raise BulkInputError(
                f"row_input: the row with the key {printable(row.key_text, 200)}: "
                f"{type(error).__name__}: {printable(error, 300)}"
            ) from None

    def text(self, row: Row) -> str:
        """
        Return what a run about one row is given of it.

        :param row: the row.
        :raises BulkInputError: the template fails on this row.
        """
        sent = self.sent(row)
        return sent if isinstance(sent, str) else json.dumps(sent, ensure_ascii=False)

    def kept(self, row: Row, key: Iterable[str]) -> dict[str, JsonValue]:
        """
        Return what a failed file has of a row: the columns that may be sent, and its key.

        :param row: the row.
        :param key: names of the key columns.
        """
        shown = (row.values.keys() - self._excluded) | set(key)
        return {name: value for name, value in row.values.items() if name in shown}


class _Sandbox(ImmutableSandboxedEnvironment):
    """A sandbox in which ``row.items`` is the column of that name, where there is one, and no method."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _compiled(template: str) -> Any:
    sandbox = _Sandbox(undefined=StrictUndefined, finalize=_shown, keep_trailing_newline=True)
    # Jinja's own is for HTML pages, and writes "<" as "\u003c".
    sandbox.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    try:
        unknown = find_undeclared_variables(sandbox.parse(template)) - {*_NAMES, *sandbox.globals}
        if unknown:
            raise BulkInputError(
                f"row_input sees {' and '.join(_NAMES)} only, not {', '.join(sorted(unknown))}: what is the "
                f"same for all rows belongs into input, which is a template of Airflow's"
            )
        return sandbox.from_string(template)
    except TemplateSyntaxError as error:
        raise BulkInputError(f"row_input, line {error.lineno}: {printable(error.message, 300)}") from None
    except TemplateError as error:
        raise BulkInputError(f"row_input: {printable(error, 300)}") from None


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value
