from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
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


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulator")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


def test_tls(certificate: tuple[Path, Path], xpander_servers: Callable[..., EmulatorServer]) -> None:
    cert, key = certificate
    server = xpander_servers(tls_cert=cert, tls_key=key)
    assert server.url.startswith("https://")
    assert requests.get(server.url + "/health", verify=str(cert), timeout=10).json() == "ok"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(server.url + "/health", timeout=10)
    server.emulator.add_fault(Fault.dropped())
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url + "/health", verify=str(cert), timeout=10)


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
