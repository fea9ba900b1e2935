"""
The course of a run over time, pure.

A run is a plan: steps with the time at which they happen. What a run looks like is computed from its plan
and the clock whenever somebody asks, so nothing runs in the background and the same times give the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus


@dataclass(frozen=True)
class Behaviour:
    """
    What a run of an agent does.

    :param result: the answer; what is not a string is an answer in JSON.
    :param status: how the run ends.
    :param seconds: from submit to end (or pause); None means as long as the settings say.
    :param pause: fields of the task while it is paused; None means that it does not pause.
    :param resume_after: seconds after which a paused run resumes by itself; None means it does not.
    :param nodes: ids of the workflow nodes that the run executes, in order.
    :param story: what the run tells on its stream while it works, instead of a thought and a tool call.
    :param then: what the run does after the pause; None means that it ends as this one says.
    """

    result: Any = None
    status: TaskStatus = TaskStatus.COMPLETED
    seconds: float | None = None
    pause: Mapping[str, Any] | None = None
    resume_after: float | None = None
    nodes: tuple[str, ...] = ()
    story: tuple[Told, ...] = ()
    then: Behaviour | None = None

    @property
    def ending(self) -> Behaviour:
        """The last part of the run, which says how it ends."""
        return self.then.ending if self.pause is not None and self.then else self

    @property
    def after_pause(self) -> Behaviour:
        """What the run does after the pause."""
        return self.then or replace(self, pause=None, nodes=(), story=())


@dataclass(frozen=True)
class Told:
    """
    An event that a run tells on its stream.

    :param type: its type (contract 6.3).
    :param data: what it carries.
    :param by: name of the sub-agent whose event it is; empty for the run's own.
    :param after: seconds since the event before it; None in all of a story spreads them evenly.
    """

    type: str
    data: Any = None
    by: str = ""
    after: float | None = None


@dataclass(frozen=True)
class Step:
    """
    From ``at`` (epoch seconds) on the run has this status, and these fields of its task are changed.

    :param told: the event with which the step shows on the stream, instead of the task.
    :param then: what a step that pauses the run goes on with.
    """

    at: float
    status: TaskStatus
    fields: Mapping[str, Any] = field(default_factory=dict)
    told: Told | None = None
    then: Behaviour | None = None


Plan = tuple[Step, ...]


@dataclass(frozen=True)
class Snapshot:
    """What a run looks like at one moment; times are epoch seconds."""

    status: TaskStatus
    updated_at: float
    started_at: float | None
    paused_at: float | None
    finished_at: float | None
    fields: Mapping[str, Any]


def plan_run(start: float, behaviour: Behaviour, end: Mapping[str, Any], *, pending: float) -> Plan:
    """
    Lay out a run.

    :param start: when it was submitted, in epoch seconds.
    :param behaviour: of its agent, with its ``seconds``.
    :param end: fields of the task when the run ends.
    :param pending: seconds until it is executing, at most.
    """
    done = start + (behaviour.seconds or 0.0)
    executing = min(start + pending, done)
    steps = (Step(start, TaskStatus.PENDING), Step(executing, TaskStatus.EXECUTING))
    return (*steps, *_course(executing, done, behaviour, end))


def _course(start: float, done: float, behaviour: Behaviour, end: Mapping[str, Any]) -> Plan:
    """Lay out what a run does from the moment at which it executes."""
    steps = []
    for number, node in enumerate(behaviour.nodes[:-1], start=1):
        at = start + (done - start) * number / len(behaviour.nodes)
        steps.append(Step(at, TaskStatus.EXECUTING, {"last_executed_node_id": node}))
    at = start
    for told in behaviour.story:
        at += (done - start) / (len(behaviour.story) + 1) if told.after is None else told.after
        steps.append(Step(min(at, done), TaskStatus.EXECUTING, told=told))
    if behaviour.nodes:
        end = {**end, "last_executed_node_id": behaviour.nodes[-1]}
    if behaviour.pause is None:
        return (*steps, Step(done, behaviour.status, end))
    then = behaviour.after_pause
    plan = (*steps, Step(done, TaskStatus.PAUSED, behaviour.pause, then=then))
    if behaviour.resume_after is None:
        return plan
    return resumed(plan, done + behaviour.resume_after, then, end)


def reached(plan: Plan, now: float) -> Plan:
    """
    Return the steps that have happened by ``now``; the first one always has.

    :param plan: the steps of the run.
    :param now: epoch seconds.
    """
    return tuple(step for step in plan if step.at <= now) or plan[:1]


def next_step(plan: Plan, now: float) -> float | None:
    """
    Return when the next step happens, or None if none is planned.

    :param plan: the steps of the run.
    :param now: epoch seconds.
    """
    return next((step.at for step in plan if step.at > now), None)


def snapshot(plan: Plan, now: float) -> Snapshot:
    """
    Return what the run looks like at a time.

    :param plan: the steps of the run.
    :param now: epoch seconds.
    """
    steps = reached(plan, now)
    fields: dict[str, Any] = {}
    for step in steps:
        fields |= step.fields
    executing = [step.at for step in steps if step.status is TaskStatus.EXECUTING]
    paused = [step.at for step in steps if step.status is TaskStatus.PAUSED]
    last = steps[-1]
    return Snapshot(
        status=last.status,
        updated_at=last.at,
        started_at=executing[0] if executing else None,
        paused_at=paused[-1] if paused else None,
        finished_at=last.at if last.status.is_terminal else None,
        fields=fields,
    )


def ended(plan: Plan, at: float, status: TaskStatus, fields: Mapping[str, Any]) -> Plan:
    """
    Let the run end at ``at``, unless it is over by then: a run can complete while it is being stopped.

    :param plan: the steps of the run.
    :param at: epoch seconds.
    :param status: how it ends.
    :param fields: fields of the task from then on.
    """
    steps = reached(plan, at)
    return steps if steps[-1].status.is_terminal else (*steps, Step(at, status, fields))


def resumed(plan: Plan, at: float, then: Behaviour, end: Mapping[str, Any]) -> Plan:
    """
    Let a run that is paused at ``at`` execute again; others are left alone.

    :param plan: the steps of the run.
    :param at: epoch seconds.
    :param then: what the run does from then on; it takes its ``seconds``.
    :param end: fields of the task at its end.
    """
    steps = reached(plan, at)
    if steps[-1].status is not TaskStatus.PAUSED:
        return plan
    waits_no_more = {"hitl_request": None, "pending_eca_request": None}
    going_on = Step(at, TaskStatus.EXECUTING, waits_no_more)
    return (*steps, going_on, *_course(at, at + (then.seconds or 0.0), then, end))
