"""
The span of a remote run, with the attributes of OpenTelemetry's conventions for generative AI.

One span for one run, written when it has ended, with the times that the service gives: a run that was waited
for deferred has no process of its own that could hold a span open.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_xpander._compat import run_tracer
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.usage import usage_of

PROVIDER = "xpander.ai"
"""``gen_ai.provider.name``: who was asked, which is not who made the model."""

_OUTPUT_TYPES = {"text": "text", "markdown": "text", "json": "json", "voice": "speech"}


@dataclass(frozen=True)
class Invocation:
    """
    What was asked for.

    :param kind: ``agent`` or ``workflow``.
    :param target_id: its id.
    :param model: the model that was asked for, None for the agent's own.
    """

    kind: str
    target_id: str | None = None
    model: str | None = None


def span_attributes(task: Task, invocation: Invocation, settings: Settings | None) -> dict[str, str | int]:
    """
    Return the attributes of a run's span, none of which is content.

    The names are those of the invoke-agent span (semantic conventions for generative AI, 2026; status
    "development"), with ``gen_ai.response.model`` of the same registry for the model that was really used.

    :param task: the run, in a terminal status.
    :param invocation: what was asked for.
    :param settings: those of the connection, None if they are not known.
    """
    usage = usage_of(task)
    url = urlsplit(settings.base_url if settings else "")
    attributes: dict[str, str | int | None] = {
        "gen_ai.operation.name": f"invoke_{invocation.kind}",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.agent.id": task.agent_id or invocation.target_id,
        "gen_ai.agent.version": task.agent_version,
        "gen_ai.conversation.id": task.id,
        "gen_ai.request.model": invocation.model or usage.model,
        "gen_ai.response.model": usage.model,
        "gen_ai.output.type": _OUTPUT_TYPES.get(task.output_format or ""),
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "server.address": url.hostname,
        "server.port": url.port or {"https": 443, "http": 80}.get(url.scheme),
        "xpander.task.id": task.id,
        "xpander.task.status": task.status.value,
    }
    if task.status is not TaskStatus.COMPLETED:
        attributes["error.type"] = task.status.value
    return {name: value for name, value in attributes.items() if value is not None}


def record_span(task: Task, ti: Any, invocation: Invocation, settings: Settings | None) -> None:
    """
    Write the span of a run that has ended into the trace of its Airflow task, if Airflow traces.

    :param task: the run, in a terminal status.
    :param ti: the task instance.
    :param invocation: what was asked for.
    :param settings: those of the connection, None if they are not known.
    """
    found = run_tracer(ti)
    begun = task.started_at or task.created_at
    if found is None or begun is None or task.finished_at is None:
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode

    tracer, parent, flush = found
    span = tracer.start_span(
        f"invoke_{invocation.kind}",
        context=parent,
        kind=SpanKind.CLIENT,
        attributes=span_attributes(task, invocation, settings),
        start_time=_nanoseconds(begun),
    )
    if task.status is not TaskStatus.COMPLETED:
        span.set_status(Status(StatusCode.ERROR, task.status.value))
    span.end(end_time=_nanoseconds(max(begun, task.finished_at)))
    flush()


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
