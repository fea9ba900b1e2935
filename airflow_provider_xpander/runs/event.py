"""The event from the trigger to the worker: written by the one, checked and read by the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_xpander.api.errors import printable
from airflow_provider_xpander.runs.watch import End, Over


@dataclass(frozen=True)
class WaitEvent:
    """
    What the trigger found.

    :param xpander_task_id: the remote task.
    :param end: why the wait is over.
    :param agent_id: the agent or workflow, or None if the trigger was not told.
    :param status: the status when last seen, as the API spells it, or None.
    :param message: what went wrong, with ``End.ERROR``.
    """

    xpander_task_id: str
    end: End
    agent_id: str | None = None
    status: str | None = None
    message: str | None = None


def event_of(
    xpander_task_id: str, agent_id: str | None, over: Over | None = None, *, message: str | None = None
) -> dict[str, Any]:
    """
    Make the event's payload: ids, status and a short text. Airflow logs it and stores it in clear.

    :param xpander_task_id: the remote task.
    :param agent_id: the agent or workflow.
    :param over: how the wait ended; None for an error that ``message`` tells.
    :param message: what went wrong.
    """
    if over is not None and over.error is not None:
        message = printable(over.error)
    return {
        "xpander_task_id": xpander_task_id,
        "agent_id": agent_id,
        "end": (over.end if over else End.ERROR).value,
        "status": over.status.value if over and over.status else None,
        "message": message,
    }


def read_event(payload: Any) -> WaitEvent:
    """
    Check and read a payload.

    :param payload: the event's payload.
    :raises ValueError: it is not one of :func:`event_of`.
    """
    if not isinstance(payload, Mapping) or not payload.get("xpander_task_id"):
        raise ValueError(f"The trigger's event is not one of this provider: {printable(payload, 200)}")
    return WaitEvent(
        str(payload["xpander_task_id"]),
        End(str(payload.get("end"))),
        payload.get("agent_id"),
        payload.get("status"),
        payload.get("message"),
    )
