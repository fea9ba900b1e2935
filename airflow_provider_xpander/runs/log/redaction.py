"""Foreign values made fit for a log: cut to a size, by lines, without what looks like a credential."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_xpander.api.text import printable

LINE_LIMIT = 160
"""Characters of a line; a longer one goes on in the next, because Airflow's UI breaks none by itself."""
VALUE_LIMIT = 4_000
"""Characters of one value: a tool's arguments or result, a thought."""
ITEM_LIMIT = 50
"""Items of a list or mapping."""
LINES_LIMIT = 60
"""Lines of one value."""
LONGEST_SECRET = 4_096
"""Characters of a text that are looked through for a secret as a whole."""
_DEPTH = 8

_SENSITIVE = re.compile(
    r"passw|secret|token|api[-_ ]?key|authori[sz]ation|cookie|credential|private[-_ ]?key|access[-_ ]?key|"
    r"^(x-)?auth$|^headers?$|^env$",
    re.IGNORECASE,
)
_IN_TEXT = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/-]{12,}=*")

Mask = Callable[[str], str]


def values(value: Any, mask: Mask) -> list[str]:
    """
    Return a value as lines for a log, harmless and bounded.

    What stands under a name such as ``token``, ``password`` or ``headers`` is left out.

    :param value: anything that JSON can hold; a text is shown as it is.
    :param mask: hides what is known to be secret.
    """
    if value is None or value in ("", [], {}):
        return []
    text = value if isinstance(value, str) else _written(_without_secrets(value, _DEPTH))
    # What would be cut through the middle of a secret is masked before it is cut.
    known = mask(_IN_TEXT.sub(r"\1 ***", text[: VALUE_LIMIT + LONGEST_SECRET]))
    lines = wrapped(known[:VALUE_LIMIT])
    if len(text) > VALUE_LIMIT or len(lines) > LINES_LIMIT:
        lines = [*lines[:LINES_LIMIT], f"... (cut; {len(text):,} characters in all)"]
    return lines


def title(value: Any, mask: Mask, limit: int = 100) -> str:
    """
    Return the beginning of a text as one harmless line.

    :param value: a text, or anything that has one.
    :param mask: hides what is known to be secret.
    :param limit: characters of the line at the most.
    """
    known = mask(_IN_TEXT.sub(r"\1 ***", str(value)[: limit + LONGEST_SECRET]))
    line = printable(known, len(known))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def wrapped(text: str) -> list[str]:
    """
    Return the lines of a text, harmless, none longer than ``LINE_LIMIT``, and never two blank ones in a row.

    :param text: masked already.
    """
    lines: list[str] = []
    for raw in text.splitlines():
        rest = _harmless(raw)
        while len(rest) > LINE_LIMIT:
            at = break_of(rest) or LINE_LIMIT
            lines.append(rest[:at])
            rest = rest[at:].lstrip(" ")
        if rest or (lines and lines[-1]):
            lines.append(rest)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def break_of(text: str) -> int:
    """
    Return where a text too long for a line is broken between two words, 0 if there is no such place.

    :param text: longer than ``LINE_LIMIT``.
    """
    return max(0, text.rfind(" ", LINE_LIMIT // 2, LINE_LIMIT + 1))


def _written(value: Any) -> str:
    """Write data in one line if it is short, else field by field, with texts of many lines as they are."""
    short = json.dumps(value, ensure_ascii=False, default=str)
    if not isinstance(value, Mapping) or (len(short) <= 100 and "\\n" not in short):
        return short
    lines = []
    for key, item in value.items():
        if isinstance(item, str) and "\n" in item:
            lines += [f"{key}:", *(f"    {line}" for line in item.splitlines())]
        else:
            lines.append(f"{key}: {json.dumps(item, ensure_ascii=False, default=str)}")
    return "\n".join(lines)


def _harmless(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip(" \t"))].replace("\t", "    ")[:40]
    return (indent + printable(line, len(line))).rstrip()


def _without_secrets(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= VALUE_LIMIT else value[: VALUE_LIMIT + LONGEST_SECRET]
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == 0:
        return "..."
    left = len(value) - ITEM_LIMIT
    more = f"... ({left} more)"
    if isinstance(value, Mapping):
        shown = {
            str(key): "***" if _is_secret(key, item) else _without_secrets(item, depth - 1)
            for key, item in list(value.items())[:ITEM_LIMIT]
        }
        return shown | {"...": more} if left > 0 else shown
    items = [_without_secrets(item, depth - 1) for item in value[:ITEM_LIMIT]]
    return [*items, more] if left > 0 else items


def _is_secret(key: Any, value: Any) -> bool:
    # Numbers are let pass: {"total_tokens": 12} is no secret.
    counts = value is None or isinstance(value, bool | int | float)
    return not counts and bool(_SENSITIVE.search(str(key)))
