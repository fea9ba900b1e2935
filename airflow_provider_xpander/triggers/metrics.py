"""What a triggerer counts about its waits, through Airflow's own Stats."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow_provider_xpander._compat import triggerer_stats


class Metrics:
    """
    Counters of one connection.

    * ``xpander.polls``: looks at one run; ``xpander.list_pages``: pages of lists;
    * ``xpander.throttled``: requests refused with 429;
    * ``xpander.waiters``: how many wait now;
    * ``xpander.detection_delay``: milliseconds from the end of a run to its event, by the service's time of
      the end and the triggerer's clock.

    :param conn_id: id of the Airflow connection, a tag of each.
    """

    def __init__(self, conn_id: str) -> None:
        self._tags = {"conn_id": conn_id}
        self._waiters = 0

    @cached_property
    def _stats(self) -> Any:
        return triggerer_stats()

    def open(self) -> None:
        """Do what takes long the first time; not in an event loop."""
        self._stats.gauge("xpander.waiters", self._waiters, tags=self._tags)

    def poll(self) -> None:
        """Count a look at one run."""
        self._stats.incr("xpander.polls", tags=self._tags)

    def list_page(self) -> None:
        """Count a page of a list."""
        self._stats.incr("xpander.list_pages", tags=self._tags)

    def throttled(self) -> None:
        """Count a refusal."""
        self._stats.incr("xpander.throttled", tags=self._tags)

    def waiters(self, number: int) -> None:
        """Tell how many wait, if that is news."""
        if number == self._waiters:
            return
        self._waiters = number
        self._stats.gauge("xpander.waiters", number, tags=self._tags)

    def detected(self, seconds: float) -> None:
        """Tell how late the end of a run was noticed."""
        self._stats.timing("xpander.detection_delay", max(0.0, seconds) * 1000, tags=self._tags)
