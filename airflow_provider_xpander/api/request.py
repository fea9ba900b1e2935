"""The target of a run and the request, with every field of ``AgentExecutionRequest``."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.fields import About, about, parameters_of
from airflow_provider_xpander.api.text import printable

OutputFormat = Literal["text", "markdown", "json", "voice"]
ThinkMode = Literal["default", "harder"]
ReasoningEffort = Literal["low", "medium", "high", "xhigh"]
SourceNodeType = Literal[
    "workbench", "sdk", "task", "assistant", "webhook", "mcp", "a2a", "telegram", "slack", "email", "api"
]

NULL = "None"
"""What Jinja makes of a parameter or an XCom that is null."""
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe0e\ufe0f")
"""Letters and marks that show nothing, as characters of other kinds do."""


def check_id(name: str, value: object) -> str:
    """
    Return an id that can be one: not empty, not null, and without blanks or invisible characters.

    :param name: of the field, for the message.
    :param value: the id.
    :raises XpanderValidationError: names the field, the value, and the character by its name.
    """
    if not isinstance(value, str) or not value.strip() or value.strip() == NULL:
        is_null = isinstance(value, str) and value.strip() == NULL
        null = ", which is what a template makes of null" if is_null else ""
        raise XpanderValidationError(f"{name} must be a non-empty string, got {value!r}{null}")
    if value in (".", ".."):
        raise XpanderValidationError(f"{name} must be no step in a path, got {value!r}")
    for position, character in enumerate(value, 1):
        # Of control, format, surrogate, separator.
        if unicodedata.category(character)[0] in "CZ" or character in _UNSEEN:
            called = unicodedata.name(character, "a control character")
            raise XpanderValidationError(
                f"{name} has U+{ord(character):04X} ({called}) as its character {position}, which no id has, "
                f"got {ascii(value)}"
            )
    return value


def given(name: str, value: str | None) -> str | None:
    """
    Return an optional text, or None where it is unset: None, empty, or nothing but blanks.

    :param name: of the field, for the message.
    :param value: the text.
    :raises XpanderValidationError: it is ``"None"``: a null that a template has made a text of.
    """
    if value is None or not value.strip():
        return None
    if value.strip() == NULL:
        raise XpanderValidationError(
            f"{name} is the text {value!r}, which is what a template makes of null; to leave it unset, let "
            f"the template give an empty text, as {{{{ ... or '' }}}} does"
        )
    return value


@dataclass(frozen=True)
class Target:
    """
    What is invoked: an agent or a workflow, in its latest deployed version or in a given one.

    :param kind: which of the two.
    :param id: its id.
    :param version: the version; None or an empty text is the latest one that is deployed.
    :raises XpanderValidationError: the id or the version cannot be one; the character in it is named.
    """

    kind: Literal["agent", "workflow"]
    id: str
    version: str | None = None

    def __post_init__(self) -> None:
        check_id(f"{self.kind}_id", self.id)
        version = given("version", self.version) if isinstance(self.version, str) else self.version
        if version is not None:
            check_id("version", version)
        object.__setattr__(self, "version", version)

    @classmethod
    def agent(cls, id: str, version: str | None = None) -> Target:
        """
        Target an agent; version ``"draft"`` runs its undeployed changes (contract 2.2).

        :param id: of the agent or workflow.
        :param version: to run; None for the latest that is deployed.
        """
        return cls("agent", id, version)

    @classmethod
    def workflow(cls, id: str, version: str | None = None) -> Target:
        """
        Target a workflow; its tasks carry the workflow id as ``agent_id`` (contract 2.2).

        :param id: of the agent or workflow.
        :param version: to run; None for the latest that is deployed.
        """
        return cls("workflow", id, version)

    def __str__(self) -> str:
        return f"{self.kind} {self.id}" + (f" (version {self.version})" if self.version else "")


# A field that the API does not know is a typo. Values stay out of the messages: some of them are secrets.
# NaN and infinity are kept, to be refused: by default they would be sent as null.
_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True, ser_json_inf_nan="constants")


_INTERNAL = About(offered=False)
_HIDDEN: Any = Field(default=None, repr=False)


class User(BaseModel):
    """The person on whose behalf a run is made (contract section 3, ``input.user``)."""

    model_config = _STRICT

    email: str
    id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    additional_attributes: dict[str, Any] | None = None
    role: Annotated[str | None, About(unset="member")] = None
    is_super_admin: Annotated[bool | None, About(unset=False)] = None
    timezone: str | None = None


class InvokeInput(BaseModel):
    """The message of a run (contract section 3, ``input``)."""

    model_config = _STRICT

    text: Annotated[str | None, About(offered=False, unset="")] = None
    files: Annotated[list[str] | None, About(unset=[])] = None
    user: User | None = None

    @field_validator("files")
    @classmethod
    def _files_are_urls(cls, value: list[str] | None) -> list[str] | None:
        for url in value or ():
            scheme, _, rest = url.partition("://")
            if scheme.lower() not in ("http", "https") or not rest.strip("/"):
                # Without the query: that of a presigned URL is a secret.
                raise ValueError(
                    f"the service fetches each file itself, so it has to be an http or https URL that it can "
                    f"reach; for a local file or an object in a bucket, give a presigned URL or put its text "
                    f"into the input. Got {printable(repr(url.partition('?')[0]), 100)}"
                )
        return value


class InvokeRequest(BaseModel):
    """
    Body of the six invoke routes: every field of ``AgentExecutionRequest`` (contract section 3).

    A field that this model does not know is refused, because it is most likely a typo; ``extra_body`` is
    the way for fields that are younger than this provider. Only what was set is sent.

    The operators' template fields, the building of a request, the care for secrets and the emulator's reading
    are derived from these fields. Only the operators' signature repeats them, for whoever writes DAGs.

    :param input: the text, or a mapping with ``text``, ``files`` (URLs) and ``user``. Text or a file is
        needed.
    :param id: the thread to continue; the API answers with the same id. Empty is unset, like an empty
        ``title``, model or token; the text ``"None"`` is refused.
    :param extra_body: further fields of the JSON body, sent as they are.
    :raises pydantic.ValidationError: an unknown field, a wrong type or value, or no input at all.
    """

    model_config = _STRICT

    input: InvokeInput
    id: Annotated[str | None, About(parameter="thread_id")] = None
    payload_extension: dict[str, Any] | None = None
    parent_execution_id: Annotated[str | None, _INTERNAL] = None
    worker_id: Annotated[str | None, _INTERNAL] = None
    source: Annotated[str | None, _INTERNAL] = None
    output_format: OutputFormat | None = None
    output_schema: dict[str, Any] | None = None
    run_locally: Annotated[bool | None, About(offered=False, unset=False)] = None
    additional_context: str | None = None
    instructions_override: str | None = None
    test_run_node_id: Annotated[str | None, _INTERNAL] = None
    expected_output: str | None = None
    events_streaming: Annotated[bool | None, About(offered=False, unset=False)] = None
    mcp_servers: Annotated[list[dict[str, Any]] | None, About(secret=True, unset=[])] = _HIDDEN
    triggering_agent_id: Annotated[str | None, _INTERNAL] = None
    title: str | None = None
    think_mode: Annotated[ThinkMode | None, About(unset="default")] = None
    disable_attachment_injection: Annotated[bool | None, About(unset=False)] = None
    user_tokens: Annotated[dict[str, Any] | None, About(secret=True)] = _HIDDEN
    user_oidc_token: Annotated[str | None, About(secret=True)] = _HIDDEN
    return_metrics: Annotated[bool | None, About(unset=False)] = None
    llm_model_provider: str | None = None
    llm_model_name: str | None = None
    llm_reasoning_effort: ReasoningEffort | None = None
    source_node_type: Annotated[SourceNodeType | None, _INTERNAL] = None
    extra_body: dict[str, Any] | None = _HIDDEN

    @field_validator("input", mode="before")
    @classmethod
    def _text_is_input(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @field_validator(
        "title", "llm_model_provider", "llm_model_name", "user_oidc_token",
    )  # fmt: skip
    @classmethod
    def _empty_is_unset(cls, value: str | None, info: ValidationInfo) -> str | None:
        return given(str(info.field_name), value)

    @field_validator("id", "parent_execution_id", "worker_id", "triggering_agent_id", "test_run_node_id")
    @classmethod
    def _is_an_id(cls, value: str | None, info: ValidationInfo) -> str | None:
        name = "thread_id" if info.field_name == "id" else str(info.field_name)
        text = given(name, value)
        return text if text is None else check_id(name, text)

    @model_validator(mode="after")
    def _check_meaning(self) -> InvokeRequest:
        if not (self.input.text and self.input.text.strip()) and not self.input.files:
            raise ValueError("input: text or at least one file is needed, both are empty")
        if self.output_schema is not None and self.output_format not in (None, "json"):
            raise ValueError(
                f"output_format: {self.output_format!r} excludes output_schema, which needs 'json'"
            )
        known = sorted(set(self.extra_body or ()) & set(type(self).model_fields))
        if known:
            raise ValueError(f"extra_body: {', '.join(known)} is a field of its own, set it there")
        try:
            json.dumps(self.body(), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"only JSON data can be sent: {error}") from None
        return self

    @property
    def wants_json(self) -> bool:
        """Whether the answer is to be JSON: by ``output_format``, or because a schema is given."""
        return self.output_format == "json" or self.output_schema is not None

    def body(self) -> dict[str, Any]:
        """Return the JSON body: what was set, and ``output_format: json`` where a schema asks for it."""
        body = self.model_dump(mode="json", exclude_none=True, exclude={"extra_body"})
        if self.wants_json:
            body["output_format"] = "json"
        return body | (self.extra_body or {})


PARAMETERS = parameters_of(InvokeRequest, InvokeInput)
"""The parameters of the operators that give a field of the request."""

SECRET_FIELDS = frozenset(name for name, field in InvokeRequest.model_fields.items() if about(field).secret)
"""Fields that carry credentials."""


def parse_request(request: InvokeRequest | Mapping[str, Any] | str) -> InvokeRequest:
    """
    Accept an :class:`InvokeRequest`, a mapping of its fields, or just the input text.

    :param request: the request.
    :raises XpanderValidationError: names each wrong field, its value (unless it may be secret), and what is
        allowed.
    """
    if isinstance(request, InvokeRequest):
        return request
    fields = {"input": request} if isinstance(request, str) else dict(request)
    try:
        return InvokeRequest.model_validate(fields)
    except ValidationError as error:
        raise XpanderValidationError(_explain(error)) from None


def for_user(request: InvokeRequest, user: Mapping[str, Any] | None) -> InvokeRequest:
    """
    Return the request with a user, if it names none itself (C14).

    :param request: the request.
    :param user: the default ``input.user``, or None.
    """
    if request.input.user is not None or user is None:
        return request
    asked = request.input.model_copy(update={"user": User.model_validate(user)})
    return request.model_copy(update={"input": asked})


_SHOW_VALUE = ("literal_error", "string_type", "list_type", "dict_type", "model_type", "bool_parsing")


def _explain(error: ValidationError) -> str:
    sentences = []
    for problem in error.errors(include_url=False, include_context=False):
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
        place = "".join(parts).removeprefix(".")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "no such field; a field younger than this provider goes into extra_body"
        elif problem["type"] in _SHOW_VALUE and not SECRET_FIELDS.intersection(map(str, problem["loc"])):
            message += f", got {printable(repr(problem['input']), 100)}"
        named = not place or message.startswith((f"{place} ", "thread_id "))
        sentences.append(message if named else f"{place}: {message}")
    return "; ".join(sentences)
