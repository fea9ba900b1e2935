"""
A wait that passes from a worker to the triggerer, by the trigger's arguments, and back, by its event.

An event may also be what a person has decided who was asked in Airflow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.log.status_log import told_of
from airflow_provider_xpander.runs.question import OPTIONS, STOP, WENT_ON
from airflow_provider_xpander.runs.stop_policy import OnKill
from airflow_provider_xpander.runs.watch import End, OnPaused, Over, Watch


@dataclass(frozen=True)
class Wait:
    """
    What is waited for.

    :param task_id: the run.
    :param agent_id: the agent or workflow that runs it, None if it is not known.
    :param run_deadline: Unix seconds at which the run has to have ended, or None.
    :param newer_than: Unix seconds; an end as old as that is of an earlier turn of the thread.
    :param asked: the pause that a person was asked about already.
    """

    task_id: str
    agent_id: str | None = None
    run_deadline: float | None = None
    newer_than: float | None = None
    asked: str | None = None

    def watch(self, poll_interval: float, on_paused: OnPaused) -> Watch:
        """
        Return what decides after each look at the run.

        :param poll_interval: seconds between two looks at the run.
        :param on_paused: whether a paused run is waited for.
        """
        return Watch(
            self.task_id, poll_interval, self.run_deadline, on_paused, self.newer_than, asked=self.asked
        )

    def trigger_arguments(
        self,
        task: Task,
        *,
        xpander_conn_id: str,
        poll_interval: float,
        on_paused: OnPaused,
        on_kill_action: OnKill,
        now: float,
        digests: Collection[str] | None = None,
        may_ask: bool = False,
    ) -> dict[str, Any]:
        """
        Return the arguments of the trigger: plain JSON, and nothing secret, for Airflow stores them in clear.

        :param task: the run as it was seen last.
        :param xpander_conn_id: id of the Airflow connection.
        :param poll_interval: seconds between two looks at the run.
        :param on_paused: whether a paused run is waited for.
        :param on_kill_action: what becomes of the run when the Airflow task is gone.
        :param now: Unix seconds of the deferral.
        :param digests: marks that the run may carry; None if they are not known.
        :param may_ask: whether the task asks people in Airflow.
        """
        return {
            "xpander_task_id": self.task_id,
            "agent_id": self.agent_id,
            "xpander_conn_id": xpander_conn_id,
            "poll_interval": poll_interval,
            "deadline": self.run_deadline,
            "on_paused": on_paused,
            "on_kill_action": on_kill_action,
            "newer_than": self.newer_than,
            "created": task.created_at.timestamp() if task.created_at else None,
            "asked": self.asked,
            "told": told_of(task),
            "deferred_at": now,
            "digests": None if digests is None else sorted(digests),
            "may_ask": may_ask,
        }


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


def event_of(wait: Wait, over: Over | None = None, *, message: str | None = None) -> dict[str, Any]:
    """
    Make the event's payload: ids, status, times and a short text. Airflow logs it and stores it in clear.

    :param wait: what was waited for.
    :param over: how the wait ended; None for an error that ``message`` tells.
    :param message: what went wrong.
    """
    if over is not None and over.error is not None:
        message = printable(over.error)
    return {
        **carry(wait),
        "end": (over.end if over else End.ERROR).value,
        "status": over.status.value if over and over.status else None,
        "message": message,
    }


def carry(wait: Wait) -> dict[str, Any]:
    """
    Return what an event tells of a wait: ``dag.test()`` keeps nothing else of a deferral.

    :param wait: what was waited for.
    """
    return {
        "xpander_task_id": wait.task_id,
        "agent_id": wait.agent_id,
        "deadline": wait.run_deadline,
        "newer_than": wait.newer_than,
        "asked": wait.asked,
    }


def wait_of(payload: Any, **kept: Any) -> Wait:
    """
    Return what was waited for.

    :param payload: the event's payload; one of an earlier version may tell less.
    :param kept: what Airflow has kept of the deferral, under the names of :func:`carry`; it goes first.
    :raises ValueError: neither names the run.
    """
    told = {
        name: payload.get(name) for name in ("xpander_task_id", "agent_id", "deadline", "newer_than", "asked")
    }
    told |= {name: value for name, value in kept.items() if value is not None}
    if not told["xpander_task_id"]:
        raise ValueError(f"The event names no run: {printable(payload, 200)}")
    return Wait(
        str(told["xpander_task_id"]), told["agent_id"], told["deadline"], told["newer_than"], told["asked"]
    )


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


@dataclass(frozen=True)
class Decision:
    """
    What a person has decided.

    :param options: what was chosen.
    :param by: name of the person, or None if Airflow does not say.
    :param at: when, as ISO 8601, or None if Airflow does not say.
    :param inputs: what was written into the fields of the form.
    """

    options: tuple[str, ...]
    by: str | None = None
    at: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)


def decision_of(payload: Any) -> Decision | None:
    """
    Read a decision out of an event with which Airflow resumes a task.

    :param payload: the event, of Airflow itself or of our own trigger.
    :return: None if it is another event.
    """
    if not isinstance(payload, Mapping):
        return None
    options = tuple(option for option in map(str, payload.get("chosen_options") or ()) if option != WENT_ON)
    if not options:
        return None
    by, at = payload.get("responded_by_user"), payload.get("responded_at")
    name = by.get("name") if isinstance(by, Mapping) else None
    return Decision(
        options,
        printable(name, 100) if name else None,
        at.isoformat() if isinstance(at, datetime) else printable(at, 50) if at else None,
        payload.get("params_input") or {},
    )


@dataclass(frozen=True)
class Choice:
    """
    What a person has chosen about a paused run.

    :param stop: whether the run is to be stopped.
    :param by: name of the person, or None if Airflow does not say.
    """

    stop: bool
    by: str | None = None


def choice_of(payload: Any) -> Choice | None:
    """
    Read the choice about a paused run out of an event with which Airflow resumes a task.

    :param payload: the event. It may also be one about the run, which has no choice.
    :return: None if nobody has chosen one of the options.
    """
    decision = decision_of(payload)
    if decision is None or not set(OPTIONS).intersection(decision.options):
        return None
    return Choice(STOP in decision.options, decision.by)
