"""
JSON in the text of an answer, found in what models put around it (contract 4.1).

Reasoning before the answer is left out. The rest is JSON as it stands, or holds one JSON value: in a code
fence, or an object or list in prose. What prose mentions before the only fence is no answer. Two values are
as bad as none, because nobody knows which one is meant. Reading takes time in proportion to the length of the
text, however hostile the text is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

_BLANK = " \t\r\n\u00a0\ufeff\u200b"
"""What may stand around JSON although JSON does not allow all of it: a BOM, for instance."""
_JSON = ("", "json", "jsonc", "json5")
"""Languages of a fence whose content is looked through for an object, if it is not JSON as a whole."""
_MARK = re.compile(
    r"""(?P<json>\{(?=\s*["}])|\[(?=\s*[{["\d-]))"""  # what an object, or a list, can begin with
    r"""|[{[]|(?P<close>[}\]])|(?P<thought></think(?:ing)?>)"""
)
_MAX_FAILURES = 1000
"""Brackets that look like JSON and are not, in one text: each costs up to its length."""

_AMBIGUOUS = "it holds more than one JSON value, and which is meant cannot be told"


def parse_json(text: str) -> Any:
    """
    Parse the JSON of an answer.

    :param text: the ``result`` of a task.
    :raises ValueError: there is no JSON in it, or more than one value; NaN and Infinity are no JSON.
    :raises RecursionError: it is nested too deeply.
    """
    try:
        return _strict(text)
    except json.JSONDecodeError as error:
        answer = _without_reasoning(text)
        try:
            return _strict(answer)
        except json.JSONDecodeError:
            found = _candidates(answer)
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(_AMBIGUOUS) from None
        raise error


def _strict(text: str) -> Any:
    return json.loads(text.strip(_BLANK), parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _without_reasoning(text: str) -> str:
    """Return what comes after the last end of reasoning that is not part of JSON data."""
    end = 0
    for value, at in _values(text):
        if value is _THOUGHT:
            end = at
    return "" if not end and text.lstrip(_BLANK).startswith("<think") else text[end:]


def _candidates(text: str) -> list[Any]:
    """Return the JSON values that may be the answer: those in fences, and those in prose beside them."""
    fenced: list[Any] = []
    before: list[str] = []
    prose: list[str] = []
    lines = iter(text.split("\n"))
    for line in lines:
        marker, rest = _fence(line)
        if not marker:
            prose.append(line)
            continue
        if rest.endswith(marker):  # all of it in one line
            content = rest.removesuffix(marker)
            values = _fenced("", content[4:] if content[:4].lower() == "json" else content)
        else:
            values = _fenced(rest, "\n".join(_until(marker, lines)))
        if values:
            fenced += values
            before, prose = before + prose, []
    if len(fenced) != 1:
        return fenced + _objects("\n".join(before + prose))
    # Whoever puts an answer into a fence may speak of others before, and of the same one after it.
    return fenced + [value for value in _objects("\n".join(prose)) if not _is_same(value, fenced[0])]


def _is_same(one: Any, other: Any) -> bool:
    # To Python, 1 is True.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _fence(line: str) -> tuple[str, str]:
    """Take the beginning of a fence apart into its marker and what follows; no marker: it is none."""
    text = line.strip()
    marker = text[: len(text) - len(text.lstrip(text[:1]))] if text[:1] in ("`", "~") else ""
    rest = text[len(marker) :]
    if len(marker) < 3 or ("`" in rest and not rest.endswith(marker)):
        return "", ""
    return marker, rest


def _until(marker: str, lines: Iterator[str]) -> Iterator[str]:
    """Give the lines of a fence up to its end, or that of the text."""
    for line in lines:
        end = line.strip()
        if len(end) >= len(marker) and not end.strip(marker[0]):
            return
        yield line


def _fenced(info: str, content: str) -> list[Any]:
    try:
        return [_strict(content)]
    except json.JSONDecodeError:
        language = info.partition(" ")[0]
        return _objects(f"{info}\n{content}") if language.lower() in _JSON else []


def _objects(prose: str) -> list[Any]:
    """
    Return the objects and lists that stand in prose, but no list of numbers: ``[1]`` is a footnote.

    :raises ValueError: there is something that begins like an object, and is broken.
    """
    found = [value for value, _ in _values(prose)]
    if any(value is _BROKEN for value in found):
        raise ValueError("there is an object in it that is broken JSON")
    return [value for value in found if isinstance(value, dict | list) and not _is_footnote(value)]


def _is_footnote(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int | float) for item in value)


_THOUGHT, _BROKEN = object(), object()


def _values(text: str) -> Iterator[tuple[Any, int]]:
    """
    Give the JSON values in a text with the places behind them, ends of reasoning and broken objects too.

    What is inside brackets that are not JSON is none: it may be a part of something broken.
    """
    at = depth = failures = 0
    while mark := _MARK.search(text, at):
        at = mark.end()
        if mark["thought"]:
            depth = 0
            yield _THOUGHT, at
        elif mark["close"]:
            depth = max(0, depth - 1)
        elif depth or not mark["json"]:
            depth += 1
        else:
            try:
                value, at = _DECODER.raw_decode(text, mark.start())
                yield value, at
            except json.JSONDecodeError:
                depth, failures = 1, failures + 1
                if failures > _MAX_FAILURES:
                    raise ValueError("there is too much in it that only looks like JSON") from None
                if mark[0] == "{":
                    yield _BROKEN, at
