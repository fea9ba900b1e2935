"""
Secrets that this process knows, hidden wherever the service repeats them.

An API that is given a wrong key may answer ``Invalid API key <key>``, and a run may tell a token that was
sent with it. All foreign text goes through :func:`~.errors.printable` on its way into a message, a log
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
