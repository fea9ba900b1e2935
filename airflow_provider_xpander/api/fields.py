"""Facts about the fields of a request, noted where each is defined; the parameters of the operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class About:
    """
    What there is to know of a field beside its name and type, given as ``Annotated[type, About(...)]``.

    :param parameter: the operators' parameter for it, where that has another name.
    :param offered: whether the operators have a parameter for it.
    :param secret: whether it may hold credentials, which the service echoes back (contract section 3): it is
        rendered for the request only, masked, not shown, and not taken out of XCom.
    :param unset: what the service takes where the field is not sent (contract section 3).
    """

    parameter: str | None = None
    offered: bool = True
    secret: bool = False
    unset: Any = None


def about(field: FieldInfo) -> About:
    """
    Return what is noted of a field.

    :param field: of a pydantic model.
    """
    return next((note for note in field.metadata if isinstance(note, About)), About())


@dataclass(frozen=True)
class Parameter:
    """
    A parameter of the operators that gives a field of the request.

    :param field: name of the field.
    :param secret: as in :class:`About`.
    :param is_text: whether it is one text; another one is an object, a list or a flag.
    :param is_flag: whether it is true or false, and so no template.
    """

    field: str
    secret: bool
    is_text: bool
    is_flag: bool


def parameters_of(*models: type[BaseModel]) -> dict[str, Parameter]:
    """
    Return the parameters of the operators for the fields of some models, by name.

    :param models: the models.
    """
    found = {}
    for model in models:
        for name, field in model.model_fields.items():
            note = about(field)
            if note.offered:
                types = get_args(field.annotation) or (field.annotation,)
                is_text = any(
                    kind is str or isinstance(next(iter(get_args(kind)), None), str) for kind in types
                )
                found[note.parameter or name] = Parameter(name, note.secret, is_text, bool in types)
    return found
