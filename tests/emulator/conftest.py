from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator, EmulatorServer, ManualClock, Settings


@pytest.fixture(scope="session")
def running_server(xpander_server: EmulatorServer) -> EmulatorServer:
    return xpander_server


@pytest.fixture
def server(running_server: EmulatorServer) -> Iterator[EmulatorServer]:
    running_server.emulator.reset(Settings(run_seconds=0.05))
    yield running_server
    # The other tests of the session use the same server, as it was, and their time has to go by.
    running_server.emulator.reset(Settings())
    running_server.emulator.clock = time.time


@pytest.fixture
def emulator(server: EmulatorServer) -> Emulator:
    return server.emulator


@pytest.fixture
def api(server: EmulatorServer) -> Api:
    return Api(server)


@pytest.fixture
def clock(emulator: Emulator) -> ManualClock:
    clock = emulator.clock = ManualClock()
    return clock
