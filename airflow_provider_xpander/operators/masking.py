"""Secrets of a request that Airflow does not know of by itself: told to its masker before they are sent."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander._compat import mask_secret
from airflow_provider_xpander.api.known_secrets import SHORTEST, secret_texts


def mask_request_secrets(value: Any) -> None:
    """
    Have Airflow mask the texts in a rendered secret-bearing field, which an agent may well repeat.

    :param value: the field: a text, or texts in mappings and lists.
    """
    for text in secret_texts(value):
        if len(text) >= SHORTEST:
            mask_secret(text)
