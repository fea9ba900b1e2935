"""An agent of one's own: what it answers, streams, waits for, and how it fails."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.agents import Agent, Prompt
from airflow_provider_xpander.emulator.schedule import Behaviour
from airflow_provider_xpander.emulator.steps import MAX_STEPS, AgentStep, End, Pause, behaviour_of, pause


class Script:
    """
    What an agent does, said piece by piece: ``agent("triage").answers("ok").takes(60)``.

    :param pattern: id of the agent, or a pattern of ids (``enrich-*``).
    :param otherwise: the agent that acts while :meth:`answers` was not called.
    """

    def __init__(self, pattern: str, otherwise: Agent) -> None:
        self.pattern = pattern
        self.whole_packs = False
        self._otherwise = otherwise
        self._answer: Any = None
        self._has_answer = False
        self._story: tuple[AgentStep, ...] | None = None
        self._pause: Pause | None = None
        self._end: End | None = None
        self._failures: Iterator[object] = iter(())
        self._seconds: float | None = None

    def answers(self, answer: Any, *, whole_packs: bool = False) -> Script:
        """
        Answer this; also a decorator for a function.

        A function takes the :class:`Prompt` and returns the answer, or is a generator of steps
        (:mod:`airflow_provider_xpander.emulator.steps`); both may be ``async``. It is called when the run is
        submitted, and runs to its end then; what it yields is laid out on the emulator's clock. What it
        raises ends the run with ``error``.

        :param answer: text; or data, which is answered as JSON; or a function; or a list with the answer
            of each turn of a thread, whose last one is that of all further turns.
        :param whole_packs: the function is asked about a whole pack of rows at once, and answers all of it.
        """
        self._answer, self._has_answer, self.whole_packs = answer, True, whole_packs
        return self

    def fails(
        self,
        reason: str = "I could not complete the task.",
        *,
        status: TaskStatus | str = TaskStatus.FAILED,
        times: int | None = None,
    ) -> Script:
        """
        End without success.

        :param reason: becomes the result of the run.
        :param status: ``failed``, ``error`` or ``stopped``.
        :param times: only so many runs; None is all.
        """
        self._end = End(reason, TaskStatus(status))
        self._failures = itertools.repeat(None) if times is None else itertools.repeat(None, times)
        return self

    def pauses(self, how: Pause | str = "wait-1", *, resume_after: float | None = None) -> Script:
        """
        Pause before the end.

        :param how: a step of :mod:`airflow_provider_xpander.emulator.steps` (``login()``), or the id of
            the node that waits for a person.
        :param resume_after: seconds after which the run goes on by itself; None: when it is resumed.
        """
        step = pause(how) if isinstance(how, str) else how
        self._pause = step if resume_after is None else replace(step, resume_after=resume_after)
        return self

    def streams(self, steps: Iterable[AgentStep]) -> Script:
        """
        Tell these steps on the stream; the text of their chunks is the answer if there is no other.

        :param steps: texts, or steps of :mod:`airflow_provider_xpander.emulator.steps`.
        """
        self._story = tuple(steps)
        return self

    def takes(self, seconds: float) -> Script:
        """
        Take so long from submit to the end, or to the pause.

        :param seconds: on the emulator's clock.
        """
        self._seconds = seconds
        return self

    @property
    def calls_python(self) -> bool:
        """Whether a function of somebody else is called, which may take its time."""
        given = self._answer if isinstance(self._answer, list) else [self._answer]
        return any(callable(one) for one in given)

    def act(self, prompt: Prompt) -> Behaviour:
        """
        Do what was said.

        :param prompt: what the agent is asked.
        """
        try:
            behaviour = self._behaviour(prompt)
        except Exception as error:  # of an author's function; as on the service, the result says why
            return Behaviour(f"{type(error).__name__}: {error}", TaskStatus.ERROR, self._seconds)
        if self._seconds is not None:
            behaviour = replace(behaviour, seconds=self._seconds)
        if self._end is not None and next(self._failures, self) is not self:
            behaviour = replace(behaviour, result=self._end.result, status=self._end.status, then=None)
        if self._pause is not None:
            after = replace(behaviour, story=(), seconds=None)
            behaviour = replace(
                behaviour, pause=self._pause.fields, resume_after=self._pause.resume_after, then=after
            )
        return behaviour

    def _behaviour(self, prompt: Prompt) -> Behaviour:
        if not self._has_answer:
            if self._story is None:
                return self._otherwise(prompt)
            told = behaviour_of(self._story)
            return told if told.result is not None else replace(told, result=self._otherwise(prompt).result)
        answer = self._answer
        if isinstance(answer, list):
            answer = answer[min(len(prompt.earlier), len(answer) - 1)]
        made = run(answer, prompt) if callable(answer) else answer
        if isinstance(made, Behaviour):
            return made
        return behaviour_of(self._story or (), made)


def run(function: Callable[[Prompt], Any], prompt: Prompt) -> Any:
    """
    Call an agent's function, of whatever kind, and return its answer or what its steps make.

    :param function: takes the prompt.
    :param prompt: what the agent is asked.
    """
    made = function(prompt)
    if inspect.isawaitable(made):
        made = asyncio.run(_awaited(made))
    elif isinstance(made, AsyncIterable):
        made = asyncio.run(_collected(made))
    if isinstance(made, _Steps):
        return behaviour_of(made)
    if isinstance(made, Generator):
        steps, answer = _drained(made)
        return behaviour_of(steps, answer)
    return made


class _Steps(list[AgentStep]):
    """Steps of an asynchronous generator: a list of its own kind, as a list may be an answer."""


def _drained(generator: Generator[AgentStep, None, Any]) -> tuple[Sequence[AgentStep], Any]:
    answer: Any = None

    def steps() -> Iterator[AgentStep]:
        nonlocal answer
        answer = yield from generator

    return list(itertools.islice(steps(), MAX_STEPS + 1)), answer


async def _awaited(made: Any) -> Any:
    return await made


async def _collected(generator: AsyncIterable[AgentStep]) -> _Steps:
    steps = _Steps()
    async for step in generator:
        steps.append(step)
        if len(steps) > MAX_STEPS:
            break
    return steps
