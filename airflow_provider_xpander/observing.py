"""What a run that has ended tells Airflow's metrics and traces, told once by whoever saw it end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_xpander._compat import worker_stats
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.usage import usage_of
from airflow_provider_xpander.tracing import Invocation, record_span

ENDED = "xpander.run.ended"
"""Counter of runs that have ended, by ``agent_id`` (the workflow's, for a workflow) and ``status``."""
DURATION = "xpander.run.duration"
"""Timer of their duration, in the unit of all of Airflow's timers, with the same tags."""
TOKENS = "xpander.run.tokens"
"""Counter of the tokens that they have used, with the same tags and ``type``: ``input`` or ``output``."""


def observe(task: Task, ti: Any, invocation: Invocation, settings: Settings | None, log: Any) -> None:
    """
    Count a run that has ended, and write its span if Airflow traces.

    Nothing is raised: the answer was paid for, and a broken collector must not cost it.

    :param task: the run, in a terminal status.
    :param ti: the task instance that saw it end.
    :param invocation: what was asked for.
    :param settings: those of the connection, None if they are not known.
    :param log: where to say what could not be told.
    """
    try:
        count(task)
        record_span(task, ti, invocation, settings)
    except Exception as error:  # whatever the collector, or a tracer, dies of
        log.warning("The end of xpander task %s could not be told to metrics or traces: %s", task.id, error)


def count(task: Task) -> None:
    """Add a run that has ended to Airflow's metrics."""
    metrics, usage = worker_stats(), usage_of(task)
    tags = {"agent_id": task.agent_id or "unknown", "status": task.status.value}
    metrics.incr(ENDED, 1, tags=tags)
    if usage.seconds is not None:
        metrics.timing(DURATION, timedelta(seconds=usage.seconds), tags=tags)
    for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        if tokens:
            metrics.incr(TOKENS, tokens, tags={**tags, "type": kind})
