"""The stopping half of a bulk task: runs whose answers nobody wants, as fast as the budget allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import TooLong
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.bulk.packs import Pack
from airflow_provider_xpander.bulk.state import Flight
from airflow_provider_xpander.operators.bulk.ask import Asker

if TYPE_CHECKING:
    from airflow_provider_xpander.operators.bulk.book import Book


@dataclass
class Stopper:
    """
    Stops runs of a bulk task. Those that there is no time for stay in the state, so that a later step does.

    :param asker: has started them.
    """

    asker: Asker

    @property
    def book(self) -> Book:
        """The book of the task."""
        return self.asker.book

    def abandon(self, flights: Sequence[Flight]) -> None:
        """
        Have runs stopped whose answers are not wanted any more, and their rows asked about again.

        :param flights: the runs.
        """
        state = self.book.state
        for flight in flights:
            state = state.with_flight(replace(flight, pack=Pack(()), unwanted=True))
        again = [replace(flight.pack, again=True) for flight in flights if flight.pack.rows]
        self.book.state = state.without((), *again)

    def discard(self, task_ids: Sequence[str]) -> None:
        """
        Have runs stopped that no row waits for.

        :param task_ids: the runs.
        """
        self.book.state = self.book.state.with_unwanted(task_ids, time.time())

    def stop_unwanted(self) -> None:
        """Stop what is not wanted, as far as there is time."""
        for flight in self.book.state.flight:
            if flight.unwanted and flight.task_id is not None:
                if self._stop(flight.task_id, self.asker.guard.stop_unwanted) is None:
                    return
                self.book.state = self.book.state.without([flight.number])

    def stop_late(self, end: Callable[[Flight, Task], None]) -> bool:
        """
        Stop all runs in flight, as far as there is time.

        :param end: takes up a run that has ended before its stop.
        :return: whether all were stopped.
        """
        for flight in self.book.state.flight:
            if flight.task_id is None:
                continue
            stopped = self._stop(flight.task_id, self.asker.guard.stop)
            if stopped is None:
                return False
            for task in stopped:
                if task.status is TaskStatus.STOPPED or flight.unwanted:
                    again = [replace(flight.pack, again=True)] if flight.pack.rows else []
                    state = self.book.state.without([flight.number], *again)
                    self.book.state = replace(state, spent=state.spent.end(task))
                else:
                    end(flight, task)
        return True

    def _stop(self, task_id: str, stop: Callable[[list[str]], list[Task] | None]) -> list[Task] | None:
        """Stop a run, and return it if it is told how it is then; None if there is no time for that."""
        if not self.asker.pace.may(Priority.STOP):
            return None
        try:
            return stop([task_id]) or []
        except TooLong as error:
            self.trouble(error)
            return None

    def trouble(self, error: XpanderError) -> None:
        """
        Take note that the service is away, or has no time for us; it is asked again later.

        :param error: what came of a request.
        :raises XpanderError: that has been so for an hour.
        """
        self.asker.log.warning("%s", error)
        trouble = self.asker.pace.trouble(error, self.book.state)
        self.book.state = replace(self.book.state, trouble=trouble)
