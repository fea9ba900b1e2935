"""Models of what goes over the wire: the request (of ``request.py``), the task, pages and stream events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from airflow_provider_xpander.api.request import InvokeInput, InvokeRequest, Target, User, parse_request
from airflow_provider_xpander.api.status import TaskStatus, normalize_status

__all__ = [
    "Agent",
    "AgentPage",
    "InvokeInput",
    "InvokeRequest",
    "Page",
    "StreamEvent",
    "Target",
    "Task",
    "TaskPage",
    "ThreadMessage",
    "Tokens",
    "Tolerant",
    "User",
    "parse_request",
]


class Tolerant(BaseModel):
    """Base of what the service sends: unknown fields are kept, a malformed field falls to its default."""

    # Built on first use: DAGs are parsed often and need none of these models then. What is refused stays out
    # of the messages: the service echoes tokens back.
    model_config = ConfigDict(extra="allow", defer_build=True, hide_input_in_errors=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _malformed_is_default(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return handler(value)
        except ValidationError:
            known = cls.model_fields[str(info.field_name)]
            if known.is_required():
                raise
            return known.get_default(call_default_factory=True)


class Tokens(Tolerant):
    """
    The tokens that a run has used.

    ``prompt_tokens`` went into the model, ``completion_tokens`` came out of it. Tokens that were read from
    the model's cache, or written to it, are not part of the total (contract section 4).
    """

    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None


class PendingConnectorLogin(Tolerant):
    """A connector that a person has to log in to before the run goes on (``pending_eca_request``)."""

    connector_name: str | None = None
    auth_url: str | None = None


class DeepPlanning(Tolerant):
    """The plan of a run: ``tasks`` are mappings of ``id``, ``title`` and ``completed``."""

    enabled: bool | None = None
    enforce: bool | None = None
    started: bool | None = None
    question_raised: bool | None = None
    tasks: list[dict[str, Any]] | None = None


class Task(Tolerant):
    """
    A run on xpander.ai as the service sends it: ``AgentExecution`` (contract section 4).

    Only ``id`` is required: slim replies lack nearly all else (C15). The id is that of the thread too: a
    follow-up overwrites ``input``, ``status`` and ``result`` (contract 2.3). ``repr`` shows no content,
    because the service echoes tokens and MCP keys back.
    """

    id: str = Field(min_length=1)
    agent_id: str | None = None
    organization_id: str | None = None
    input: dict[str, Any] | None = None
    status: TaskStatus = TaskStatus.PENDING
    raw_status: str | None = None
    internal_status: str | None = None
    last_executed_node_id: str | None = None
    agent_version: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    paused_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    parent_execution: str | None = None
    parent_task_id: str | None = None
    sub_executions: list[str] | None = None
    finished_sub_executions: list[str] | None = None
    is_manually_stopped: bool | None = None
    payload_extension: dict[str, Any] | None = None
    hitl_request: dict[str, Any] | None = None
    pending_eca_request: PendingConnectorLogin | None = None
    source: str | None = None
    source_node_type: str | None = None
    user_id: str | None = None
    worker_id: str | None = None
    voice_id: str | None = None
    test_run_node_id: str | None = None
    triggering_agent_id: str | None = None
    title: str | None = None
    additional_context: str | None = None
    instructions_override: str | None = None
    expected_output: str | None = None
    is_orchestration: bool | None = None
    output_format: str | None = None
    output_schema: dict[str, Any] | None = None
    events_streaming: bool | None = None
    used_mutating_tools: bool | None = None
    is_continuous: bool | None = None
    disable_attachment_injection: bool | None = None
    return_metrics: bool | None = None
    mcp_servers: list[dict[str, Any]] | None = None
    user_tokens: dict[str, Any] | None = None
    user_oidc_token: str | None = None
    think_mode: str | None = None
    deep_planning: DeepPlanning | None = None
    execution_attempts: int | None = None
    tokens: Tokens | None = None
    llm_model_provider: str | None = None
    llm_model_name: str | None = None
    llm_reasoning_effort: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _normalize_status(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        raw = data.get("status")
        return {
            **data,
            "status": normalize_status(raw, finished=data.get("finished_at") is not None),
            "raw_status": None if raw is None else str(raw),
        }

    @field_validator("created_at", "updated_at", "started_at", "paused_at", "finished_at", mode="after")
    @classmethod
    def _naive_is_utc(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    @property
    def duration(self) -> float | None:
        """
        Seconds from the start of the run to its end, None while it goes on.

        They begin at the submit where the service gives no ``started_at``, which is often (contract 4).
        """
        begun = self.started_at or self.created_at
        if begun is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - begun).total_seconds())

    @property
    def pause(self) -> str | None:
        """What tells one pause from the next: the time of its beginning if there is one; None: not paused."""
        if self.status is not TaskStatus.PAUSED:
            return None
        return self.paused_at.isoformat() if self.paused_at else "paused"

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, agent_id={self.agent_id!r}, status={self.status.value!r})"

    __str__ = __repr__


class Agent(Tolerant):
    """An agent or a workflow; a workflow has ``type`` ``orchestration`` (contract 2.9)."""

    id: str = Field(min_length=1)
    name: str | None = None
    description: str | None = None
    status: str | None = None
    type: str | None = None
    deployment_type: str | None = None
    organization_id: str | None = None
    version: Any = None
    created_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Agent(id={self.id!r}, name={self.name!r}, type={self.type!r})"

    __str__ = __repr__


Item = TypeVar("Item", bound=Tolerant)


class Page(Tolerant, Generic[Item]):
    """One page of a list (contract 2.5). Pages shift while tasks finish: items can repeat or be missed."""

    items: list[Item]
    total: int | None = None
    page: int | None = None
    per_page: int | None = None
    total_pages: int | None = None

    @field_validator("items", mode="before")
    @classmethod
    def _skip_items_without_id(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [
            item
            for item in value
            if isinstance(item, Mapping) and isinstance(item.get("id"), str) and item["id"]
        ]


TaskPage = Page[Task]
AgentPage = Page[Agent]


class ThreadMessage(Tolerant):
    """One message of a thread; ``created_at`` is in Unix seconds (contract 2.8)."""

    id: str | None = None
    role: str | None = None
    content: Any = None
    created_at: float | None = None


@dataclass(frozen=True)
class StreamEvent:
    """
    One event of an invoke stream, whatever envelope it came in (contract section 6).

    ``repr`` shows no content, because the service echoes tokens and MCP keys back.

    :param type: the event's name in snake case, for example ``task_finished``.
    :param task_id: the task that the event is about; sub-agents' events carry ids of their own.
    :param data: what the event carries: a string, a mapping or None.
    :param raw: the envelope as it came.
    """

    type: str
    task_id: str | None = None
    data: Any = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def task(self) -> Task | None:
        """Return the task that the event carries, or None if it carries none."""
        if isinstance(self.data, Mapping) and self.data.get("id"):
            try:
                return Task.model_validate(self.data)
            except ValidationError:
                return None
        return None
