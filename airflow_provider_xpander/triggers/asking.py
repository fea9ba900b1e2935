"""The triggers of tasks that have asked a person: about a paused run, or after the end of the run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_xpander._compat import min_deferral_age
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.required_actions import close_question, persons_choice
from airflow_provider_xpander.runs.deferral import carry, decision_of
from airflow_provider_xpander.runs.question import WENT_ON
from airflow_provider_xpander.runs.timing import until_old_enough
from airflow_provider_xpander.triggers.deferral_clock import brought_here
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

CHOICE_INTERVAL = 5.0
"""Seconds between two reads of the question, as long as in Airflow's own trigger of this kind."""


class XpanderAskingTrigger(XpanderTaskTrigger):
    """
    Wait as :class:`XpanderTaskTrigger` does, and fire when a person has made a choice, too.

    Airflow 3.3 resumes the task by itself when somebody chooses, unless that was before it was deferred;
    earlier versions leave all of it to the trigger. Where the run goes on without a choice, the question is
    closed, and the wait goes on.

    :param ti_id: id of the task instance that has asked.
    :param kwargs: as for :class:`XpanderTaskTrigger`; ``asked`` is the pause that the question is about.
    """

    def __init__(self, ti_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ti_id = ti_id
        self._closing: asyncio.Task[None] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the parameters, plain JSON."""
        _, kwargs = super().serialize()
        return (
            "airflow_provider_xpander.triggers.asking.XpanderAskingTrigger",
            {"ti_id": self.ti_id, **kwargs},
        )

    async def _wait(self) -> dict[str, Any]:
        waits = [asyncio.create_task(super()._wait()), asyncio.create_task(self._choice())]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if self._closing is not None:
                # The worker may ask the next question at once; this choice must not be taken for its.
                await self._closing
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()

    async def _choice(self) -> dict[str, Any]:
        found = await _persons_decision(self.ti_id, self.log)
        return (found or {}) | carry(self._awaited())

    def _note(self, task: Task, settings: Settings) -> None:
        super()._note(task, settings)
        if task.pause != self.asked and self._closing is None:
            self._closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        self.log.info("The run went on by itself; nobody has to choose any more")
        try:
            await close_question(self.ti_id, WENT_ON)
        except Exception as error:  # it only leaves a question open that nobody has to decide
            self.log.warning("The question could not be closed: %s", error)

    async def _taken_up(self) -> bool:
        """Whether a worker has the run in its hands, because somebody has made a choice."""
        found = await persons_choice(self.ti_id)
        return decision_of(found) is not None


class XpanderChoiceTrigger(BaseTrigger):
    """
    Fire when a person has answered the question of a task whose run has ended, or when the time is up.

    Airflow 3.3 resumes the task by itself when somebody answers; earlier versions leave that to the trigger.

    :param ti_id: id of the task instance that has asked.
    :param deadline: Unix seconds up to which is waited, or None.
    :param deferred_at: Unix seconds of the deferral, by the worker's clock as all moments in these arguments:
        it tells how far that clock is off.
    """

    def __init__(self, ti_id: str, deadline: float | None = None, deferred_at: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ti_id = ti_id
        self.deadline = deadline
        self.deferred_at = deferred_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the parameters, plain JSON."""
        return (
            "airflow_provider_xpander.triggers.asking.XpanderChoiceTrigger",
            {"ti_id": self.ti_id, "deadline": self.deadline, "deferred_at": self.deferred_at},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every few seconds whether somebody has answered."""
        began = time.monotonic()
        found = await _persons_decision(self.ti_id, self.log, brought_here(self, self.deadline))
        if self.task_instance is not None:
            await asyncio.sleep(until_old_enough(began, min_deferral_age(), time.monotonic()))
        yield TriggerEvent(found or {"late": True})  # type: ignore[no-untyped-call]


async def _persons_decision(ti_id: str, log: Any, deadline: float | None = None) -> dict[str, Any] | None:
    """
    Wait until a person has answered a question, whatever Airflow's API does meanwhile.

    :param ti_id: id of the task instance that has asked.
    :param log: where to say that the question cannot be read.
    :param deadline: Unix seconds up to which is waited, or None.
    :return: as Airflow itself gives it to a task that it resumes; None if nobody has answered in time.
    """
    told = False
    while True:
        try:
            found = await persons_choice(ti_id)
        except Exception as error:  # whatever Airflow's API dies of, the wait goes on
            if not told:
                log.warning("Whether somebody has made a choice could not be read: %s", error)
            told, found = True, None
        if decision_of(found) is not None:
            return found
        left = CHOICE_INTERVAL if deadline is None else min(CHOICE_INTERVAL, deadline - time.time())
        if left <= 0:
            return None
        await asyncio.sleep(left)
