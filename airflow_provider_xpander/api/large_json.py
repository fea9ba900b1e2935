"""
A decoder for large JSON bodies that lets other threads run meanwhile.

``json.loads`` holds the interpreter's lock from the first byte to the last, in whatever thread it is called:
a page of answers of some megabytes would hold an event loop for a second. Here the items of a page are
decoded one by one, and of each only what is needed is kept.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Any

SLICE = 1 << 20
"""Bytes that are decoded to text in one go."""

_BEGIN = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"')
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


def loads(body: bytes, keep: Callable[[Any], Any] = lambda item: item) -> Any:
    """
    Decode a body as ``json.loads`` does.

    :param body: the body.
    :param keep: is given each item of each list that is a value of the outermost object, as soon as it is
        decoded; returns what to put in its place.
    :raises ValueError: it is no JSON.
    """
    if not _BEGIN.match(body):
        return json.loads(body)
    text = _text(body)
    found: dict[str, Any] = {}
    at = _after(text, 0, "{")
    while True:
        name, at = _decode(text, at)
        at = _after(text, at, ":")
        if text.startswith("[", at):
            found[name], at = _list(text, at, keep)
        else:
            found[name], at = _decode(text, at)
        at = _skip(text, at)
        if text.startswith("}", at):
            break
        at = _after(text, at, ",")
        if not text.startswith('"', at):
            raise ValueError(f"a name was expected at character {at}")
    if _skip(text, at + 1) != len(text):
        raise ValueError(f"there is more than one value, from character {at + 1} on")
    return found


def _list(text: str, at: int, keep: Callable[[Any], Any]) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _after(text, at, "[")
    if text.startswith("]", at):
        return items, at + 1
    while True:
        item, at = _decode(text, at)
        items.append(keep(item))
        at = _skip(text, at)
        if text.startswith("]", at):
            return items, at + 1
        at = _after(text, at, ",")


def _after(text: str, at: int, sign: str) -> int:
    """Return the place of what follows a sign."""
    at = _skip(text, at)
    if not text.startswith(sign, at):
        raise ValueError(f"{sign!r} was expected at character {at}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _text(body: bytes) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    parts = [decoder.decode(body[at : at + SLICE]) for at in range(0, len(body), SLICE)]
    return "".join([*parts, decoder.decode(b"", final=True)])
