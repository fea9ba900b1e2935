"""Secrets of a request that Airflow does not know of by itself: told to its masker before they are sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_xpander._compat import mask_secret

SHORTEST = 8
"""Characters of a value that is masked; shorter ones would black out ordinary words of the log."""

_NO_SECRETS = frozenset({"name", "description", "url", "type", "transport", "auth_type", "allowed_tools"})
"""Fields of an MCP server that a log may show."""


def mask_request_secrets(value: Any) -> None:
    """
    Have Airflow mask the texts in a rendered secret-bearing field, which an agent may well repeat.

    :param value: the field: a text, or texts in mappings and lists.
    """
    for text in _texts(value):
        if len(text) >= SHORTEST:
            mask_secret(text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        # A header carries its scheme before the secret.
        yield re.sub(r"(?i)^(bearer|basic|token)\s+", "", value.strip())
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if str(name).casefold() not in _NO_SECRETS:
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
