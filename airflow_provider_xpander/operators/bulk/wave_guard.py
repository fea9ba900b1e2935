"""The guard of many runs: that of one run, for all that a bulk task has in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_xpander.api.exchange import Steps
from airflow_provider_xpander.operators.run_guard import KillState, RunGuard
from airflow_provider_xpander.operators.stopping import KILL_LAG, KILL_TIMEOUT, LOG_TIMEOUT, stop_quickly

if TYPE_CHECKING:
    from airflow_provider_xpander.operators.starter import RunStarter

AT_ONCE = 8
"""Stops that are sent at a time on a kill, which leaves a few seconds for all."""


@dataclass
class WaveGuard(RunGuard):
    """
    Sees to it that no run of a bulk task goes on that nobody wants.

    :param runs: gives the ids of those in flight.
    :param starting: what starts a run at this moment, or None.
    """

    runs: Callable[[], list[str]] = list
    starting: RunStarter | None = None

    def _own(self) -> list[str]:
        return self.runs()

    def find_started(self) -> list[str]:
        """Return the run that was being started when the attempt was ended, if it shows."""
        return [] if self.starting is None else self._find(self.starting)

    def on_kill(self) -> None:
        """Answer a kill with stops that need nothing of Airflow, several at a time."""
        if not self.state.kill():
            return
        runs, starting = self.runs(), self.starting
        if self.on_kill_action != "stop":
            self.log.info("Killed; %d runs go on, as on_kill_action says", len(runs))
            return
        jobs = [partial(self._stop, _known(runs[first::AT_ONCE])) for first in range(min(AT_ONCE, len(runs)))]
        if starting is not None:
            jobs.append(partial(self._stop, partial(starting.going_on, lag=KILL_LAG), str(starting.mark)))
        threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(KILL_TIMEOUT + LOG_TIMEOUT)
        self.state.handle()

    def _stop(self, search: Callable[[], Steps[list[str]]], sign: str = "") -> None:
        state = KillState()
        if self.state.client is not None:
            state.connected(self.state.client)
        state.starting(sign, search)
        stop_quickly(state, self.log)


def _known(runs: list[str]) -> Callable[[], Steps[list[str]]]:
    """Return a search that finds what is known."""

    def search() -> Steps[list[str]]:
        yield from ()
        return runs

    return search
