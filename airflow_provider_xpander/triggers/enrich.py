"""The trigger that waits for a wave of runs of a bulk task, and the wait itself, which a worker uses too."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_xpander._compat import HAS_TRIGGER_ON_KILL, min_deferral_age
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.bulk.folder import Folder
from airflow_provider_xpander.bulk.ledger import read_state
from airflow_provider_xpander.bulk.progress import INTERVAL, progress
from airflow_provider_xpander.bulk.state import Flight, State, spans
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.runs.stop_policy import OnKill
from airflow_provider_xpander.runs.timing import resume_shift, until_old_enough
from airflow_provider_xpander.runs.watch import End, OnPaused, Over, Watch
from airflow_provider_xpander.triggers.deferral_clock import shift_of
from airflow_provider_xpander.triggers.poller import wait_for
from airflow_provider_xpander.triggers.stops import stop_wave_unless_wanted

__all__ = ["XpanderWaveTrigger"]

GRACE = 5.0
"""Seconds for which the others are waited for when enough runs of a wave have ended."""
PATIENCE = 900.0
"""Seconds after which any run that has ended is enough."""
LONGEST_NAP = 60.0
"""Seconds between two looks at the clock."""
SHORTEST = 30.0
"""Seconds that a wait for budget lasts here at the least, unless less was left when the task was deferred."""


@dataclass(frozen=True)
class WaveWait:
    """
    What is waited for.

    :param conn_id: id of the Airflow connection.
    :param agent_id: the agent or workflow that runs all.
    :param poll_interval: seconds between two looks at a run.
    :param enough: how many runs have to have ended.
    :param until: Unix seconds at which there is something to do in any case, or None.
    :param deadline: Unix seconds at which the wait ends, or None.
    :param on_paused: whether a paused run is waited for.
    """

    conn_id: str
    agent_id: str | None
    poll_interval: float
    enough: int
    until: float | None = None
    deadline: float | None = None
    on_paused: OnPaused = "wait"

    @property
    def end(self) -> float:
        """The Unix second at which the wait ends in any case."""
        return min(moment for moment in (self.until, self.deadline, math.inf) if moment is not None)

    def watch(self, run: Flight) -> Watch:
        """
        Return what decides after each look at a run.

        :param run: the run.
        """
        return Watch(
            run.task_id or "",
            self.poll_interval,
            self.deadline,
            self.on_paused,
            run.newer_than,
            since=run.at,
            brief=True,
        )


async def wait_for_wave(wait: WaveWait, state: State, log: Any) -> list[int]:
    """
    Wait until enough runs of a wave have ended, or it is time.

    :param wait: what is waited for.
    :param state: of the task, with the wave in flight.
    :param log: where the progress goes.
    :return: numbers of the packs whose runs go on, as far as is known.
    """
    began = time.time()
    known = sum(run.goes_on for run in state.flight)
    log.info("Waiting for %d runs, until %d have ended", known, min(known, wait.enough))
    waits = {asyncio.create_task(_end_of(wait, run, log)): run.number for run in state.flight if run.goes_on}
    going, ended, stop_at, next_line = set(waits), 0, wait.end, began + INTERVAL
    try:
        while (now := time.time()) < stop_at and (going or ended < wait.enough):
            if ended and now - began >= PATIENCE:
                break
            if now >= next_line:
                next_line = now + INTERVAL
                log.info("%s", progress(state, now, ended))
            nap = min(stop_at, next_line, now + LONGEST_NAP) - now
            if not going:
                await asyncio.sleep(nap)
                continue
            done, going = await asyncio.wait(going, timeout=nap, return_when=asyncio.FIRST_COMPLETED)
            ended += len(done)
            if ended >= wait.enough:
                stop_at = min(stop_at, time.time() + GRACE)
    finally:
        for one in going:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return sorted(waits[one] for one in going)


async def _end_of(wait: WaveWait, run: Flight, log: Any) -> Over:
    try:
        return await wait_for(
            wait.conn_id,
            wait.watch(run),
            agent_id=wait.agent_id,
            created=run.at,
            report=_tell_nothing,
            log=log,
        )
    except ValueError as error:  # the connection was changed: the worker says so
        return Over(End.ERROR, error=XpanderError(printable(error)))


def _tell_nothing(*_: Any) -> None:
    """Take what is new about a run: of hundreds, that would be too much for a log."""


class XpanderWaveTrigger(BaseTrigger):
    """
    Fire one event when enough runs of a wave have ended, or it is time.

    Which runs, is in a file of the task's ledger. Nothing secret is in the parameters: Airflow 3 stores them
    in clear.

    :param result_path: URL of the folder of the task.
    :param wave: name of the file in it that has the state of the task.
    :param agent_id: the agent or workflow that runs all.
    :param xpander_conn_id: id of a connection of type ``xpander``.
    :param poll_interval: seconds between two looks at a run.
    :param enough: how many runs have to have ended.
    :param until: Unix seconds at which there is something to do in any case, or None.
    :param deadline: Unix seconds at which the wait ends, or None.
    :param on_paused: ``wait``, or ``fail`` to count a paused run as one that has ended.
    :param on_kill_action: ``stop`` the runs when somebody ends the Airflow task while it is deferred, or
        ``leave`` them.
    :param deferred_at: Unix seconds of the deferral, by the worker's clock as all moments in these arguments:
        it tells how far that clock is off.
    """

    def __init__(
        self,
        result_path: str,
        wave: str,
        agent_id: str | None = None,
        xpander_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = 30.0,
        enough: int = 1,
        until: float | None = None,
        deadline: float | None = None,
        on_paused: OnPaused = "wait",
        on_kill_action: OnKill = "leave",
        deferred_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.result_path = result_path
        self.wave = wave
        self.agent_id = agent_id
        self.xpander_conn_id = xpander_conn_id
        self.poll_interval = poll_interval
        self.enough = enough
        self.until = until
        self.deadline = deadline
        self.on_paused: OnPaused = on_paused
        self.on_kill_action: OnKill = on_kill_action
        self.deferred_at = deferred_at
        self._runs: list[str] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the parameters, plain JSON."""
        return (
            "airflow_provider_xpander.triggers.enrich.XpanderWaveTrigger",
            {
                "result_path": self.result_path,
                "wave": self.wave,
                "agent_id": self.agent_id,
                "xpander_conn_id": self.xpander_conn_id,
                "poll_interval": self.poll_interval,
                "enough": self.enough,
                "until": self.until,
                "deadline": self.deadline,
                "on_paused": self.on_paused,
                "on_kill_action": self.on_kill_action,
                "deferred_at": self.deferred_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait with all others of the process (``triggers/poller.py``), then fire once."""
        began = time.monotonic()
        try:
            event = await self._wait()
            # Where no scheduler is, as in dag.test(), any age will do.
            if self.task_instance is not None:
                await asyncio.sleep(until_old_enough(began, min_deferral_age(), time.monotonic()))
        except asyncio.CancelledError:
            if not HAS_TRIGGER_ON_KILL:
                await self.on_kill()
            raise
        told = {"clock": time.time() - shift_of(self), "deadline": self.deadline}
        yield TriggerEvent(event | told)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """
        Stop the runs, unless the task instance still waits for this wave.

        Airflow 3.3 calls this when somebody ends the task, but also when another triggerer takes the trigger
        over; earlier versions only cancel the trigger, at a shutdown too.
        """
        await stop_wave_unless_wanted(
            self.task_instance,
            wave=self.wave,
            runs=self._runs if self._runs is not None else (await self._read()).task_ids,
            conn_id=self.xpander_conn_id,
            action=self.on_kill_action,
            log=self.log,
        )

    async def _wait(self) -> dict[str, Any]:
        shift = shift_of(self)
        wait = WaveWait(
            self.xpander_conn_id,
            self.agent_id,
            self.poll_interval,
            self.enough,
            until_here(self.until, self.deferred_at, shift, time.time()),
            None if self.deadline is None else self.deadline + shift,
            self.on_paused,
        )
        try:
            state = await self._read()
        except XpanderError as error:
            # The worker reads it, and fails if it must.
            return event_of(self.wave, None, printable(error))
        self._runs = state.task_ids
        return event_of(self.wave, await wait_for_wave(wait, state.shifted(shift), self.log))

    async def _read(self) -> State:
        # A file system may need a connection of Airflow's, which is read as everywhere in a triggerer.
        return await sync_to_async(read_state)(Folder(self.result_path), self.wave)


def until_here(until: float | None, deferred_at: float | None, shift: float, now: float) -> float | None:
    """
    Return when there is something to do, by the clock of this process; not at once, whatever the clocks say.

    A worker that is resumed too early has nothing to do but to defer again.

    :param until: Unix seconds by the worker's clock, or None.
    :param deferred_at: Unix seconds of the deferral by that clock, or None.
    :param shift: what to add to have them by the clock here, as far as that is known.
    :param now: Unix seconds here.
    """
    if until is None or deferred_at is None:
        return until
    return max(until + shift, now + min(until - deferred_at, SHORTEST))


def event_of(wave: str, going: list[int] | None, message: str | None = None) -> dict[str, Any]:
    """
    Make the event's payload: numbers of packs. Airflow logs it and stores it in clear.

    :param wave: name of the file of the wave.
    :param going: numbers of the packs whose runs go on; None if that is not known.
    :param message: what went wrong.
    """
    return {"wave": wave, "going": None if going is None else spans(going), "message": message}


def going_of(payload: Any) -> set[int] | None:
    """
    Return the numbers of the packs whose runs go on, None if the event does not tell.

    :param payload: the event's payload.
    """
    going = payload.get("going") if isinstance(payload, Mapping) else None
    if not isinstance(going, list):
        return None
    return {number for first, last in going for number in range(first, last + 1)}


def moments_of(payload: Any, now: float) -> tuple[float, float | None]:
    """
    Return what to add to the times of the state that was waited for, and the deadline, by the clock here.

    :param payload: the event's payload.
    :param now: Unix seconds by the clock of this worker, which may not be the one that has deferred.
    :return: the deadline is None where the event does not tell of one.
    """
    told = payload if isinstance(payload, Mapping) else {}
    shift, deadline = resume_shift(told.get("clock"), now), told.get("deadline")
    return shift, None if deadline is None else deadline + shift
