"""
Untrusted data made safe for XCom, and back.

What Airflow's serialisation cannot carry, or takes for something else, gets a ``~`` in front; what has one
there already gets one more. So taking one ``~`` off each restores the data (:func:`xcom_restore`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 100
"""Lists and objects inside each other that are carried: Airflow's serialisation gives up at some 400."""

# Keys that Airflow refuses or that turn the value which holds them into an object; and those that begin like
# the names of this provider's own XComs, as multiple_outputs=True makes an XCom of each key of an answer.
# By one of them a reader also tells a stored answer (storage.py) from one that only looks like it.
_RESERVED = re.compile(r"~*(?:__(?:type|var|classname|version|data|id|cause)(?:__)?|(?s:xpander_.*))")
# Texts that could be taken for a number that was made safe.
_NUMBER = re.compile(r"~*~(-?(?:[1-9]\d{18,4299}|inf)|nan)")
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


def clean_text(text: str) -> str:
    """
    Replace what databases refuse, NUL characters and lone surrogates, by U+FFFD.

    :param text: any text.
    """
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def xcom_safe(value: Any, *, room: int = MAX_DEPTH) -> Any:
    """
    Make untrusted data safe to store: the reader of the XCom gets data, never an object or a failure.

    Keys with a meaning for Airflow, integers beyond 64 bits and numbers that are not finite become texts with
    a ``~`` in front; NUL characters and lone surrogates become U+FFFD, for good.

    :param value: JSON data: None, bool, number, str, list or dict.
    :param room: how many levels of lists and dicts are let pass.
    :raises ValueError: there are more.
    """
    if isinstance(value, str):
        text = clean_text(value)
        return f"~{text}" if text.startswith("~") and _number_in(text) is not None else text
    if isinstance(value, Mapping | list) and room <= 0:
        raise ValueError(f"lists and objects are nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_safe_key(str(key)): xcom_safe(item, room=room - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [xcom_safe(item, room=room - 1) for item in value]
    return f"~{value}" if _is_harmful(value) else value


def xcom_restore(value: Any) -> Any:
    """
    Undo :func:`xcom_safe`.

    :param value: data that was made safe.
    """
    if isinstance(value, str):
        if not value.startswith("~"):
            return value
        number = _number_in(value)
        return value if number is None else value[1:] if value.startswith("~~") else number
    if isinstance(value, Mapping):
        return {_restored_key(str(key)): xcom_restore(item) for key, item in value.items()}
    return [xcom_restore(item) for item in value] if isinstance(value, list) else value


def _safe_key(key: str) -> str:
    clean = clean_text(key)
    return f"~{clean}" if _RESERVED.fullmatch(clean) else clean


def _restored_key(key: str) -> str:
    return key[1:] if key.startswith("~") and _RESERVED.fullmatch(key) else key


def _number_in(text: str) -> int | float | None:
    """Return the number that a text is the safe form of, whatever the count of its ``~``; None if of none."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    number = float(found[1]) if found[1][-1] in "fn" else int(found[1])
    return number if _is_harmful(number) else None


def _is_harmful(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return not _INT_MIN <= value <= _INT_MAX
    return isinstance(value, float) and not math.isfinite(value)
