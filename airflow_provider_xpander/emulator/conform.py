"""Answers that conform to a JSON Schema: each property is filled by its type, name and description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_xpander.emulator.classify import (
    classify,
    hits,
    level,
    pick,
    pick_level,
    summarize,
    topic_hits,
)

Schema = Mapping[str, Any]

DEFAULT_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "category": {"enum": ["billing", "bug", "access", "feature", "other"]},
        "priority": {"enum": ["low", "medium", "high", "urgent"]},
        "sentiment": {"enum": ["positive", "neutral", "negative"]},
        "summary": {"type": "string"},
        "needs_human": {"type": "boolean"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
}
# A schema that contains itself has no end; a real answer has one.
_MAX_DEPTH = 12


def conform(text: str, schema: Schema, name: str = "", root: Schema | None = None, depth: int = 0) -> Any:
    """
    Answer a text with a value that conforms to a schema.

    Understands ``$ref`` into the schema itself, ``anyOf``/``oneOf``/``allOf`` (the first that is not null),
    ``enum``, ``const`` and the bounds of numbers, strings and arrays.

    :param text: what the answer is about.
    :param schema: a JSON Schema.
    :param name: the property that the value is for.
    :param root: the schema that references are resolved in; ``schema`` itself by default.
    :param depth: how deep ``schema`` is nested; beyond a limit the value is null.
    """
    root = schema if root is None else root
    schema = _resolved(schema, root)
    hint = f"{name.replace('_', ' ')} {schema.get('description', '')}"
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _choice(text, schema["enum"], hint)
    kind = _type(schema)
    if depth > _MAX_DEPTH or kind == "null":
        return None
    if kind == "object":
        properties = schema.get("properties", {})
        return {key: conform(text, sub, key, root, depth + 1) for key, sub in properties.items()}
    if kind == "array":
        return _array(text, schema, name, root, depth)
    if kind == "boolean":
        return _truth(text, hint)
    if kind in ("number", "integer"):
        whole = kind == "integer"
        number = _bounded(_number(text, hint, schema), schema, step=1 if whole else 1e-6)
        return round(number) if whole else number
    return _string(text, schema, hint)


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Follow references and take the first alternative, keeping what stands beside them."""
    for _ in range(_MAX_DEPTH):
        alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if "$ref" in schema:
            target: Any = root
            for part in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                target = target.get(part, {}) if part else target
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        elif alternatives:
            first = next((sub for sub in alternatives if sub.get("type") != "null"), alternatives[0])
            beside = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf", "allOf")}
            schema = {**beside, **first}
        else:
            break
    return schema


def _type(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _choice(text: str, options: list[Any], hint: str) -> Any:
    names = [option for option in options if isinstance(option, str)]
    if not names:
        return options[0]
    return pick(text, names)


def _array(text: str, schema: Schema, name: str, root: Schema, depth: int) -> list[Any]:
    items = _resolved(schema.get("items", {}), root)
    least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 5))
    found: list[Any]
    if "enum" in items:
        found = [one for one in items["enum"] if isinstance(one, str) and topic_hits(one, text)]
        found = found or [_choice(text, items["enum"], name)]
    elif _type(items) == "string":
        found = topic_hits("billing bug access feature performance security", text)
        found = list(dict.fromkeys(found)) or [classify(text).category]
    else:
        found = [conform(text, items, name, root, depth + 1)]
    while len(found) < least:
        found.append(conform(text, items, name, root, depth + 1))
    return found[:most]


def _truth(text: str, hint: str) -> bool:
    if hits(hint, "urgent escalate escalation escalated human critical priority attention page oncall"):
        return level(text) >= 2
    about = [word for word in re.findall(r"[a-z0-9]{3,}", hint.casefold()) if word not in ("whether", "the")]
    return bool(topic_hits(hint, text) or hits(text, " ".join(about)))


def _number(text: str, hint: str, schema: Schema) -> float:
    if hits(hint, "confidence probability certainty likelihood"):
        return 90.0 if schema.get("maximum", 1) > 1 else 0.9
    if hits(hint, "priority urgency severity level score"):
        low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", 3))
        return low + (high - low) * level(text) / 3
    found = re.search(r"\d+(?:\.\d+)?", text)
    return float(found.group()) if found else 1.0


def _bounded(number: float, schema: Schema, step: float) -> float:
    low = schema.get("minimum", number)
    if "exclusiveMinimum" in schema:
        low = max(low, schema["exclusiveMinimum"] + step)
    high = schema.get("maximum", max(number, low))
    if "exclusiveMaximum" in schema:
        high = min(high, schema["exclusiveMaximum"] - step)
    return float(min(max(number, low), high))


def _string(text: str, schema: Schema, hint: str) -> str:
    ticket = classify(text)
    if hits(hint, "category topic type route team queue label"):
        value = ticket.category
    elif hits(hint, "priority urgency severity"):
        value = pick_level(text, ("low", "medium", "high", "urgent"))
    elif hits(hint, "sentiment tone mood"):
        value = ticket.sentiment
    elif hits(hint, "language locale"):
        value = "en"
    elif hits(hint, "email mail"):
        found = re.search(r"[\w.+-]+@[\w-]+\.[\w.-]*\w", text)
        value = found.group() if found else "unknown@example.com"
    elif hits(hint, "reason rationale explanation why"):
        value = f"It reads like a {ticket.category} ticket of {ticket.priority} priority."
    else:
        value = ticket.summary or summarize("No text was given.")
    value = value.ljust(int(schema.get("minLength", 0)), ".")
    return value[: int(schema.get("maxLength", len(value)))]
