"""Hits of the soak: what hits an Airflow and the service, and with them all runs of a wave."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.local_airflow import LocalAirflow


def _triggerer_killed(airflow: LocalAirflow, service: EmulatorServer) -> None:
    airflow.kill("triggerer")
    airflow.start("triggerer")


def _triggerer_stopped(airflow: LocalAirflow, service: EmulatorServer) -> None:
    airflow.stop("triggerer", limit=30)
    airflow.start("triggerer")


def go_away(service: EmulatorServer, seconds: float) -> None:
    """
    Let the service be away for some time: nobody listens on its port.

    :param service: the service.
    :param seconds: for how long.
    """
    service.stop()
    time.sleep(seconds)
    service.start()


def _service_away(airflow: LocalAirflow, service: EmulatorServer) -> None:
    go_away(service, 10)


def _list_lags(airflow: LocalAirflow, service: EmulatorServer) -> None:
    service.emulator.configure({"list_lag_seconds": 6})
    for _ in range(4):
        service.emulator.add_fault(Fault.throttled(times=5))
        time.sleep(6)
    service.emulator.configure({"list_lag_seconds": 0})


Hits = Mapping[str, Callable[[Any, EmulatorServer], None]]
"""What can hit an Airflow, which is a local one or a cluster, and the service."""

ON_ALL: Hits = {
    "triggerer killed": _triggerer_killed,
    "triggerer stopped": _triggerer_stopped,
    "service away for 10 s": _service_away,
    "list lags, bursts of 429": _list_lags,
}
"""What hits a whole wave at once, on top of what each run has."""
AT_ONCE = {"list lags, bursts of 429"}
"""What begins with the wave, so that it hits submits too."""
