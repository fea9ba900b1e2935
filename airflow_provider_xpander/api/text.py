"""
Foreign text, made fit for messages, log lines and events: short, harmless, and free of secrets.

An API that is given a wrong key may answer ``Invalid API key <key>``, and a run may tell a token that was
sent with it. All foreign text goes through :func:`printable` on its way into a message, a log
line or an event, and so through :func:`hidden`. Airflow masks what its task log shows, but not the event
of a trigger, and nothing outside of Airflow. Values of many lines, such as an answer or what a tool was
given, go through :func:`log_lines` on their way into a log.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SHORTEST = 8
"""Characters of a text that is hidden; shorter ones would black out ordinary words."""
SHORTEST_CREDENTIAL = 5
"""The same of a key or password."""
MOST = 1000
"""Forms of secrets that are kept at the most: the latest, and keys of connections longer than others."""
MASK = "***"

CREDENTIAL = re.compile(
    r"(api|access|private)?[-_ ]?key$|token|secret|passw|credential|cookie|authori[sz]ation|signature"
    r"|^(auth|headers?|env|sig|expires)$",
    re.IGNORECASE,
)
"""Names, in the settings of an MCP server and in the query of a URL, of what lets somebody in."""
_NO_SECRETS = frozenset({"name", "description", "url", "type", "transport", "auth_type", "allowed_tools"})
"""Fields of an MCP server that may be shown."""

TEXT_LIMIT = 500
"""Characters of a foreign text that go into an error message or a log line."""
# Escape sequences and control characters of untrusted text; a tab or newline becomes a blank. So does what
# turns the direction of writing: a line could be made to read as another.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
# Airflow folds its task log at these; a foreign text could hide what comes after it.
_LOG_GROUP = re.compile(r"(?:::|##\[)(?=(?:end)?group(?:::|\]))")

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
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/-]{12,}=*")

Mask = Callable[[str], str]

_known: dict[str, bool] = {}


def remember(*secrets: str | None, credential: bool = False) -> None:
    """
    Hide these texts from now on, in the forms that JSON, URLs, pages and Python give them, too.

    :param secrets: such as a token; one that is too short is ignored.
    :param credential: whether they are of a connection, and hidden as long as that is in use.
    """
    for secret in secrets:
        if secret and len(secret) >= (SHORTEST_CREDENTIAL if credential else SHORTEST):
            in_json = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
            others = quote(secret, safe=""), html.escape(secret), repr(secret)[1:-1]
            for form in dict.fromkeys([*others, *in_json, secret]):
                lasting = _known.pop(form, False) or credential
                _known[form] = lasting
    oldest = sorted(_known, key=lambda form: _known.get(form, False))
    for form in oldest[: max(0, len(_known) - MOST)]:
        _known.pop(form, None)


def hidden(text: str) -> str:
    """
    Return a text without the secrets that are known.

    :param text: any text.
    """
    found = [secret for secret in tuple(_known) if secret in text]
    for secret in sorted(found, key=len, reverse=True):  # one may be part of another
        text = text.replace(secret, MASK)
    return text


def secret_texts(value: Any) -> Iterator[str]:
    """
    Give the texts in a field of a request that bears secrets.

    :param value: the field: a text, or texts in mappings and lists.
    """
    if isinstance(value, str):
        text = value.strip()
        # A header carries its scheme before the secret.
        scheme = re.fullmatch(r"([A-Za-z][\w-]*)\s+(\S+)", text)
        if scheme is None or scheme[1].casefold() not in ("bearer", "basic", "token"):
            yield text
        if scheme is not None:
            yield scheme[2]
        yield from _url_secrets(text)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if str(name).casefold() not in _NO_SECRETS:
                yield from secret_texts(item)
            elif isinstance(item, str):
                yield from _url_secrets(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secret_texts(item)


def _url_secrets(url: str) -> Iterator[str]:
    """Give the password in a URL, and what its query has under a telling name."""
    try:
        parts = urlsplit(url) if "://" in url else None
    except ValueError:
        return
    if parts is not None:
        if parts.password:
            yield unquote(parts.password)
        yield from (item for name, item in parse_qsl(parts.query) if CREDENTIAL.search(name))


def sentence(text: str) -> str:
    """
    Return a text with a full stop at its end, unless it has a mark of its own there.

    :param text: one line.
    """
    return text if text.endswith((".", "!", "?")) else f"{text}."


def printable(text: Any, limit: int = TEXT_LIMIT) -> str:
    """
    Make a foreign text harmless for one log line, and cut it.

    There are no control characters in it, no markers of Airflow's log groups, and no secrets that are known.

    :param text: anything; what is not a string is shown by ``str``.
    :param limit: the greatest number of characters of the text that are kept.
    """
    clean = _CONTROL.sub(" ", _ANSI.sub("", hidden(str(text)))).strip()
    # Once more: a secret may have been broken by what is gone now.
    clean = _LOG_GROUP.sub(lambda marker: " ".join(marker[0]), hidden(clean))
    return clean if len(clean) <= limit else f"{clean[:limit]}... ({len(clean)} characters)"


def log_lines(value: Any, mask: Mask) -> list[str]:
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
    known = mask(_AUTHORIZATION.sub(rf"\1 {MASK}", text[: VALUE_LIMIT + LONGEST_SECRET]))
    lines = wrapped(known[:VALUE_LIMIT])
    if len(text) > VALUE_LIMIT or len(lines) > LINES_LIMIT:
        lines = [*lines[:LINES_LIMIT], f"... (cut; {len(text):,} characters in all)"]
    return lines


def log_line(value: Any, mask: Mask, limit: int = 100) -> str:
    """
    Return the beginning of a text as one harmless line.

    :param value: a text, or anything that has one.
    :param mask: hides what is known to be secret.
    :param limit: characters of the line at the most.
    """
    known = mask(_AUTHORIZATION.sub(rf"\1 {MASK}", str(value)[: limit + LONGEST_SECRET]))
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
            str(key): MASK if _is_secret(key, item) else _without_secrets(item, depth - 1)
            for key, item in list(value.items())[:ITEM_LIMIT]
        }
        return shown | {"...": more} if left > 0 else shown
    items = [_without_secrets(item, depth - 1) for item in value[:ITEM_LIMIT]]
    return [*items, more] if left > 0 else items


def _is_secret(key: Any, value: Any) -> bool:
    # Numbers are let pass: {"total_tokens": 12} is no secret.
    counts = value is None or isinstance(value, bool | int | float)
    return not counts and bool(_SENSITIVE.search(str(key)))
