"""Requests as the service reads them: what is wrong answers 422, with place, text and type of each error."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, get_args

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from airflow_provider_xpander.emulator.dependencies import Service
from airflow_provider_xpander.emulator.request_model import AgentExecutionRequest

Loc = tuple[int | str, ...]


async def known_query(request: Request, emulator: Service) -> None:
    """
    Refuse query parameters that the route does not have, or that come twice.

    :param request: the request.
    :param emulator: the emulator; only a strict one refuses.
    :raises RequestValidationError: such parameters.
    """
    if not emulator.settings.strict:
        return
    known = _query_of(request.app.openapi(), request.method.lower(), request.url.path)
    given = Counter(name for name, _ in request.query_params.multi_items())
    wrong = [_error(("query", name)) for name, times in given.items() if name not in known or times > 1]
    if wrong:
        raise RequestValidationError(wrong)


async def invoke_body(request: Request, emulator: Service) -> AgentExecutionRequest:
    """
    Read the body of an invoke request.

    :param request: the request.
    :param emulator: the emulator; a strict one takes neither unknown fields nor ``"true"`` for true.
    :raises RequestValidationError: no JSON, unknown fields, or wrong values.
    """
    settings = emulator.settings
    data = _parsed(await request.body())
    try:
        body = AgentExecutionRequest.model_validate_json(json.dumps(data), strict=settings.strict or None)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in details]) from error
    unknown = list(_unknown(AgentExecutionRequest, data, ("body",))) if settings.strict else []
    if unknown:
        raise RequestValidationError(unknown)
    if settings.require_user and body.input.user is None:
        missing = {"type": "missing", "loc": ("body", "input", "user"), "msg": "Field required", "input": {}}
        raise RequestValidationError([missing])
    return body


InvokeBody = Annotated[AgentExecutionRequest, Depends(invoke_body)]


def _query_of(document: dict[str, Any], method: str, path: str) -> set[str]:
    """Return the query parameters of a route by the application's own OpenAPI document."""
    fitting = [
        (template.count("{"), operations[method])
        for template, operations in document["paths"].items()
        if method in operations and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    ]
    parameters = min(fitting, key=lambda one: one[0])[1].get("parameters", ()) if fitting else ()
    return {parameter["name"] for parameter in parameters if parameter["in"] == "query"}


def _parsed(raw: bytes) -> Any:
    if not raw:
        missing = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}
        raise RequestValidationError([missing])
    try:
        data = json.loads(raw, parse_constant=_refused)
        # Half of a pair of surrogates is no text; it could not be answered either.
        json.dumps(data, ensure_ascii=False).encode()
    except ValueError as error:
        place = getattr(error, "pos", 0)
        invalid = {"type": "json_invalid", "loc": ("body", place), "msg": "JSON decode error", "input": {}}
        raise RequestValidationError([invalid]) from error
    return data


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unknown(model: type[BaseModel], data: Any, loc: Loc) -> Iterator[dict[str, Any]]:
    if not isinstance(data, dict):
        return
    for name, value in data.items():
        field = model.model_fields.get(name)
        if field is None:
            yield _error((*loc, name), value)
            continue
        for annotation in (field.annotation, *get_args(field.annotation)):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from _unknown(annotation, value, (*loc, name))


def _error(loc: Loc, value: Any = None) -> dict[str, Any]:
    return {"type": "extra_forbidden", "loc": loc, "msg": "Extra inputs are not permitted", "input": value}
