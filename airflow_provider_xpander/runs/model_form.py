"""The form of a model's data in XCom: plain JSON that ``Model.model_validate`` reads back downstream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.text import printable

# Kinds of pydantic's core schemas whose strict validation takes no JSON data, but only Python's own types.
_PYTHON_ONLY = frozenset(
    {
        "bytes", "complex", "dataclass", "date", "datetime", "decimal", "enum", "frozenset", "is-instance",
        "set", "time", "timedelta", "tuple", "uuid",
    }
)  # fmt: skip
_NO_CHILDREN = frozenset({"cls", "computed_fields", "config", "default", "metadata", "serialization"})


def check_readable(model: type[BaseModel], path: str) -> None:
    """
    Refuse a model that cannot read plain JSON data, because it is strict about a type that JSON has not.

    :param model: the class.
    :param path: its import path, for the message.
    :raises XpanderValidationError: names the field.
    """
    strict = _strict_about(getattr(model, "__pydantic_core_schema__", None), False, "")
    if strict:
        raise XpanderValidationError(
            f"output_schema: {path} is strict about {strict}, and the value in XCom is plain JSON, so that "
            f"{path.rpartition('.')[2]}.model_validate(value) would refuse it in the next task: make the "
            f"field lax, with Field(strict=False)"
        )


def readable_form(model: type[BaseModel], found: BaseModel, data: Any, path: str) -> Any:
    """
    Return the data of an instance as plain JSON that its model reads back.

    That is what the model writes by the names of its schema, or that without computed fields, or else the
    data that it was made of: names for writing may be others than those for reading, for instance. Of these,
    the first counts that gives the same instance again: an optional field that is read by another name than
    it is written by, or not written at all, would be its default downstream.

    :param model: the class.
    :param found: the instance.
    :param data: the JSON data that it was made of.
    :param path: import path of the class, for the message.
    :raises XpanderValidationError: it reads none of them.
    """
    forms = [found.model_dump(mode="json", by_alias=True, round_trip=one) for one in (False, True)]
    read = [(form, *_read_back(model, form)) for form in (*forms, data)]
    usable = [(form, instance) for form, instance, refusal in read if refusal is None]
    if not usable:
        raise XpanderValidationError(
            f"output_schema: {path} takes the answer, but {path.rpartition('.')[2]}.model_validate(value) "
            f"does not, neither as it came nor as the model writes it: {printable(read[-1][2], 300)}"
        )
    if _masks(model):  # what it writes is never the same, and the data would show what it masks
        return usable[0][0]
    # None is the same where each reading makes another, with an id of its own say.
    return next((form for form, instance in usable if _is_same(instance, found)), usable[0][0])


def _masks(model: type[BaseModel]) -> bool:
    """Whether a model has fields whose value it does not write, such as ``SecretStr``."""
    return '"writeOnly": true' in json.dumps(model.model_json_schema(), default=str)


def _is_same(one: BaseModel | None, other: BaseModel) -> bool:
    try:
        return bool(one == other)
    except Exception:  # of the model's own code
        return False


def _read_back(model: type[BaseModel], data: Any) -> tuple[BaseModel | None, str | None]:
    """Return the instance that is made of data, or why there is none."""
    try:
        return model.model_validate(data), None
    except ValidationError as error:
        one = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return None, f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}"
    except Exception as error:  # of the model's own code
        return None, f"{type(error).__name__}: {error}"


def _strict_about(node: Any, strict: bool, field: str) -> str | None:
    """Return a field of a core schema that takes no JSON data, and its type; None if there is none."""
    if isinstance(node, list | tuple):
        return next(filter(None, (_strict_about(one, strict, field) for one in node)), None)
    if not isinstance(node, Mapping):
        return None
    kind = node.get("type")
    if kind in ("model", "dataclass", "typed-dict"):
        strict = bool((node.get("config") or {}).get("strict"))  # nothing is inherited
    strict = node.get("strict", strict)
    if strict and kind in _PYTHON_ONLY:
        return f"{field or 'itself'} ({kind})"
    match kind:
        case "function-before" | "function-wrap" | "function-plain" | "json":
            return None  # what they make of JSON data is not known before there is some
        case "union":
            found = [_strict_about(choice, strict, field) for choice in node["choices"]]
            return found[0] if all(found) else None
        case "lax-or-strict":
            return _strict_about(node["strict_schema" if strict else "lax_schema"], strict, field)
        case "json-or-python":
            return _strict_about(node["python_schema"], strict, field)
        case "model-fields" | "typed-dict":
            fields = node["fields"].items()
            return next(filter(None, (_strict_about(one, strict, name) for name, one in fields)), None)
    children = [child for name, child in node.items() if name not in _NO_CHILDREN]
    return _strict_about(children, strict, field)
