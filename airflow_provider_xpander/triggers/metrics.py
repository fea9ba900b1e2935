"""What a triggerer counts about its waits, through Airflow's own Stats."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

from airflow_provider_xpander._compat import triggerer_stats

log = logging.getLogger(__name__)


class Metrics:
    """
    Counters of one connection. What cannot be counted is not counted; nothing is raised.

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
        self._broken = False

    @cached_property
    def _stats(self) -> Any:
        return triggerer_stats()

    def open(self) -> None:
        """Do what takes long the first time; not in an event loop."""
        self._tell("gauge", "xpander.waiters", self._waiters)

    def poll(self) -> None:
        """Count a look at one run."""
        self._tell("incr", "xpander.polls")

    def list_page(self) -> None:
        """Count a page of a list."""
        self._tell("incr", "xpander.list_pages")

    def throttled(self) -> None:
        """Count a refusal."""
        self._tell("incr", "xpander.throttled")

    def waiters(self, number: int) -> None:
        """Tell how many wait, if that is news."""
        if number != self._waiters:
            self._waiters = number
            self._tell("gauge", "xpander.waiters", number)

    def detected(self, seconds: float) -> None:
        """Tell how late the end of a run was noticed."""
        self._tell("timing", "xpander.detection_delay", max(0.0, seconds) * 1000)

    def _tell(self, kind: str, name: str, *values: float) -> None:
        try:
            getattr(self._stats, kind)(name, *values, tags=self._tags)
        except Exception as error:  # whatever a collector dies of, nobody waits in vain for it
            if not self._broken:
                log.warning("Metrics of %s could not be sent: %s", self._tags["conn_id"], error)
            self._broken = True
