"""Parts that the tests of hook, operators, trigger and sensor share: emulator, connection, task instance."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from airflow_provider_xpander._compat import TaskDeferred
from airflow_provider_xpander.api import client as client_module
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api import host_budget as host_budget_module
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.emulator import EmulatorServer, Settings
from airflow_provider_xpander.emulator.calls import Call
from airflow_provider_xpander.emulator.connections import Connections
from airflow_provider_xpander.runs import watch as watch_module
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

POLL = 0.03
RUN_SECONDS = 0.1
LIMIT = 15.0
"""Seconds within which anything that these tests wait for has to happen."""

__all__ = [
    "LIMIT",
    "POLL",
    "RUN_SECONDS",
    "FakeTaskInstance",
    "OpenConnections",
    "Service",
    "connection_json",
    "eventually",
    "fire",
    "quick_repeats",
    "resume",
    "run_through",
    "running_server",
    "server_connections",
    "service",
]  # fmt: skip


NO_LIMITS = {"requests_per_minute": 0, "requests_per_hour": 0}


@dataclass
class Service:
    """The emulator as one test sees it, and the connection that leads to it."""

    server: EmulatorServer
    set_env: Callable[[str, str], None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.server.emulator, name)

    def connect(self, conn_id: str = "xpander_default", **changes: Any) -> None:
        """Define an Airflow connection; by default the one that operators use, with the valid key."""
        self.set_env(f"AIRFLOW_CONN_{conn_id.upper()}", connection_json(self.server, **changes))

    def requests(self, method: str | None = None, ending: str = "") -> list[Call]:
        """Return the requests so far, oldest first."""
        return [
            call
            for call in list(self.server.emulator.calls)
            if method in (None, call.method) and call.path.endswith(ending)
        ]

    @property
    def posts(self) -> list[Call]:
        """The invoke requests so far."""
        return [call for call in self.requests("POST") if "/invoke" in call.path]

    def start(self, agent_id: str = "echo", text: str = "hello", **fields: Any) -> str:
        """Start a run as somebody else would, without a request; returns the id of its task."""
        from airflow_provider_xpander.emulator.request_model import AgentExecutionRequest

        body = AgentExecutionRequest.model_validate({"input": {"text": text}, **fields})
        return self.server.emulator.invoke("agent", agent_id, body.model_dump(mode="json")).id


def connection_json(server: EmulatorServer, **changes: Any) -> str:
    """Return a connection to the emulator as an environment variable, without limits but for those given."""
    connection = {
        "conn_type": "xpander",
        "host": server.url,
        "password": server.api_key,
        "extra": {},
    } | changes
    if isinstance(connection["extra"], dict):
        connection["extra"] = NO_LIMITS | connection["extra"]
    return json.dumps(connection)


@pytest.fixture(scope="session")
def running_server(xpander_server: EmulatorServer) -> EmulatorServer:
    """The plugin's emulator; what is imported on first use is imported, so that it costs no test time."""
    xpander_server.emulator.reset(Settings(run_seconds=0))
    with pytest.MonkeyPatch.context() as patch:
        service = Service(xpander_server, patch.setenv)
        service.connect()
        asyncio.run(fire(XpanderTaskTrigger(service.start())))
    return xpander_server


@pytest.fixture
def service(
    running_server: EmulatorServer, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Service:
    running_server.emulator.reset(Settings(run_seconds=RUN_SECONDS))
    monkeypatch.setattr(governor_module, "BACKOFF", 0.05)
    governor_module._governors.clear()  # what other tests have sent is not to count
    shared = tmp_path_factory.mktemp("shared", numbered=True)
    shared.chmod(0o700)
    monkeypatch.setattr(host_budget_module, "place_of_host", lambda: shared)  # nor what they have seen
    service = Service(running_server, monkeypatch.setenv)
    service.connect()
    return service


@pytest.fixture
def quick_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let repeated requests follow each other at once; how often they are made stays as it is."""
    for module in (client_module, watch_module):
        monkeypatch.setattr(module, "RetryPolicy", partial(RetryPolicy, base=0.01))
    monkeypatch.setattr(watch_module, "Watch", partial(watch_module.Watch, poll_interval=POLL))


@dataclass
class OpenConnections:
    """The TCP connections that the server has accepted, by the client's address."""

    accepted: list[Any] = field(default_factory=list)
    gone: list[Any] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there were in all."""
        return len(self.accepted)

    @property
    def all_closed(self) -> bool:
        """Whether the client has closed each of them."""
        return set(self.accepted) <= set(self.gone)


@pytest.fixture
def server_connections(monkeypatch: pytest.MonkeyPatch) -> OpenConnections:
    """Watch the TCP connections of the server from now on."""
    seen = OpenConnections()
    opened, lost = Connections.opened, Connections.lost

    def note_opened(self: Connections, client: Any, transport: Any) -> None:
        seen.accepted.append(client)
        opened(self, client, transport)

    def note_lost(self: Connections, client: Any) -> None:
        seen.gone.append(client)
        lost(self, client)

    monkeypatch.setattr(Connections, "opened", note_opened)
    monkeypatch.setattr(Connections, "lost", note_lost)
    return seen


@dataclass
class FakeTaskInstance:
    """Records what is pushed to XCom, and what the service had been asked by then."""

    service: Service | None = None
    dag_id: str = "nightly"
    task_id: str = "ask"
    run_id: str = "manual__2026-11-01"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    start_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    xcom: dict[str, Any] = field(default_factory=dict)
    asked_before: dict[str, list[str]] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)
        self.xcom[key] = value
        if self.service:
            self.asked_before[key] = [call.method for call in self.service.requests()]

    def context(self) -> Any:
        """Return the context of an execution, as far as templates and operators look at it."""
        return {"ti": self, "task_instance": self, "run_id": self.run_id, "ds": "2026-11-01", "params": {}}

    def get_template_context(self) -> Any:
        return self.context()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


async def fire(trigger: Any) -> dict[str, Any]:
    """Run a trigger to its event, as the triggerer does, and return the payload."""
    async with asyncio.timeout(LIMIT):
        async for event in trigger.run():
            payload: dict[str, Any] = event.payload
            return payload
    raise AssertionError("the trigger ended without an event")


def resume(operator: Any, deferred: TaskDeferred, context: Any) -> Any:
    """Do what Airflow does with a deferred task: store the trigger, run it, call the operator back."""
    kwargs = json.loads(json.dumps(deferred.trigger.serialize()[1]))
    payload = json.loads(json.dumps(asyncio.run(fire(type(deferred.trigger)(**kwargs)))))
    carried = json.loads(json.dumps(deferred.kwargs or {}))
    try:
        return operator.resume_execution(deferred.method_name, {"event": payload, **carried}, context)
    except TaskDeferred as again:
        return resume(operator, again, context)


def run_through(operator: Any, context: Any) -> Any:
    """Render and execute an operator, through the trigger if it defers; returns what it returns."""
    operator.render_template_fields(context)
    try:
        return operator.execute(context)
    except TaskDeferred as deferred:
        return resume(operator, deferred, context)
