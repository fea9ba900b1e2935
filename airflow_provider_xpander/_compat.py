"""
Everything of Airflow that this provider uses, and the only place that knows its versions.

``airflow.providers.common.compat`` gives one import surface for 2.11 and 3.x. What has one place in all
versions and is not needed to parse a DAG (the base of triggers) is imported where it is used.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from airflow import __version__ as AIRFLOW_VERSION
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    BaseOperator,
    BaseSensorOperator,
    Context,
    PokeReturnValue,
    TaskDeferred,
    XComArg,
    conf,
    mask_secret,
)

try:
    from airflow.sdk import exceptions as deferral_exceptions
except ImportError:
    from airflow import exceptions as deferral_exceptions  # type: ignore[no-redef]

TaskDeferralError: type[Exception] = deferral_exceptions.TaskDeferralError
# 2.11 has one exception for both: there, the text of the error tells.
TaskDeferralTimeout: type[Exception] | None = getattr(deferral_exceptions, "TaskDeferralTimeout", None)
DEFERRAL_ERRORS = tuple(filter(None, (TaskDeferralError, TaskDeferralTimeout)))

# 3.3 tells a trigger when somebody ends its task; before, a trigger can only notice that it is cancelled.
HAS_TRIGGER_ON_KILL = tuple(map(int, AIRFLOW_VERSION.split(".")[:2])) >= (3, 3)

__all__ = [
    "AIRFLOW_VERSION",
    "DEFERRAL_ERRORS",
    "HAS_TRIGGER_ON_KILL",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "Context",
    "PokeReturnValue",
    "TaskDeferred",
    "XComArg",
    "context_of_late_resumption",
    "default_deferrable",
    "deferred_state",
    "is_deferral_timeout",
    "mask_secret",
    "triggerer_stats",
]


def default_deferrable() -> bool:
    """Return Airflow's own default for ``deferrable``, ``[operators] default_deferrable``."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def triggerer_stats() -> Any:
    """
    Return Airflow's ``Stats``, as a triggerer has set it up.

    Airflow 3.2 and later have two: that of the task SDK, which common.compat gives, is set up in workers
    only and drops what a triggerer counts.
    """
    from importlib import import_module

    try:
        module = import_module("airflow.observability.stats")
    except ImportError:
        module = import_module("airflow.stats")
    return module.Stats


def is_deferral_timeout(error: BaseException) -> bool:
    """Whether Airflow has ended a deferral because it took too long, rather than because its trigger died."""
    if TaskDeferralTimeout is not None:
        return isinstance(error, TaskDeferralTimeout)
    return "timeout" in str(error).lower()


def context_of_late_resumption() -> Context | None:
    """
    Return the context, if Airflow 2 is ending a task for its ``execution_timeout`` as it is resumed.

    There the time that a task was deferred counts, and where it is used up the task's ``resume_execution`` is
    not even called, only ``on_kill``. Airflow 3 does neither, and must not be asked for anything in a kill.
    """
    if not AIRFLOW_VERSION.startswith("2.") or not isinstance(sys.exc_info()[1], AirflowTaskTimeout):
        return None
    from airflow.providers.common.compat.sdk import get_current_context

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
    if AIRFLOW_VERSION.startswith("2."):
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
