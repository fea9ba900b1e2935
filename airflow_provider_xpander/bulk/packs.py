"""
Packs of rows: what one run is asked about them, and what its answer says of each.

A row goes by a token of our own, ``r1``, ``r2`` and so on, so that no agent has to copy a key of the author's
data, and no row can pose as another. The answer is joined by these tokens, never by position.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_xpander.runs.schema import NotConforming

REASON_LIMIT = 1000
"""Characters of the reason that is kept of a row that failed."""

_PLACE = "#/properties/rows/items/properties/answer"
_DEFINITIONS = ("$defs", "definitions")


@dataclass(frozen=True)
class Pack:
    """
    Rows to be asked about in one run.

    :param rows: their places in the snapshot.
    :param fails: how many runs about them have failed, or had no answer to any of them.
    :param again: whether they were asked about before.
    """

    rows: tuple[int, ...]
    fails: int = 0
    again: bool = False


@dataclass(frozen=True)
class Verdict:
    """
    What an answer says of one row.

    :param answer: the answer, if it is as it has to be.
    :param problem: what is wrong with it, or None.
    """

    answer: Any = None
    problem: str | None = None


class NotAPack(ValueError):
    """The answer is JSON, but not that of a pack."""


def after_failure(pack: Pack) -> list[Pack]:
    """
    Return what is asked after a run that has told nothing of any of its rows; nothing if that was the last.

    A pack is asked again once, then halved until the row that is to blame is alone, which is asked twice.
    The halves are not asked again as they are: so one such row among n costs 2 log2(n) + 2 further runs.

    :param pack: what was asked.
    """
    if pack.fails == 0:
        return [Pack(pack.rows, 1, again=True)]
    if len(pack.rows) == 1:
        return []
    half = (len(pack.rows) + 1) // 2
    return [
        Pack(part, 0 if len(part) == 1 else 1, again=True) for part in (pack.rows[:half], pack.rows[half:])
    ]


def after_answer(pack: Pack, verdicts: Sequence[Verdict]) -> list[Pack]:
    """
    Return what is asked after an answer: each row that it is no use for, alone.

    :param pack: what was asked.
    :param verdicts: about its rows, in their order.
    """
    bad = [row for row, verdict in zip(pack.rows, verdicts, strict=True) if verdict.problem is not None]
    if len(bad) == len(pack.rows):
        return after_failure(pack)
    return [Pack((row,), again=True) for row in bad]


def text_of(common: str, sent: Sequence[Any]) -> str:
    """
    Return what a run is asked.

    :param common: what to do with each row.
    :param sent: what is sent of each row: its columns, or a text.
    """
    if len(sent) == 1:
        return f"{common}\n\n{sent[0] if isinstance(sent[0], str) else _json(sent[0])}"
    rows = [{"key": token, "row": row} for token, row in zip(tokens(len(sent)), sent, strict=True)]
    return f"{common}\n\n{_json({'rows': rows})}"


def tokens(count: int) -> Iterator[str]:
    """
    Yield the tokens of the rows of a pack.

    :param count: how many rows it has.
    """
    return (f"r{number}" for number in range(1, count + 1))


def schema_for(count: int, schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the schema of the answer about so many rows.

    :param count: of rows.
    :param schema: that of the answer to one row.
    """
    if count == 1:
        return dict(schema)
    # Definitions stand where references to them lead, which is from the root.
    shared = {name: schema[name] for name in _DEFINITIONS if name in schema and "$id" not in schema}
    own = {name: value for name, value in schema.items() if name not in shared}
    row = {
        "type": "object",
        "properties": {"key": {"type": "string"}, "answer": own if "$id" in schema else _moved(own)},
        "required": ["key", "answer"],
    }
    whole = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": row}},
        "required": ["rows"],
    }
    return whole | {name: _moved(value) for name, value in shared.items()}


def judge(data: Any, count: int, check: Callable[[Any], Any]) -> list[Verdict]:
    """
    Return what an answer says of each row of a pack, in the order of the rows.

    :param data: the answer, parsed.
    :param count: how many rows the pack has.
    :param check: returns the answer to one row as it is kept, or raises
        :class:`~airflow_provider_xpander.runs.schema.NotConforming`.
    :raises NotAPack: it is not of the form that was asked for.
    """
    if count == 1:
        return [_checked(data, check)]
    rows = data.get("rows") if isinstance(data, Mapping) else None
    if not isinstance(rows, list):
        raise NotAPack("the answer has no list of rows")
    found: dict[str, list[Any]] = {token: [] for token in tokens(count)}
    for row in rows:
        key = row.get("key") if isinstance(row, Mapping) else None
        if isinstance(key, str) and key in found and len(found[key]) < 2:
            found[key].append(row)
    return [_only(answers, check) for answers in found.values()]


def _only(answers: Sequence[Mapping[str, Any]], check: Callable[[Any], Any]) -> Verdict:
    if not answers:
        return Verdict(problem="the answer to the pack leaves the row out")
    if len(answers) > 1:
        return Verdict(problem="the answer to the pack has the row twice")
    if "answer" not in answers[0]:
        return Verdict(problem="the answer to the pack has the row, but no answer to it")
    return _checked(answers[0]["answer"], check)


def _checked(answer: Any, check: Callable[[Any], Any]) -> Verdict:
    try:
        return Verdict(check(answer))
    except NotConforming as error:
        return Verdict(problem=f"the answer does not match output_schema: {error}"[:REASON_LIMIT])


def _moved(value: Any) -> Any:
    """Let references into the schema of a row, other than to definitions, lead to where it stands now."""
    if isinstance(value, Mapping):
        return {
            name: _led(item) if name in ("$ref", "$dynamicRef") and isinstance(item, str) else _moved(item)
            for name, item in value.items()
        }
    return [_moved(item) for item in value] if isinstance(value, list) else value


def _led(reference: str) -> str:
    in_row = reference == "#" or (reference.startswith("#/") and reference.split("/")[1] not in _DEFINITIONS)
    return _PLACE + reference[1:] if in_row else reference


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
