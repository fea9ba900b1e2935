"""
Foreign text, made fit for messages, log lines and events: short, harmless, and free of secrets.

An API that is given a wrong key may answer ``Invalid API key <key>``, and a run may tell a token that was
sent with it. All foreign text goes through :func:`printable` on its way into a message, a log
line or an event, and so through :func:`hidden`. Airflow masks what its task log shows, but not the event
of a trigger, and nothing outside of Airflow.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

SHORTEST = 8
"""Characters of a text that is hidden; shorter ones would black out ordinary words."""
SHORTEST_CREDENTIAL = 5
"""The same of a key or password."""
MOST = 300
"""Secrets that are kept at the most; the latest are."""
MASK = "***"

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

_known: dict[str, None] = {}


def remember(*secrets: str | None, shortest: int = SHORTEST) -> None:
    """
    Hide these texts from now on, in the forms that JSON, URLs, pages and Python give them, too.

    :param secrets: such as an API key.
    :param shortest: characters of a text that is hidden; a shorter one is ignored.
    """
    for secret in secrets:
        if secret and len(secret) >= shortest:
            in_json = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
            others = quote(secret, safe=""), html.escape(secret), repr(secret)[1:-1]
            for form in dict.fromkeys([*others, *in_json, secret]):
                _known.pop(form, None)
                _known[form] = None
    for form in list(_known)[: max(0, len(_known) - MOST)]:
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
        # A header carries its scheme before the secret.
        yield re.sub(r"(?i)^(bearer|basic|token)\s+", "", value.strip())
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if str(name).casefold() not in _NO_SECRETS:
                yield from secret_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secret_texts(item)


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
