"""The steps that an agent written in Python takes, and the run that they make, pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.schedule import Behaviour, Told

LOGIN_URL = "https://login.example.com/connect?state=emulator"
# An agent that never ends is a mistake in a test; it must not fill the memory.
MAX_STEPS = 10_000


@dataclass(frozen=True)
class Tool:
    """A call of a tool: two events on the stream, the request and its result."""

    name: str
    payload: Any = None
    result: Any = None
    is_error: bool = False


@dataclass(frozen=True)
class Wait:
    """Seconds of the emulator's time in which nothing happens."""

    seconds: float


@dataclass(frozen=True)
class Pause:
    """The run is ``paused`` and shows these fields, until it is resumed or so many seconds have gone by."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    resume_after: float | None = None


@dataclass(frozen=True)
class End:
    """The run ends so, whatever the agent returns."""

    result: Any = None
    status: TaskStatus = TaskStatus.COMPLETED


AgentStep = Told | Tool | Wait | Pause | End | str
"""What an agent may yield; a text is a piece of its answer, as :func:`chunk`."""


def think(text: str) -> Told:
    """
    Think: an event on the stream.

    :param text: the thought.
    """
    return Told("think", text)


def tool(name: str, payload: Any = None, result: Any = None, *, is_error: bool = False) -> Tool:
    """
    Call a tool: two events on the stream.

    :param name: its name.
    :param payload: what it is called with.
    :param result: what it returns.
    :param is_error: whether it fails.
    """
    return Tool(name, payload, result, is_error)


def chunk(text: str) -> Told:
    """
    Write a piece of the answer to the stream.

    :param text: the piece.
    """
    return Told("chunk", text)


def event(type: str, data: Any = None, *, by: str = "") -> Told:
    """
    Tell any event on the stream (contract 6.3).

    :param type: its type, in snake case.
    :param data: what it carries.
    :param by: name of the sub-agent whose event it is; empty for the agent's own.
    """
    return Told(type, data, by)


def wait(seconds: float) -> Wait:
    """
    Let time go by, the emulator's: with a manual clock nothing really waits.

    :param seconds: how long.
    """
    return Wait(seconds)


def pause(node: str = "wait-1", *, resume_after: float | None = None) -> Pause:
    """
    Wait for a person (contract 4.2).

    :param node: id of the node that waits.
    :param resume_after: seconds after which the run goes on by itself; None: when it is resumed.
    """
    return Pause({"hitl_request": {"wait_node_id": node}}, resume_after)


def login(connector: str = "Salesforce", url: str = LOGIN_URL, *, resume_after: float | None = None) -> Pause:
    """
    Wait for a person who logs in to a connector (contract 4.2).

    :param connector: its name.
    :param url: where the person logs in.
    :param resume_after: seconds after which the run goes on by itself; None: when it is resumed.
    """
    return Pause({"pending_eca_request": {"connector_name": connector, "auth_url": url}}, resume_after)


def sleep_until_scheduled(seconds: float) -> Pause:
    """
    Pause for nobody and go on by itself, as a self-schedule node does (contract 4.2).

    :param seconds: for so long.
    """
    return Pause({}, seconds)


def fail(reason: str, status: TaskStatus | str = TaskStatus.FAILED) -> End:
    """
    End without success.

    :param reason: becomes the result, as on the service (contract 4.1).
    :param status: ``failed``, ``error`` or ``stopped``.
    """
    return End(reason, TaskStatus(status))


def behaviour_of(steps: Iterable[AgentStep], answer: Any = None) -> Behaviour:
    """
    Make a run of steps.

    :param steps: in order. With a ``wait`` among them they happen when it says; with none they are spread
        over the usual length of a run.
    :param answer: how the run ends, unless a step says so; None: with the text of its chunks.
    :raises TypeError: something that is no step.
    :raises ValueError: more steps than a run may have.
    """
    segments: list[tuple[list[Told], float | None, Pause | None]] = []
    story: list[Told] = []
    end: End | None = None
    number = 0
    gap = total = 0.0
    timed = False
    for taken, step in enumerate(steps, start=1):
        if taken > MAX_STEPS:
            raise ValueError(f"The agent takes more than {MAX_STEPS} steps")
        match step:
            case str() | Told() | Tool():
                if isinstance(step, Tool):
                    number += 1
                told = _told(step, number)
                story += [replace(told[0], after=gap), *(replace(one, after=0.0) for one in told[1:])]
                gap = 0.0
            case Wait():
                timed, gap, total = True, gap + step.seconds, total + step.seconds
            case Pause():
                segments.append((story, total if timed else None, step))
                story, gap, total, timed = [], 0.0, 0.0, False
            case End():
                end = step
                break
            case _:
                raise TypeError(
                    f"An agent yields steps of airflow_provider_xpander.emulator.steps, not {step!r}"
                )
    segments.append((story, total if timed else None, None))
    if end is None:
        told_text = "".join(
            str(told.data) for part, _, _ in segments for told in part if told.type == "chunk" and not told.by
        )
        end = End(told_text or None if answer is None else answer)
    return _chained(segments, end)


def _chained(segments: list[tuple[list[Told], float | None, Pause | None]], end: End) -> Behaviour:
    behaviour: Behaviour | None = None
    for story, seconds, pause_step in reversed(segments):
        if seconds is None:
            story = [replace(told, after=None) for told in story]
        behaviour = Behaviour(
            end.result,
            end.status,
            seconds,
            pause=pause_step.fields if pause_step else None,
            resume_after=pause_step.resume_after if pause_step else None,
            story=tuple(story),
            then=behaviour,
        )
    return behaviour or Behaviour(end.result, end.status)


def _told(step: str | Told | Tool, number: int) -> list[Told]:
    if isinstance(step, str):
        return [chunk(step)]
    if isinstance(step, Told):
        return [step]
    call = {
        "request_id": f"req-{number}",
        "operation_id": f"op-{step.name}",
        "tool_call_id": f"call-{number}",
        "tool_name": step.name,
        "payload": step.payload,
    }
    result = {**call, "result": step.result, "is_error": step.is_error}
    return [Told("tool_call_request", call), Told("tool_call_result", result)]
