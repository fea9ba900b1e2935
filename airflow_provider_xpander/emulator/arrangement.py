"""The things that a test arranges: settings, time, agents, faults; and the record of the calls that came."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from airflow_provider_xpander.emulator import stories
from airflow_provider_xpander.emulator.calls import Call, Calls
from airflow_provider_xpander.emulator.clock import Clock
from airflow_provider_xpander.emulator.fault import Fault
from airflow_provider_xpander.emulator.limits import RequestLimits
from airflow_provider_xpander.emulator.registry import Registry
from airflow_provider_xpander.emulator.run_fault import RunFault
from airflow_provider_xpander.emulator.scripts import Script
from airflow_provider_xpander.emulator.settings import Settings
from airflow_provider_xpander.emulator.waiters import Waiters


class Arrangement:
    """
    The part of an emulator that a test arranges; thread-safe, so it may be changed while the server runs.

    :param settings: switches; replace or change them at any time.
    :param clock: function that gives epoch seconds.
    """

    def __init__(self, settings: Settings | None = None, clock: Clock = time.time) -> None:
        self.settings = settings or Settings()
        self.clock = clock
        self.calls = Calls()
        self.faults: list[Fault] = []
        self.run_faults: list[RunFault] = []
        self.agents = Registry()
        self.waiters = Waiters()
        self.limits = RequestLimits()
        self._skipped = 0.0
        self._lock = threading.RLock()

    def now(self) -> float:
        """Return the time in epoch seconds, in the microseconds that timestamps have: dates compare equal."""
        return round(self.clock() + self._skipped, 6)

    @property
    def keeps_real_time(self) -> bool:
        """Whether the clock goes as the real one does."""
        return self.clock is time.time

    def advance(self, seconds: float) -> None:
        """
        Let time go by at once, whatever the clock.

        :param seconds: by how much.
        """
        self._skipped += seconds
        self.waiters.notify_all()

    def configure(self, changes: Mapping[str, Any]) -> Settings:
        """
        Change some of the settings.

        :param changes: fields of the settings.
        :raises pydantic.ValidationError: an unknown setting or a wrong value; nothing is changed then.
        """
        self.settings = Settings.model_validate({**self.settings.model_dump(), **changes})
        return self.settings

    def agent(self, pattern: str) -> Script:
        """
        Return the script of an agent or workflow, to say what it does: ``agent("triage").answers("ok")``.

        :param pattern: its id, or a pattern of ids such as ``enrich-*``.
        """
        return self.agents.script(pattern)

    def add_fault(self, fault: Fault) -> Fault:
        """
        Let requests go wrong from now on; the first fault that is due wins.

        :param fault: what goes wrong, and where.
        """
        self.faults.append(fault)
        return fault

    def add_run_fault(self, fault: RunFault) -> RunFault:
        """
        Let runs go wrong from now on; the first fault that is due wins.

        :param fault: what goes wrong, and in which runs.
        """
        self.run_faults.append(fault)
        return fault

    def story(self, name: str, **options: Any) -> None:
        """
        Let something happen that has a name.

        :param name: a function of :mod:`airflow_provider_xpander.emulator.stories`.
        :param options: its arguments.
        :raises ValueError: no such story, or not these options.
        """
        stories.tell(self, name, options)

    def take_fault(self, method: str, path: str) -> Fault | None:
        """
        Return the fault that is due for a request, and count it.

        :param method: HTTP method, in capitals.
        :param path: path of the request.
        """
        with self._lock:
            return next((fault for fault in self.faults if fault.take(method, path)), None)

    def record(self, call: Call) -> None:
        """
        Record a request.

        :param call: the request.
        """
        with self._lock:
            self.calls.keep(call, self.settings.keep_calls, self.settings.keep_bytes)
