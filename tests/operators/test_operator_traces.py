"""The span of a remote run, as an exporter of OpenTelemetry gets it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow_side import POLL, FakeTaskInstance, Service, run_through
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from airflow_provider_xpander.api.errors import XpanderTaskError
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)

OLD = airflow_version.startswith("2.")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What Airflow's tracing exports, set up as Airflow itself sets it up where ``otel_on`` is."""
    monkeypatch.setenv("AIRFLOW__TRACES__OTEL_ON", "True")
    exporter = InMemorySpanExporter()
    if OLD:
        from airflow.traces.otel_tracer import OtelTrace
        from airflow.traces.tracer import Trace

        monkeypatch.setattr(Trace, "instance", OtelTrace(exporter), raising=False)
    else:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


class TracedTaskInstance(FakeTaskInstance):
    """Airflow 2 makes the ids of its spans of the DAG run."""

    dag_run = SimpleNamespace(dag_id="nightly", run_id="r", start_date=datetime(2026, 11, 1, tzinfo=UTC))


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    return XpanderInvokeAgentOperator(
        **{"task_id": "ask", "agent_id": "echo", "input": "a b", "poll_interval": POLL} | kwargs
    )


def run_in_a_task(operator: Any, ti: Any) -> int:
    """Run as Airflow does, within the span of the task where it has one; returns the id of the trace."""
    if OLD:
        from airflow.traces.utils import gen_trace_id

        run_through(operator, ti.context())
        return int(gen_trace_id(ti.dag_run, as_int=True))
    with trace.get_tracer("airflow").start_as_current_span("task.execute") as span:
        run_through(operator, ti.context())
        return span.get_span_context().trace_id


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
def test_one_span_for_one_run_in_the_trace_of_the_task(
    deferrable: bool, service: Service, spans: InMemorySpanExporter
) -> None:
    ti = TracedTaskInstance()
    trace_id = run_in_a_task(agent(deferrable=deferrable, llm_model_name="gpt-x"), ti)
    (span,) = [one for one in spans.get_finished_spans() if one.name != "task.execute"]
    summary = ti.xcom["xpander_task"]
    assert (span.name, span.kind) == ("invoke_agent", trace.SpanKind.CLIENT)
    assert span.context.trace_id == trace_id
    assert span.parent is not None
    assert span.parent.trace_id == trace_id
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "xpander.ai",
        "gen_ai.agent.id": "echo",
        "gen_ai.agent.version": summary["agent_version"],
        "gen_ai.conversation.id": summary["id"],
        "gen_ai.request.model": "gpt-x",
        "gen_ai.response.model": "gpt-x",
        "gen_ai.output.type": "text",
        "gen_ai.usage.input_tokens": 182,
        "gen_ai.usage.output_tokens": 2,
        "server.address": "127.0.0.1",
        "server.port": int(service.server.url.rpartition(":")[2]),
        "xpander.task.id": summary["id"],
        "xpander.task.status": "completed",
    }
    assert _moment(span.start_time) == datetime.fromisoformat(summary["started_at"])
    assert _moment(span.end_time) == datetime.fromisoformat(summary["finished_at"])
    assert span.status.status_code is trace.StatusCode.UNSET


def test_a_run_that_failed_is_an_error(service: Service, spans: InMemorySpanExporter) -> None:
    operator = XpanderInvokeWorkflowOperator(
        task_id="ask", workflow_id="broken", input="x", poll_interval=POLL
    )
    with pytest.raises(XpanderTaskError):
        run_through(operator, TracedTaskInstance().context())
    (span,) = spans.get_finished_spans()
    assert (span.name, span.attributes["error.type"]) == ("invoke_workflow", "failed")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["gen_ai.agent.id"] == "broken"


def test_without_tracing_there_is_no_span(
    service: Service, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRACES__OTEL_ON", "False")
    run_through(agent(), TracedTaskInstance().context())
    assert not spans.get_finished_spans()


@pytest.mark.parametrize("names", [("gen_ai", "server", "error")])
def test_the_names_are_those_of_the_conventions(
    names: tuple[str, ...], service: Service, spans: InMemorySpanExporter
) -> None:
    from opentelemetry.semconv._incubating.attributes import (
        error_attributes,
        gen_ai_attributes,
        server_attributes,
    )

    known = {
        value
        for module in (error_attributes, gen_ai_attributes, server_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    with pytest.raises(XpanderTaskError):
        run_through(agent(agent_id="failing"), TracedTaskInstance().context())
    (span,) = spans.get_finished_spans()
    ours = {name for name in span.attributes if name.partition(".")[0] in names}
    assert ours <= known
    assert len(ours) > 8


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).replace(microsecond=nanoseconds // 1000 % 1_000_000)
