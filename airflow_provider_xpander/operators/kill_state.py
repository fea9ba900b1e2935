"""
The state of a kill: all that it needs to know of an attempt, changed by its own methods only.

    starting --started--> going on --handle--> handled
                             ^                    |
                             '------next_turn-----'

``kill`` may come at any time. It is noted, whatever the state; a run that is started or continued after it is
stopped as soon as its id is known. ``handled`` means that the run has ended or that its fate was decided, so
that neither a kill nor a failure has anything to do any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_xpander.api.exchange import Steps
from airflow_provider_xpander.api.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_xpander.api.client import Client

Search = Callable[[], Steps[list[str]]]


@dataclass
class KillState:
    """
    What a kill needs to know of an attempt; read once, because a kill may not ask Airflow for anything.

    :param agent_id: the agent or workflow, for links; None if it is not known.
    :param task_id: the run; None while it is being started.
    """

    agent_id: str | None = None
    task_id: str | None = None
    newer_than: float | None = None
    """Unix seconds at which the turn of the thread before it ended, if there was one."""
    client: Client | None = field(default=None, init=False)
    """That of the attempt, as soon as the connection is read; it knows the key as it is now."""
    sign: str = field(default="", init=False)
    """What the title of a run that is being started contains."""
    search: Search | None = field(default=None, init=False)
    """Looks for the ids of runs that are being started."""
    killed: bool = field(default=False, init=False)
    """Whether the kill has come."""
    handled: bool = field(default=False, init=False)
    """Whether the run has ended, or it was decided what becomes of it."""

    @property
    def settings(self) -> Settings | None:
        """Those of the connection as it was read last, None if it was not."""
        return None if self.client is None else self.client.settings

    def connected(self, client: Client) -> None:
        """
        Note how the service is reached.

        :param client: that of the attempt.
        """
        self.client = client

    def starting(self, sign: str, search: Search) -> None:
        """
        Note how a run is found that is being started.

        :param sign: what its title contains.
        :param search: looks for the ids of such runs.
        """
        self.sign, self.search = sign, search

    def started(self, task_id: str, newer_than: float | None = None) -> None:
        """
        Note the id of the run.

        :param task_id: the run, or the turn of it that was started.
        :param newer_than: Unix seconds at which the turn of the thread before it ended, if there was one.
        """
        self.task_id, self.newer_than = task_id, newer_than

    def next_turn(self) -> None:
        """Note that the run goes on: a further turn of it may have been started."""
        self.handled = False

    def handle(self) -> None:
        """Note that the run has ended, or that it was decided what becomes of it."""
        self.handled = True

    def kill(self) -> bool:
        """Note the kill; return whether there is a run to see to."""
        self.killed = True
        return not self.handled
