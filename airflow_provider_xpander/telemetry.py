"""
Metrics and traces of remote runs, through Airflow's own ``Stats`` and tracer.

:func:`record_end` is called once for a run, by whoever saw it end. :class:`WaitMetrics` is what a triggerer
counts meanwhile. Nothing here raises: an answer was paid for, and a broken collector must not cost it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_xpander._compat import run_tracer, triggerer_stats, worker_stats
from airflow_provider_xpander.api.models import Task, Tokens
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus

ENDED = "xpander.run.ended"
"""Counter of runs that have ended, by ``agent_id`` (the workflow's, for a workflow) and ``status``."""
ENDED_AS = {
    TaskStatus.COMPLETED: "xpander.run.completed",
    TaskStatus.FAILED: "xpander.run.failed",
    TaskStatus.ERROR: "xpander.run.error",
    TaskStatus.STOPPED: "xpander.run.stopped",
}
"""The same by name, because plain StatsD drops the tags."""
DURATION = "xpander.run.duration"
"""Timer of their duration, in the unit of all of Airflow's timers, with the same tags."""
TOKENS = "xpander.run.tokens"
"""Counter of the tokens that they have used, with the same tags and ``type``: ``input`` or ``output``."""
INPUT_TOKENS, OUTPUT_TOKENS = "xpander.run.input_tokens", "xpander.run.output_tokens"
"""The same by name."""
ROWS = "xpander.bulk.rows"
"""Counter of rows of bulk tasks, by ``status``: ``answered``, ``cached`` or ``failed``."""
ROWS_AS = {
    "answered": "xpander.bulk.answered",
    "cached": "xpander.bulk.cached",
    "failed": "xpander.bulk.failed",
}
"""The same by name."""
PROVIDER = "xpander.ai"
"""``gen_ai.provider.name``: who was asked, which is not who made the model."""

_OUTPUT_TYPES = {"text": "text", "markdown": "text", "json": "json", "voice": "speech"}

log = logging.getLogger(__name__)


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


def record_end(task: Task, ti: Any, invocation: Invocation, settings: Settings | None, log: Any) -> None:
    """
    Count a run that has ended, and write its span if Airflow traces.

    :param task: the run, in a terminal status.
    :param ti: the task instance that saw it end.
    :param invocation: what was asked for.
    :param settings: those of the connection, None if they are not known.
    :param log: where to say what could not be recorded.
    """
    try:
        count(task)
        record_span(task, ti, invocation, settings)
    except Exception as error:  # whatever the collector, or a tracer, dies of
        log.warning("Metrics or traces of xpander task %s could not be sent: %s", task.id, error)


def count(task: Task) -> None:
    """
    Add a run to Airflow's metrics.

    :param task: the run, in a terminal status.
    """
    metrics, tokens = worker_stats(), task.tokens or Tokens()
    tags = {"agent_id": task.agent_id or "unknown", "status": task.status.value}
    metrics.incr(ENDED, 1, tags=tags)
    if task.status in ENDED_AS:
        metrics.incr(ENDED_AS[task.status], 1, tags=tags)
    if task.duration is not None:
        metrics.timing(DURATION, timedelta(seconds=task.duration), tags=tags)
    for kind, name, number in (
        ("input", INPUT_TOKENS, tokens.prompt_tokens),
        ("output", OUTPUT_TOKENS, tokens.completion_tokens),
    ):
        if number:
            metrics.incr(TOKENS, number, tags={**tags, "type": kind})
            metrics.incr(name, number, tags=tags)


def count_rows(**numbers: int) -> None:
    """
    Add rows of a bulk task to Airflow's metrics.

    :param numbers: of the rows, by what became of them.
    """
    try:
        metrics = worker_stats()
        for status, number in numbers.items():
            if number:
                metrics.incr(ROWS, number, tags={"status": status})
                metrics.incr(ROWS_AS[status], number)
    except Exception as error:  # whatever the collector dies of: the rows are written
        log.warning("Metrics of a bulk task could not be sent: %s", error)


def span_attributes(task: Task, invocation: Invocation, settings: Settings | None) -> dict[str, str | int]:
    """
    Return the attributes of a run's span, none of which is content.

    The names are those of the invoke-agent span (semantic conventions for generative AI, 2026; status
    "development"), with ``gen_ai.response.model`` of the same registry for the model that was really used.

    :param task: the run, in a terminal status.
    :param invocation: what was asked for.
    :param settings: those of the connection, None if they are not known.
    """
    tokens = task.tokens or Tokens()
    url = urlsplit(settings.base_url if settings else "")
    attributes: dict[str, str | int | None] = {
        "gen_ai.operation.name": f"invoke_{invocation.kind}",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.agent.id": task.agent_id or invocation.target_id,
        "gen_ai.agent.version": task.agent_version,
        "gen_ai.conversation.id": task.id,
        "gen_ai.request.model": invocation.model or task.llm_model_name,
        "gen_ai.response.model": task.llm_model_name,
        "gen_ai.output.type": _OUTPUT_TYPES.get(task.output_format or ""),
        "gen_ai.usage.input_tokens": tokens.prompt_tokens,
        "gen_ai.usage.output_tokens": tokens.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": tokens.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": tokens.cache_write_tokens,
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
    Write the span of a run into the trace of its Airflow task, if Airflow traces.

    It is written when the run has ended, with the times that the service gives: while a task is deferred, no
    process lives that could hold a span open.

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


class WaitMetrics:
    """
    What a triggerer counts about the waits of one connection.

    * ``xpander.polls``: looks at one run; ``xpander.list_pages``: pages of lists;
    * ``xpander.throttled``: requests refused with 429;
    * ``xpander.waiters``: how many wait now;
    * ``xpander.detection_delay``: milliseconds from the end of a run to its event, by the service's time of
      the end and the triggerer's clock.

    :param conn_id: id of the Airflow connection, a tag of each.
    """

    def __init__(self, conn_id: str) -> None:
        self._tags = {"conn_id": conn_id}
        self._waiters = 0
        self._broken = False

    @cached_property
    def _stats(self) -> Any:
        return triggerer_stats()

    def open(self) -> None:
        """Do what takes long the first time; not in an event loop."""
        self._send("gauge", "xpander.waiters", self._waiters)

    def poll(self) -> None:
        """Count a look at one run."""
        self._send("incr", "xpander.polls")

    def list_page(self) -> None:
        """Count a page of a list."""
        self._send("incr", "xpander.list_pages")

    def throttled(self) -> None:
        """Count a refusal."""
        self._send("incr", "xpander.throttled")

    def waiters(self, number: int) -> None:
        """
        Set how many wait.

        :param number: of waits.
        """
        if number != self._waiters:
            self._waiters = number
            self._send("gauge", "xpander.waiters", number)

    def detected(self, seconds: float) -> None:
        """
        Record how late the end of a run was noticed.

        :param seconds: from the end to the event.
        """
        self._send("timing", "xpander.detection_delay", max(0.0, seconds) * 1000)

    def _send(self, kind: str, name: str, *values: float) -> None:
        try:
            getattr(self._stats, kind)(name, *values, tags=self._tags)
        except Exception as error:  # whatever a collector dies of, nobody waits in vain for it
            if not self._broken:
                log.warning("Metrics of %s could not be sent: %s", self._tags["conn_id"], error)
            self._broken = True
