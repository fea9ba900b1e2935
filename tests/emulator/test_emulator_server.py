from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import requests
from certificates import make_certificates
from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator, EmulatorServer, Fault, ManualClock, Settings

TEXT = {"input": {"text": "take 60"}}


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "xpander-emulator"]


def test_a_server_leaves_nothing_behind() -> None:
    before = len(threads())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with EmulatorServer() as server, requests.Session() as session:
            assert session.get(server.url + "/health", timeout=10).json() == "ok"
            port = server.port
        gc.collect()
    assert len(threads()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/v1/agents/slow/invoke", None),
        ("/v1/agents/slow/invoke/stream", None),
        ("/v1/agents/slow/invoke/async", Fault.slow(60)),
        ("/v1/agents/slow/invoke/async", Fault.slow(60, act_first=True)),
    ],
)
def test_a_server_stops_while_it_is_answering(
    path: str, fault: Fault | None, caplog: pytest.LogCaptureFixture
) -> None:
    with EmulatorServer() as server:
        if fault:
            server.emulator.add_fault(fault)

        def ask() -> None:
            try:
                headers = {"x-api-key": server.api_key}
                requests.post(server.url + path, headers=headers, json=TEXT, timeout=30)
            except requests.RequestException:
                pass

        asking = threading.Thread(target=ask)
        asking.start()
        deadline = time.monotonic() + 10
        while not server.emulator.calls and time.monotonic() < deadline:
            time.sleep(0.01)
    # Uvicorn complains when it has to cancel what it is answering.
    assert [record.message for record in caplog.records if record.name.startswith("uvicorn")] == []
    asking.join(10)
    assert not asking.is_alive()


def test_a_server_comes_back_on_its_port_with_its_tasks() -> None:
    server = EmulatorServer(settings=Settings(run_seconds=0)).start()
    try:
        url, task_id = server.url, Api(server).start()["id"]
        server.stop()
        server.stop()
        with pytest.raises(requests.ConnectionError):
            requests.get(url + "/health", timeout=5)
        server.start()
        assert server.url == url
        assert Api(server).get(task_id)["status"] == "completed"
        with pytest.raises(RuntimeError, match="is running"):
            server.start()
    finally:
        server.stop()


def test_a_taken_port_is_an_error() -> None:
    with EmulatorServer() as server, pytest.raises(OSError, match="in use"):
        EmulatorServer(port=server.port).start()


def test_settings_belong_to_the_emulator() -> None:
    with pytest.raises(ValueError, match="settings"):
        EmulatorServer(Emulator(), settings=Settings())


def test_runs_follow_the_clock(xpander_servers: Callable[..., EmulatorServer]) -> None:
    clock = ManualClock()
    api = Api(xpander_servers(emulator=Emulator(Settings(run_seconds=3600), clock)))
    task_id = api.start()["id"]
    assert api.get(task_id)["status"] == "pending"
    clock.advance(1800)
    assert api.get(task_id)["status"] == "executing"
    clock.advance(1800)
    done = api.get(task_id)
    assert (done["status"], done["created_at"]) == ("completed", "2026-01-01T00:00:00.000000Z")
    assert done["finished_at"] == "2026-01-01T01:00:00.000000Z"


def test_concurrent_clients(server: EmulatorServer, emulator: Emulator) -> None:
    api = Api(server)
    clients = [threading.Thread(target=lambda: [api.start() for _ in range(5)]) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    assert len({run.task_id for run in emulator.runs()}) == 20


async def test_an_async_client(server: EmulatorServer) -> None:
    async with httpx.AsyncClient(base_url=server.url, headers={"x-api-key": server.api_key}) as client:
        answer = await client.post("/v1/agents/echo/invoke", json={"input": {"text": "hi"}})
    assert answer.json()["result"] == "hi"


def test_tls(tmp_path: Path, xpander_servers: Callable[..., EmulatorServer]) -> None:
    made = make_certificates(tmp_path)
    server = xpander_servers(tls_cert=made.server, tls_key=made.key)
    assert server.url.startswith("https://")
    assert requests.get(server.url + "/health", verify=str(made.ca), timeout=10).json() == "ok"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(server.url + "/health", timeout=10)
    server.emulator.add_fault(Fault.dropped())
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url + "/health", verify=str(made.ca), timeout=10)


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_without_the_extra_the_message_says_what_to_install(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from airflow_provider_xpander.emulator import EmulatorServer, Fault\n"
        "EmulatorServer().start()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "pip install 'airflow-provider-xpander[emulator]'" in done.stderr


def test_importing_loads_no_web_framework() -> None:
    code = (
        "import sys, airflow_provider_xpander.emulator\n"
        "print({'fastapi', 'starlette', 'uvicorn', 'airflow'}.intersection(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set()\n"
