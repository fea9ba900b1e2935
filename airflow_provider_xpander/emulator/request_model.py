"""
The invoke request as the service reads it: unknown fields are ignored, wrong values answer 422.

It is made of the fields of the provider's own request, without the provider's own checks. That those are the
fields of the API is tested against docs/api.md.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, create_model

from airflow_provider_xpander.api.fields import about
from airflow_provider_xpander.api.request import InvokeRequest


def _as_read(model: type[BaseModel], name: str) -> type[BaseModel]:
    fields: dict[str, Any] = {
        field: (_type_as_read(info.annotation), ... if info.is_required() else about(info).unset)
        for field, info in model.model_fields.items()
        if field != "extra_body"  # no field of the API: what is in it stands beside the others
    }
    return create_model(name, __config__=ConfigDict(extra="ignore"), **fields)


def _type_as_read(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _as_read(kind, kind.__name__)
    parts = get_args(kind)
    if any(isinstance(part, type) and issubclass(part, BaseModel) for part in parts):
        return reduce(or_, map(_type_as_read, parts))
    return kind


if TYPE_CHECKING:
    AgentExecutionRequest = InvokeRequest
else:
    AgentExecutionRequest = _as_read(InvokeRequest, "AgentExecutionRequest")
