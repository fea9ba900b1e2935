"""The form of a model's data in XCom: plain JSON that ``Model.model_validate`` reads back downstream."""

from __future__ import annotations

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
    data that it was made of: names for writing may be others than those for reading, for instance.

    :param model: the class.
    :param found: the instance.
    :param data: the JSON data that it was made of.
    :param path: import path of the class, for the message.
    :raises XpanderValidationError: it reads none of them.
    """
    for round_trip in (False, True):
        written = found.model_dump(mode="json", by_alias=True, round_trip=round_trip)
        if _refusal(model, written) is None:
            return written
    refusal = _refusal(model, data)
    if refusal is None:
        return data
    raise XpanderValidationError(
        f"output_schema: {path} takes the answer, but {path.rpartition('.')[2]}.model_validate(value) does "
        f"not, neither as it came nor as the model writes it: {printable(refusal, 300)}"
    )


def _refusal(model: type[BaseModel], data: Any) -> str | None:
    try:
        model.model_validate(data)
    except ValidationError as error:
        one = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}"
    except Exception as error:  # of the model's own code
        return f"{type(error).__name__}: {error}"
    return None


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
