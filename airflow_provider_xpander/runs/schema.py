"""The schema of an answer: a JSON Schema or a pydantic model, itself checked before a run is paid."""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.text import hidden, printable
from airflow_provider_xpander.runs.model_form import check_readable, readable_form
from airflow_provider_xpander.runs.xcom_safe import clean_text

MAX_PROBLEMS = 10
"""What is told of an answer that does not match, at the most."""

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_ALLOWED = (
    "a JSON Schema (a dict), a pydantic model class, or the import path of one ('package.module.Model')"
)


class NotConforming(ValueError):
    """
    Data does not match a schema.

    :param problems: where, what was expected and what came, each fit for a log line.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


@dataclass(frozen=True)
class AnswerSchema:
    """
    What an answer has to look like.

    :param body: the JSON Schema that is sent with the request.
    :param model: the pydantic model that it was made of, or None.
    """

    body: dict[str, Any]
    model: type[BaseModel] | None = None

    def conform(self, data: Any) -> Any:
        """
        Return data that matches: as it is, or in a form of plain JSON that the model reads back.

        :param data: the parsed answer.
        :raises NotConforming: it does not match, or the check itself broke on it.
        :raises XpanderValidationError: it matches, but the model reads back no JSON data of it.
        """
        try:
            if self.model is not None:
                return _through_model(self.model, data)
            problems = list(islice(_schema_problems(self.body, data), MAX_PROBLEMS))
        except (NotConforming, XpanderValidationError):
            raise
        except RecursionError:
            raise NotConforming(["$: expected less nesting"]) from None
        except Exception as error:  # of the model's own code, or of jsonschema on a number beyond all bounds
            checked_by = path_of(self.model) if self.model else "the schema"
            said = f"{type(error).__name__}: {printable(error, 200)}"
            raise NotConforming([f"$: {checked_by} could not check it: {said}"]) from error
        if problems:
            raise NotConforming(dict.fromkeys(problems))
        return data


def schema_of(value: Any) -> AnswerSchema:
    """
    Check what was given as ``output_schema``.

    :param value: a JSON Schema or a pydantic model class.
    :raises XpanderValidationError: it is neither, or nothing can be checked by it, or the model cannot read
        plain JSON data.
    """
    if isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel:
        try:
            schema = AnswerSchema(value.model_json_schema(), value)
        except Exception as error:  # whatever a model's own code raises
            raise XpanderValidationError(
                f"output_schema: no JSON Schema can be made of {path_of(value)}: {printable(error, 300)}"
            ) from error
        check_readable(value, path_of(value))
        return schema
    if not isinstance(value, Mapping):
        raise XpanderValidationError(f"output_schema must be {_ALLOWED}, got {printable(repr(value), 100)}")
    try:
        schema = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise XpanderValidationError(f"output_schema: only JSON data can be sent: {error}") from None
    _check(schema)
    return AnswerSchema(schema)


def path_of(model: type) -> str:
    """
    Return the import path of a class.

    :param model: the class.
    """
    return f"{model.__module__}.{model.__qualname__}"


def check_path(path: str) -> None:
    """
    Check the form of an import path, without importing anything.

    :param path: such as ``package.module.Model``.
    :raises XpanderValidationError: it cannot be one.
    """
    if not _PATH.fullmatch(path):
        raise XpanderValidationError(f"output_schema must be {_ALLOWED}, got {printable(repr(path), 100)}")


def import_schema(path: str) -> AnswerSchema:
    """
    Import a pydantic model.

    :param path: its import path, such as ``package.module.Model``.
    :raises XpanderValidationError: there is no pydantic model.
    """
    check_path(path)
    try:
        found = pkgutil.resolve_name(path)
    except Exception as error:  # importing runs whatever code the module has
        raise XpanderValidationError(
            f"output_schema: {path} cannot be imported: {type(error).__name__}: {printable(error, 300)}"
        ) from error
    if not isinstance(found, type):
        raise XpanderValidationError(
            f"output_schema: {path} is no pydantic model class, but {printable(repr(found), 100)}"
        )
    return schema_of(found)


def _check(schema: dict[str, Any]) -> None:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
        _check_references(schema)
    except SchemaError as error:
        place = _path(error.absolute_path)
        raise XpanderValidationError(
            f"output_schema is no JSON Schema: at {place}: {printable(error.message, 300)}"
        ) from None
    except RecursionError:
        raise XpanderValidationError("output_schema is nested too deeply") from None


def _check_references(schema: dict[str, Any]) -> None:
    """Refuse a reference that leads nowhere, which would show only when an answer is there."""
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    whole = Resource.from_contents(schema, default_specification=DRAFT202012)
    uri = whole.id() or ""
    registry: Any = Registry().with_resource(uri, whole)
    places = [(registry.resolver(uri), whole)]
    while places:
        resolver, place = places.pop()
        if isinstance(place.contents, Mapping):
            for keyword in ("$ref", "$dynamicRef"):
                reference = place.contents.get(keyword)
                try:
                    if isinstance(reference, str):
                        resolver.lookup(reference)
                except Unresolvable:
                    raise XpanderValidationError(
                        f"output_schema: {keyword} {printable(reference, 200)!r} leads nowhere; put what it "
                        f"refers to into the schema itself, under $defs"
                    ) from None
        places += [(resolver.in_subresource(sub), sub) for sub in place.subresources()]


def _schema_problems(schema: dict[str, Any], data: Any) -> Iterator[str]:
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    # An empty registry: nothing is fetched from anywhere.
    validator = validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())
    for error in validator.iter_errors(data):
        yield f"{_path(error.absolute_path)}: expected {_expected(error)}, got {_got(error.instance)}"


def _expected(error: Any) -> str:
    wanted = error.validator_value
    if error.validator == "required" and isinstance(error.instance, Mapping):
        missing = ", ".join(repr(name) for name in wanted if name not in error.instance)
        return f"the missing {printable(missing, 200)}"
    if error.validator == "enum":
        return f"one of {printable(', '.join(map(_json, wanted)), 200)}"
    if error.validator == "type":
        return printable(wanted if isinstance(wanted, str) else " or ".join(wanted), 200)
    if error.validator == "additionalProperties" and wanted is False:
        return "no other properties than those of the schema"
    return printable(f"{error.validator} {_json(wanted)}", 200)


def _through_model(model: type[BaseModel], data: Any) -> Any:
    try:
        # As JSON, so that a strict model takes what JSON has no type for, such as dates.
        found = model.model_validate_json(clean_text(json.dumps(data, ensure_ascii=False)))
    except ValidationError as error:
        problems = islice(error.errors(include_url=False, include_context=False), MAX_PROBLEMS)
        raise NotConforming(
            f"{_path(one['loc'])}: {printable(one['msg'], 200)}, got {_got(one['input'])}" for one in problems
        ) from None
    return readable_form(model, found, data, path_of(model))


def _path(parts: Iterable[Any]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return printable(f"${text}", 200)


def _got(value: Any) -> str:
    """Show a value of an answer in short; it may be megabytes."""
    if isinstance(value, Mapping):
        names = ", ".join(repr(str(name)[:50]) for name in islice(value, 10))
        keys = "the key" if len(value) == 1 else "the keys"
        return printable(f"an object with {keys} {names}" if value else "an empty object", 200)
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str) and len(value) > 80:
        return _json(hidden(value)[:80]) + "..."
    return _json(value)


def _json(value: Any) -> str:
    try:
        return printable(json.dumps(value, ensure_ascii=False), 100)
    except (TypeError, ValueError, RecursionError):
        return f"a value of type {type(value).__name__}"
