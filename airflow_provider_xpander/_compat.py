"""
Everything of Airflow that this provider uses, and the only place that knows its versions.

What is not needed to parse a DAG is imported where it is used. ``apache-airflow-providers-common-compat``
knows too few of these names in the constraints of Airflow 2.11.0 and of 3.0 to 3.1.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow import __version__ as AIRFLOW_VERSION

_VERSION = tuple(map(int, AIRFLOW_VERSION.split(".")[:2]))

if TYPE_CHECKING or _VERSION >= (3, 0):
    from airflow.sdk import (
        BaseNotifier,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        PokeReturnValue,
        XComArg,
    )
else:
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.baseoperatorlink import BaseOperatorLink
    from airflow.models.xcom_arg import XComArg
    from airflow.notifications.basenotifier import BaseNotifier
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
    from airflow.utils.context import Context

if TYPE_CHECKING or _VERSION >= (3, 1):
    from airflow.sdk import BaseHook
    from airflow.sdk.log import mask_secret, redact  # type: ignore[attr-defined]
elif _VERSION >= (3, 0):
    from airflow.hooks.base import BaseHook
    from airflow.sdk.execution_time.secrets_masker import mask_secret, redact
else:
    from airflow.hooks.base import BaseHook
    from airflow.utils.log.secrets_masker import mask_secret, redact

if TYPE_CHECKING or _VERSION >= (3, 2):
    from airflow.sdk import exceptions as _exceptions
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferred,
    )
else:
    from airflow import exceptions as _exceptions
    from airflow.configuration import conf
    from airflow.exceptions import (
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferred,
    )

try:  # Airflow 3.3 asks a task's policy whether and when it is tried again
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

    HAS_RETRY_POLICY = True
except ImportError:
    RetryDecision = RetryPolicy = object  # type: ignore[assignment,misc]
    HAS_RETRY_POLICY = False

# 2.11 has one exception for both: there, the text of the error tells.
TaskDeferralTimeout: type[Exception] | None = getattr(_exceptions, "TaskDeferralTimeout", None)
DEFERRAL_ERRORS: tuple[type[Exception], ...] = tuple(filter(None, (TaskDeferralError, TaskDeferralTimeout)))

# 3.3 tells a trigger when somebody ends its task; before, it can only notice that it is cancelled.
HAS_TRIGGER_ON_KILL = _VERSION >= (3, 3)
# A task can ask a person a question in Airflow's UI ("required actions").
HAS_HUMAN_IN_THE_LOOP = _VERSION >= (3, 1)
HAS_EVENT_TRIGGERS = _VERSION >= (3, 0)

TRACER = "airflow_provider_xpander"
"""Name of the instrumentation in traces."""

__all__ = [
    "AIRFLOW_VERSION",
    "DEFERRAL_ERRORS",
    "HAS_EVENT_TRIGGERS",
    "HAS_HUMAN_IN_THE_LOOP",
    "HAS_RETRY_POLICY",
    "HAS_TRIGGER_ON_KILL",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "PokeReturnValue",
    "RetryDecision",
    "RetryPolicy",
    "TaskDeferred",
    "XComArg",
    "connection_in_event_loop",
    "context_of_late_resumption",
    "default_deferrable",
    "deferred_state",
    "deployment_name",
    "is_deferral_timeout",
    "mask_secret",
    "masked",
    "min_deferral_age",
    "object_storage_path",
    "push_past_backend",
    "run_tracer",
    "triggerer_stats",
    "worker_stats",
    "xcom_of",
]


def default_deferrable() -> bool:
    """Return Airflow's own default for ``deferrable``, ``[operators] default_deferrable``."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def min_deferral_age() -> float:
    """
    Return the seconds that a deferral lasts at the least, ``[xpander] min_deferral_age``.

    A task that is resumed before the scheduler has seen the end of its worker is taken for dead, and failed.
    """
    return max(0.0, float(conf.getfloat("xpander", "min_deferral_age", fallback=10.0)))


def deployment_name() -> str:
    """Return the name of this installation of Airflow, ``[xpander] deployment``; empty if it has none."""
    return str(conf.get("xpander", "deployment", fallback="") or "").strip()


def masked(text: str) -> str:
    """
    Return a text without the secrets that Airflow knows of.

    :param text: any text.
    """
    return str(redact(text))


def xcom_of(ti_key: Any, key: str) -> Any:
    """
    Read an XCom value of a task instance: in a worker of Airflow 3, or in the webserver of Airflow 2.

    :param ti_key: the task instance or its key.
    :param key: key of the value.
    """
    if TYPE_CHECKING or _VERSION >= (3, 0):
        from airflow.sdk.execution_time.xcom import XCom
    else:
        from airflow.models.xcom import XCom
    return XCom.get_value(ti_key=ti_key, key=key)


def push_past_backend(ti: Any, key: str, value: str) -> None:
    """
    Push an XCom that the API server of Airflow 3 reads without the XCom backend, as it reads links.

    A backend may store a reference, such as the address of a file, in place of the value. Airflow itself goes
    past the backend when it stores a link, but that is at the end of a task.

    :param ti: the task instance.
    :param key: key of the value.
    :param value: what to store.
    """
    if not AIRFLOW_VERSION.startswith("2."):
        from airflow.sdk.bases.xcom import BaseXCom
        from airflow.sdk.execution_time.xcom import XCom

        if XCom is not BaseXCom and hasattr(XCom, "_set_xcom_in_db"):
            XCom._set_xcom_in_db(
                key=key,
                value=value,
                dag_id=ti.dag_id,
                task_id=ti.task_id,
                run_id=ti.run_id,
                map_index=-1 if ti.map_index is None else ti.map_index,
            )
            return
    ti.xcom_push(key, value)


def worker_stats() -> Any:
    """Return Airflow's ``Stats``, as a worker has set it up by ``[metrics]``."""
    if TYPE_CHECKING or _VERSION >= (3, 2):
        from airflow.sdk.observability.stats import Stats
    else:
        from airflow.stats import Stats
    return Stats


def run_tracer(ti: Any) -> tuple[Any, Any, Callable[[], object]] | None:
    """
    Return what writes a span into Airflow's trace of a task, or None if ``[traces] otel_on`` is not set.

    :param ti: the task instance.
    :return: an OpenTelemetry tracer; the context that has the span of the task, None for the present one; and
        what sends the spans, where Airflow itself does not before the process ends.
    """
    if not conf.getboolean("traces", "otel_on", fallback=False):
        return None
    from opentelemetry import trace

    if _VERSION < (3, 0):
        from airflow.traces.otel_tracer import gen_context
        from airflow.traces.tracer import Trace
        from airflow.traces.utils import gen_span_id, gen_trace_id

        # The span of the task is written by the scheduler, later; its ids are known already.
        task_span = gen_context(int(gen_trace_id(ti.dag_run, as_int=True)), int(gen_span_id(ti, as_int=True)))
        parent = trace.set_span_in_context(trace.NonRecordingSpan(task_span))
        return Trace.get_tracer(component=TRACER), parent, Trace.span_processor.force_flush
    return trace.get_tracer(TRACER), None, lambda: None


async def connection_in_event_loop(conn_id: str) -> Any:
    """
    Read a connection within a triggerer, without blocking its loop.

    :param conn_id: its id.
    """
    from asgiref.sync import sync_to_async

    if TYPE_CHECKING or _VERSION >= (3, 0):
        from airflow.sdk import Connection

        # Came with 3.3.2, as did an ``aget_connection`` that does not end with ``DeadlockImminentError`` when
        # the loop talks to Airflow meanwhile.
        if hasattr(Connection, "aextra_dejson"):
            return await BaseHook.aget_connection(conn_id)
    return await sync_to_async(BaseHook.get_connection)(conn_id)


def object_storage_path(url: str) -> Any:
    """
    Return Airflow's path to a file wherever fsspec reaches; imported when it is used, for it is heavy.

    :param url: of the file, with any scheme that fsspec knows.
    """
    if TYPE_CHECKING or _VERSION >= (3, 0):
        from airflow.sdk import ObjectStoragePath
    else:
        from airflow.io.path import ObjectStoragePath
    return ObjectStoragePath(url)


def triggerer_stats() -> Any:
    """
    Return Airflow's ``Stats``, as a triggerer has set it up.

    Airflow 3.2 and later have two: that of the task SDK is set up in workers only and drops what a triggerer
    counts.
    """
    if TYPE_CHECKING or _VERSION >= (3, 2):
        from airflow.observability.stats import Stats
    else:
        from airflow.stats import Stats
    return Stats


def is_deferral_timeout(error: BaseException) -> bool:
    """
    Whether Airflow has ended a deferral because it took too long, rather than because its trigger died.

    :param error: what a resumed task was given.
    """
    if TaskDeferralTimeout is not None:
        return isinstance(error, TaskDeferralTimeout)
    return "timeout" in str(error).lower()


def context_of_late_resumption() -> Context | None:
    """
    Return the context, if Airflow 2 is ending a task for its ``execution_timeout`` as it is resumed.

    There the time that a task was deferred counts, and where it is used up the task's ``resume_execution`` is
    not even called, only ``on_kill``. Airflow 3 does neither, and must not be asked for anything in a kill.
    """
    if _VERSION >= (3, 0) or not isinstance(sys.exc_info()[1], AirflowTaskTimeout):
        return None
    from airflow.operators.python import get_current_context  # type: ignore[import-not-found]

    context = get_current_context()
    return context if getattr(context["ti"], "next_method", None) else None


async def deferred_state(task_instance: Any, xcom_key: str) -> tuple[str | None, Any]:
    """
    Read, from within a triggerer, the present state of a task instance and one of its XCom values.

    :param task_instance: the one that the trigger belongs to.
    :param xcom_key: key of the value.
    """
    place = {
        "dag_id": task_instance.dag_id,
        "task_id": task_instance.task_id,
        "run_id": task_instance.run_id,
        "map_index": task_instance.map_index,
    }
    if _VERSION < (3, 0):
        return await asyncio.to_thread(_deferred_state_in_database, xcom_key, place)
    from asgiref.sync import sync_to_async

    return await sync_to_async(_deferred_state_from_supervisor)(xcom_key, place)


def _deferred_state_from_supervisor(xcom_key: str, place: dict[str, Any]) -> tuple[str | None, Any]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from airflow.sdk.execution_time.xcom import XCom

    states = RuntimeTaskInstance.get_task_states(
        dag_id=place["dag_id"],
        task_ids=[place["task_id"]],
        run_ids=[place["run_id"]],
        map_index=place["map_index"],
    )
    # A mapped task is listed under its id and index: there is only the one that was asked for.
    state = next(iter(states.get(place["run_id"], {}).values()), None)
    return state, XCom.get_one(key=xcom_key, **place)


def _deferred_state_in_database(xcom_key: str, place: dict[str, Any]) -> tuple[str | None, Any]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XCom
    from airflow.utils.session import create_session

    with create_session() as session:
        state = session.query(TaskInstance.state).filter_by(**place).scalar()
        return state, XCom.get_one(key=xcom_key, session=session, **place)
