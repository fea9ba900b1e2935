from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import httpx
import pytest
import requests

from airflow_provider_xpander.emulator import DEFAULT_API_KEY, Emulator, Fault, Settings
from airflow_provider_xpander.emulator.in_process import URL, InProcessAdapter, InProcessTransport, in_process
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.testing.guard import NetworkGuard

HEADERS = {"x-api-key": DEFAULT_API_KEY}
BODY = {"input": {"text": "hello"}}
ASYNC = f"{URL}/v1/agents/echo/invoke/async"
STREAM = f"{URL}/v1/agents/echo/invoke/stream"


@pytest.fixture(autouse=True)
def no_socket() -> Iterator[None]:
    with mock.patch("socket.socket.connect", side_effect=OSError("a socket is opened")):
        yield


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(Settings(run_seconds=0.05))


@pytest.fixture
def session(emulator: Emulator) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount(URL, InProcessAdapter(emulator))
        session.headers.update(HEADERS)
        yield session


@pytest.fixture
def client(emulator: Emulator) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=InProcessTransport(emulator), headers=HEADERS)


def test_requests_is_answered(session: requests.Session, emulator: Emulator) -> None:
    task = session.post(f"{URL}/v1/agents/echo/invoke?version=2", json=BODY).json()
    assert (task["status"], task["result"], task["agent_version"]) == ("completed", "hello", "2")
    assert session.get(f"{URL}/v1/tasks/{task['id']}").json()["id"] == task["id"]
    assert session.delete(f"{URL}/v1/tasks/{task['id']}").status_code == 204
    assert session.get(f"{URL}/health", headers={"x-api-key": ""}).json() == "ok"
    assert [call.status for call in emulator.calls] == [200, 200, 204, 200]


async def test_httpx_is_answered(client: httpx.AsyncClient, emulator: Emulator) -> None:
    async with client:
        task = (await client.post(f"{URL}/v1/agents/echo/invoke?version=2", json=BODY)).json()
        assert (task["status"], task["result"], task["agent_version"]) == ("completed", "hello", "2")
        answer = await client.get(f"{URL}/v1/tasks", params={"agent_id": "echo"})
        assert answer.json()["total"] == 1
        assert (await client.delete(f"{URL}/v1/tasks/{task['id']}")).status_code == 204
    assert [call.status for call in emulator.calls] == [200, 200, 204]


def test_a_synchronous_httpx_is_answered(emulator: Emulator) -> None:
    with httpx.Client(transport=InProcessTransport(emulator), headers=HEADERS) as client:
        task = client.post(f"{URL}/v1/agents/echo/invoke?version=2", json=BODY).json()
        assert (task["status"], task["result"], task["agent_version"]) == ("completed", "hello", "2")
        assert client.delete(f"{URL}/v1/tasks/{task['id']}").status_code == 204
        emulator.configure({"run_seconds": 3600})
        with client.stream("POST", STREAM, json=BODY) as answer:
            lines = answer.iter_lines()
            assert '"task_created"' in next(lines)
            emulator.advance(3600)
            assert [line for line in lines if '"task_finished"' in line]
    assert [call.status for call in emulator.calls] == [200, 204, 200]


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line[6:]) for line in lines if line.startswith("data: "))


def test_requests_streams_as_it_happens(session: requests.Session, emulator: Emulator) -> None:
    emulator.configure({"run_seconds": 3600})
    with session.post(STREAM, json=BODY, stream=True, timeout=(5, 10)) as answer:
        told = events(answer.iter_lines(decode_unicode=True, chunk_size=None))
        assert next(told)["type"] == "task_created"
        emulator.advance(3600)
        assert [event["type"] for event in told][-1] == "task_finished"


async def test_httpx_streams_as_it_happens(client: httpx.AsyncClient, emulator: Emulator) -> None:
    emulator.configure({"run_seconds": 3600})
    async with client, client.stream("POST", STREAM, json=BODY) as answer:
        lines = answer.aiter_lines()
        assert '"task_created"' in await anext(lines)
        emulator.advance(3600)
        assert [line async for line in lines if '"task_finished"' in line]


FAULTS = [
    pytest.param(Fault.dropped("before"), id="dropped before the answer"),
    pytest.param(Fault.dropped("during"), id="dropped in the middle of it"),
    pytest.param(Fault.slow(60), id="late"),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_requests_sees_what_is_broken(session: requests.Session, emulator: Emulator, fault: Fault) -> None:
    emulator.add_fault(fault.model_copy())
    with pytest.raises(requests.RequestException):
        session.post(ASYNC, json=BODY, timeout=0.2)
    assert session.post(ASYNC, json=BODY).status_code == 200


@pytest.mark.parametrize("fault", FAULTS)
async def test_httpx_sees_what_is_broken(client: httpx.AsyncClient, emulator: Emulator, fault: Fault) -> None:
    emulator.add_fault(fault.model_copy())
    async with client:
        with pytest.raises(httpx.TransportError):
            await client.post(ASYNC, json=BODY, timeout=0.2)
        assert (await client.post(ASYNC, json=BODY)).status_code == 200


@pytest.mark.parametrize("fault", FAULTS)
def test_a_synchronous_httpx_sees_what_is_broken(emulator: Emulator, fault: Fault) -> None:
    emulator.add_fault(fault.model_copy())
    with httpx.Client(transport=InProcessTransport(emulator), headers=HEADERS) as client:
        with pytest.raises(httpx.TransportError):
            client.post(ASYNC, json=BODY, timeout=0.2)
        assert client.post(ASYNC, json=BODY).status_code == 200


@pytest.mark.parametrize("after", [0, 2])
def test_a_stream_that_breaks(session: requests.Session, emulator: Emulator, after: int) -> None:
    emulator.configure({"stream_drop_after": after})
    with session.post(STREAM, json=BODY, stream=True) as answer, pytest.raises(requests.RequestException):
        list(answer.iter_lines(chunk_size=None))


async def test_a_client_that_leaves_ends_no_run(client: httpx.AsyncClient, emulator: Emulator) -> None:
    emulator.configure({"run_seconds": 3600})
    async with client, client.stream("POST", STREAM, json=BODY) as answer:
        await anext(answer.aiter_lines())
    emulator.advance(3600)
    assert emulator.status(emulator.runs()[0].task_id) == "completed"
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


def test_a_hook_finds_it_without_a_socket(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_process(emulator) as url, NetworkGuard() as guard:
        connection = {"conn_type": "xpander", "host": url, "password": DEFAULT_API_KEY}
        monkeypatch.setenv("AIRFLOW_CONN_XPANDER_DEFAULT", json.dumps(connection))
        hook = XpanderHook()
        assert hook.test_connection()[0]
        assert [agent.id for agent in hook.list_agents()][:1] == ["echo"]
    assert guard.objection() is None


async def test_the_clients_of_httpx_find_it_without_a_socket(emulator: Emulator) -> None:
    started = time.time()
    with in_process(emulator, "http://elsewhere.example") as url:
        with httpx.Client(headers=HEADERS) as other:
            assert (await asyncio.to_thread(other.get, f"{url}/v1/agents/echo")).json()["id"] == "echo"
        async with httpx.AsyncClient(headers=HEADERS) as client:
            assert (await client.get(f"{url}/v1/agents/echo")).json()["id"] == "echo"
            with pytest.raises(httpx.ConnectError):
                await client.get("http://127.0.0.1:9/v1/agents/echo")
    assert emulator.calls[0].at >= started
