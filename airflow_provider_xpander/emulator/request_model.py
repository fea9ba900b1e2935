"""
The invoke request as the service reads it: unknown fields are ignored, wrong values answer 422.

Written from the OpenAPI document and not from the provider's own model, so that a field which
the provider gets wrong is noticed here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel


class OutputFormat(StrEnum):
    """``OutputFormat`` of the OpenAPI document."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    VOICE = "voice"


class ThinkMode(StrEnum):
    """``ThinkMode`` of the OpenAPI document."""

    DEFAULT = "default"
    HARDER = "harder"


class ReasoningEffort(StrEnum):
    """``LLMReasoningEffort`` of the OpenAPI document."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"


class SourceNodeType(StrEnum):
    """``SourceNodeType`` of the OpenAPI document; only the SDK knows the last two (contract section 3)."""

    WORKBENCH = "workbench"
    SDK = "sdk"
    TASK = "task"
    ASSISTANT = "assistant"
    WEBHOOK = "webhook"
    MCP = "mcp"
    A2A = "a2a"
    TELEGRAM = "telegram"
    SLACK = "slack"
    EMAIL = "email"
    API = "api"


class User(BaseModel):
    """``User-Input`` of the OpenAPI document."""

    email: str
    id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    additional_attributes: dict[str, Any] | None = None
    role: str | None = "member"
    is_super_admin: bool | None = False
    timezone: str | None = None


class ExecutionInput(BaseModel):
    """``AgentExecutionInput-Input`` of the OpenAPI document."""

    text: str | None = ""
    files: list[str] | None = []
    user: User | None = None


class AgentExecutionRequest(BaseModel):
    """``AgentExecutionRequest`` of the OpenAPI document: the body of the six invoke routes."""

    input: ExecutionInput
    id: str | None = None
    payload_extension: dict[str, Any] | None = None
    parent_execution_id: str | None = None
    worker_id: str | None = None
    source: str | None = None
    output_format: OutputFormat | None = None
    output_schema: dict[str, Any] | None = None
    run_locally: bool | None = False
    additional_context: str | None = None
    instructions_override: str | None = None
    test_run_node_id: str | None = None
    expected_output: str | None = None
    events_streaming: bool | None = False
    mcp_servers: list[dict[str, Any]] | None = []
    triggering_agent_id: str | None = None
    title: str | None = None
    think_mode: ThinkMode | None = ThinkMode.DEFAULT
    disable_attachment_injection: bool | None = False
    user_tokens: dict[str, Any] | None = None
    user_oidc_token: str | None = None
    return_metrics: bool | None = False
    llm_model_provider: str | None = None
    llm_model_name: str | None = None
    llm_reasoning_effort: ReasoningEffort | None = None
    source_node_type: SourceNodeType | None = None
