"""``Model.model_validate(value)`` holds downstream for every model that is not refused at parse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    RootModel,
    SecretStr,
    ValidationInfo,
    computed_field,
    field_serializer,
    field_validator,
)
from typing_extensions import TypedDict

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.runs.schema import schema_of


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


class Dated(TypedDict):
    day: date


class Plain(BaseModel):
    count: int = 3


class Rich(BaseModel):
    day: date
    at: datetime
    hour: time
    span: timedelta
    price: Decimal
    key: UUID
    color: Color
    pair: tuple[int, str]
    tags: set[str]
    blob: bytes
    place: Path
    link: HttpUrl
    point: Point
    dated: Dated
    by_day: dict[str, date]
    hidden: SecretStr
    plain: Plain = Plain()


RICH = {
    "day": "2026-11-01", "at": "2026-11-01T12:00:00Z", "hour": "12:00:00", "span": "PT1H", "price": "1.10",
    "key": "12345678-1234-5678-1234-567812345678", "color": "red", "pair": [1, "a"], "tags": ["a"],
    "blob": "abc", "place": "/tmp/x", "link": "https://example.com/", "point": {"x": 1},
    "dated": {"day": "2026-11-01"}, "by_day": {"a": "2026-11-01"}, "hidden": "s3cret",
}  # fmt: skip


class Computed(BaseModel):
    a: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.a


class ComputedAndForbidding(Computed):
    model_config = ConfigDict(extra="forbid")
    more: int = 7


class Split(BaseModel):
    a: int = Field(validation_alias="read", serialization_alias="written")


class Choices(BaseModel):
    a: int = Field(validation_alias=AliasChoices("one", "other"))


class Deep(BaseModel):
    a: int = Field(validation_alias=AliasPath("list", 0))


class Excluded(BaseModel):
    a: int
    b: int = Field(exclude=True)


class SplitAndOptional(BaseModel):
    a: int = Field(default=7, validation_alias="read", serialization_alias="written")


class ExcludedAndOptional(BaseModel):
    a: int
    b: int = Field(default=7, exclude=True)


class Restless(BaseModel):
    key: UUID = Field(default_factory=uuid4, exclude=True)


class Masking(BaseModel):
    key: SecretStr
    b: int = Field(default=7, exclude=True)


class Nesting(BaseModel):
    inner: list[Split]


class Serializing(BaseModel):
    a: int

    @field_serializer("a")
    def _with_unit(self, value: int) -> str:
        return f"{value} EUR"


class OfText(BaseModel):
    a: Json[list[int]]


class StrictOfJson(BaseModel):
    model_config = ConfigDict(strict=True)
    a: int
    b: list[Plain]
    c: dict[str, Any] = {}
    d: Literal["x"] | None = None
    e: float = 1
    f: date = Field(strict=False)
    g: date | str = ""
    h: Annotated[date | None, BeforeValidator(lambda value: value and date.fromisoformat(value))] = None
    i: Json[list[date]] = Field(default="[]", validate_default=True)
    more: list[StrictOfJson] = []


STRICT = {"a": 1, "b": [{}], "f": "2026-11-01", "h": "2026-11-02", "i": '["2026-11-03"]'}


@pytest.mark.parametrize(
    ("model", "data", "value"),
    [
        (Plain, {}, {"count": 3}),
        (Computed, {"a": 1}, {"a": 1, "double": 2}),
        (ComputedAndForbidding, {"a": 1}, {"a": 1, "more": 7}),
        (Split, {"read": 1}, {"read": 1}),
        (Choices, {"other": 1}, {"other": 1}),
        (Deep, {"list": [1]}, {"list": [1]}),
        (Excluded, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (SplitAndOptional, {"read": 1}, {"read": 1}),
        (ExcludedAndOptional, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (Nesting, {"inner": [{"read": 1}]}, {"inner": [{"read": 1}]}),
        (Serializing, {"a": 1}, {"a": 1}),
        (OfText, {"a": "[1]"}, {"a": "[1]"}),
        (RootModel[list[Split]], [{"read": 1}], [{"read": 1}]),
        (StrictOfJson, STRICT, None),
        (Rich, RICH, None),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_value_in_xcom_is_read_back(model: type[BaseModel], data: Any, value: Any) -> None:
    found = schema_of(model).conform(data)
    assert json.loads(json.dumps(found)) == found
    if value is not None:
        assert found == value
    again = model.model_validate(found)
    if "hidden" not in data:  # a secret is masked, and stays so
        assert again == model.model_validate_json(json.dumps(data))


def test_what_is_never_the_same_again_is_handed_on_as_the_model_writes_it() -> None:
    assert schema_of(Restless).conform({}) == {}
    assert schema_of(Masking).conform({"key": "s3cret", "b": 2}) == {"key": "**********"}


def _strict(kind: Any) -> type[BaseModel]:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        inner: kind

    return Strict


class StrictField(BaseModel):
    inner: date = Field(strict=True)


@pytest.mark.parametrize(
    "model",
    [
        *map(_strict, (date, datetime, time, timedelta, Decimal, UUID, bytes, Color, Path, Point, Dated)),
        *map(_strict, (tuple[int, str], set[str], frozenset[str], date | None, list[date], dict[str, date])),
        *map(_strict, (date | Color,)),
        StrictField,
        RootModel[list[StrictField]],
    ],
    ids=lambda model: str(model.model_fields["root" if "root" in model.model_fields else "inner"].annotation),
)
def test_a_model_that_cannot_read_plain_json_is_refused_at_parse(
    model: type[BaseModel],
) -> None:
    with pytest.raises(XpanderValidationError, match=r"strict about (inner|day) \(.*Field\(strict=False\)"):
        schema_of(model)


class TextOnly(BaseModel):
    a: int

    @field_validator("a")
    @classmethod
    def _only_text(cls, value: int, info: ValidationInfo) -> int:
        if info.mode != "json":
            raise ValueError("only out of a text")
        return value


def test_a_model_that_reads_nothing_back_is_no_matter_for_a_repair() -> None:
    with pytest.raises(
        XpanderValidationError, match=r"TextOnly.model_validate\(value\).*: a: .*only out of a text"
    ):
        schema_of(TextOnly).conform({"a": 1})
