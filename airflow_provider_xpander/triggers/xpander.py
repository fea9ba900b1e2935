"""The trigger that waits in the triggerer for the end of a run, without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_xpander._compat import HAS_TRIGGER_ON_KILL, min_deferral_age
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import normalize_status
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.runs.deferral import Wait, decision_of, event_of
from airflow_provider_xpander.runs.log.status_log import StatusReport
from airflow_provider_xpander.runs.stop_policy import OnKill
from airflow_provider_xpander.runs.timing import until_old_enough
from airflow_provider_xpander.runs.watch import OnPaused, Watch
from airflow_provider_xpander.triggers.deferral_clock import brought_here
from airflow_provider_xpander.triggers.poller import wait_for
from airflow_provider_xpander.triggers.stops import stop_unless_wanted


class XpanderTaskTrigger(BaseTrigger):
    """
    Fire one event when a remote task has ended, is paused (if asked for), is late, or cannot be read.

    The event carries ids and the status; whoever resumes fetches the answer. Nothing secret is in the
    parameters: Airflow 3 stores them in clear.

    :param xpander_task_id: the remote task. (Not ``task_id``: the triggerer sets an attribute of that name.)
    :param agent_id: the agent or workflow that runs it: where many wait for it, its list is read.
    :param xpander_conn_id: id of a connection of type ``xpander``.
    :param poll_interval: seconds between two polls.
    :param deadline: Unix seconds at which the wait ends, or None.
    :param on_paused: ``wait``, or ``fail`` or ``ask`` to fire when the run is paused.
    :param on_kill_action: ``stop`` the run when somebody ends the Airflow task while it is deferred, or
        ``leave`` it, as a sensor does.
    :param newer_than: Unix seconds; an end as old as that is of an earlier turn of the thread.
    :param created: Unix seconds at which the run was created, if known: how far back lists are read.
    :param asked: the pause that a person was asked about already; it does not make the trigger fire.
    :param told: the status that the log of the Airflow task has already; only another one is news.
    :param deferred_at: Unix seconds of the deferral, by the worker's clock as all moments in these arguments:
        it tells how far that clock is off.
    :param digests: marks that the turn may carry (``Identity.digests``), so that a stop that comes late does
        not stop the turn of somebody else who has continued the thread; None if they are not known.
    :param may_ask: whether the task asks people: an answer to a question of before a clear resumes it, and is
        no kill. None for what ``on_paused`` says.
    """

    def __init__(
        self,
        xpander_task_id: str,
        agent_id: str | None = None,
        xpander_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = 30.0,
        deadline: float | None = None,
        on_paused: OnPaused = "wait",
        on_kill_action: OnKill = "leave",
        newer_than: float | None = None,
        created: float | None = None,
        asked: str | None = None,
        told: str | None = None,
        deferred_at: float | None = None,
        digests: Collection[str] | None = None,
        may_ask: bool | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.xpander_task_id = xpander_task_id
        self.agent_id = agent_id
        self.xpander_conn_id = xpander_conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.on_paused: OnPaused = on_paused
        self.on_kill_action: OnKill = on_kill_action
        self.newer_than = newer_than
        self.created = created
        self.asked = asked
        self.told = told
        self.deferred_at = deferred_at
        self.digests = None if digests is None else sorted(digests)
        self.may_ask = on_paused == "ask" if may_ask is None else may_ask
        self._report: StatusReport | None = None
        self._link = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the parameters, plain JSON."""
        return (
            "airflow_provider_xpander.triggers.xpander.XpanderTaskTrigger",
            {
                "xpander_task_id": self.xpander_task_id,
                "agent_id": self.agent_id,
                "xpander_conn_id": self.xpander_conn_id,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "on_paused": self.on_paused,
                "on_kill_action": self.on_kill_action,
                "newer_than": self.newer_than,
                "created": self.created,
                "asked": self.asked,
                "told": self.told,
                "deferred_at": self.deferred_at,
                "digests": self.digests,
                "may_ask": self.may_ask,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait with all others of the process (``triggers/poller.py``), then fire once."""
        began = time.monotonic()
        try:
            event = await self._wait()
            await self._hold(began)
        except asyncio.CancelledError:
            if not HAS_TRIGGER_ON_KILL:
                await self.on_kill()
            raise
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _hold(self, began: float) -> None:
        """Let the deferral get old enough; where no scheduler is, as in ``dag.test()``, any age will do."""
        if self.task_instance is not None:
            await asyncio.sleep(until_old_enough(began, min_deferral_age(), time.monotonic()))

    async def on_kill(self) -> None:
        """
        Stop the run, unless its task instance still waits for it.

        Airflow 3.3 calls this when somebody ends the task, but also when another triggerer takes the trigger
        over; earlier versions only cancel the trigger, at a shutdown too. The stop itself is not cut off by
        the cancellations that follow.
        """
        await stop_unless_wanted(
            self.task_instance,
            xpander_task_id=self.xpander_task_id,
            conn_id=self.xpander_conn_id,
            action=self.on_kill_action,
            log=self.log,
            link=self._link,
            taken_up=self._taken_up,
            digests=self.digests,
            newer_than=self.newer_than,
        )

    async def _wait(self) -> dict[str, Any]:
        watch = Watch(
            self.xpander_task_id,
            self.poll_interval,
            brought_here(self, self.deadline),
            self.on_paused,
            self.newer_than,
            asked=self.asked,
            since=self.created,
            brief=True,
            status=normalize_status(self.told) if self.told else None,
        )
        try:
            over = await wait_for(
                self.xpander_conn_id,
                watch,
                agent_id=self.agent_id,
                created=self.created,
                report=self._note,
                log=self.logger(),  # that of the class: thousands of triggers need not hold one each
            )
        except ValueError as error:
            # The connection was changed while the task waited.
            return event_of(self._awaited(), message=printable(error))
        return event_of(self._awaited(), over)

    def _awaited(self) -> Wait:
        return Wait(self.xpander_task_id, self.agent_id, self.deadline, self.newer_than, self.asked)

    def _note(self, task: Task, settings: Settings) -> None:
        """Write into the log what is new about the run."""
        if self._report is None:
            self._report = StatusReport(self.logger(), settings, self.asked, self.told)
            self._link = settings.task_link(task_id=self.xpander_task_id, agent_id=self.agent_id)
        self._report(task)

    async def _taken_up(self) -> bool:
        """Whether a worker has the run in its hands, because somebody has answered an earlier question."""
        if not self.may_ask or self.task_instance is None:
            return False
        from airflow_provider_xpander.required_actions import persons_choice

        found = await persons_choice(str(self.task_instance.id))
        return decision_of(found) is not None
