from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import httpx
from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator, EmulatorServer, ManualClock
from airflow_provider_xpander.emulator.calls import Call, Calls


def test_the_oldest_runs_that_have_ended_are_forgotten(
    api: Api, emulator: Emulator, clock: ManualClock
) -> None:
    emulator.configure({"keep_runs": 10, "run_seconds": 0})
    going_on = api.start("slow", "take 60")["id"]
    ended = [api.start()["id"] for _ in range(30)]
    kept = [run.task_id for run in emulator.runs()]
    assert 10 <= len(kept) <= 11
    assert kept == [going_on, *ended[-len(kept) + 1 :]]
    assert list(emulator.tasks) == kept
    assert api("GET", f"/v1/tasks/{ended[0]}").status_code == 404
    assert api.get(going_on)["status"] == "executing"


def test_runs_that_go_on_are_never_forgotten(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.configure({"keep_runs": 2})
    for _ in range(20):
        api.start("slow", "take 60")
    assert len(emulator.runs()) == 20
    clock.advance(60)
    for _ in range(5):
        api.start()
        clock.advance(1)
    assert len(emulator.runs()) <= 3


def test_large_requests_are_forgotten_sooner(api: Api, emulator: Emulator) -> None:
    emulator.configure({"keep_megabytes": 0.05, "run_seconds": 0})
    emulator.agent("large").answers("x" * 5_000)
    for _ in range(20):
        api.start("large", text="x" * 5_000)
    # A run counts with what it was asked and with its answer.
    assert 4 <= len(emulator.runs()) <= 6
    assert 8 <= len([call for call in emulator.calls if call.body]) <= 10


def test_an_old_turn_is_forgotten_before_its_thread(api: Api, emulator: Emulator) -> None:
    emulator.configure({"keep_runs": 2, "run_seconds": 0})
    task_id = api.start(text="first")["id"]
    for text in ("second", "third", "fourth"):
        api.start(text=text, id=task_id)
    assert "first" not in str(api("GET", f"/v1/tasks/{task_id}/thread").json())
    assert api.get(task_id)["result"] == "fourth"


def test_the_oldest_calls_are_forgotten() -> None:
    calls = Calls()
    for number in range(100):
        calls.keep(Call("GET", f"/{number}", {}, {}, 0.0, size=10), count=20, size=10_000)
    assert 20 <= len(calls) <= 22
    assert calls[-1].path == "/99"
    for number in range(100):
        calls.keep(Call("GET", f"/{number}", {}, {}, 0.0, size=10), count=1000, size=50)
    assert len(calls) == 5
    calls.clear()
    calls.keep(Call("GET", "/", {}, {}, 0.0, size=1000), count=20, size=50)
    assert len(calls) == 1  # the newest one stays, however large it is


async def test_a_thousand_runs_and_streams_at_a_time(server: EmulatorServer, emulator: Emulator) -> None:
    emulator.configure({"run_seconds": 3600})
    limits = httpx.Limits(max_connections=1100)
    headers = {"x-api-key": server.api_key}
    body = {"input": {"text": "hello"}}
    opened = asyncio.Semaphore(0)
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=60, limits=limits, trust_env=False
    ) as client:

        async def follow() -> str:
            async with client.stream("POST", "/v1/agents/echo/invoke/stream", json=body) as answer:
                opened.release()
                return (await answer.aread()).decode()

        streams = [asyncio.create_task(follow()) for _ in range(500)]
        started = await asyncio.gather(
            *(client.post("/v1/agents/echo/invoke/async", json=body) for _ in range(500))
        )
        assert {answer.status_code for answer in started} == {200}
        for _ in streams:
            await asyncio.wait_for(opened.acquire(), 60)
        assert len(emulator.runs()) == 1000
        emulator.advance(3600)
        told = await asyncio.wait_for(asyncio.gather(*streams), 60)
    assert all(text.count("task_finished") == 1 for text in told)


def test_two_emulators_do_not_meet(xpander_servers: Callable[..., EmulatorServer]) -> None:
    one, other = xpander_servers(), xpander_servers()
    assert one.port != other.port
    task_id = Api(one).start()["id"]
    one.emulator.story("outage")
    one.emulator.agent("mine").answers("x")
    assert Api(other)("GET", f"/v1/tasks/{task_id}").status_code == 404
    assert Api(other)("GET", "/v1/agents/mine").status_code == 404
    assert other.emulator.faults == []


def test_sigterm_ends_it_within_three_seconds() -> None:
    command = [sys.executable, "-m", "airflow_provider_xpander.emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[3]
            key = "xpander-emulator-key-0000"
            with httpx.Client(trust_env=False, timeout=30, headers={"x-api-key": key}) as client:
                started = client.post(
                    f"{url}/v1/agents/slow/invoke/async", json={"input": {"text": "take 60"}}
                )
                assert started.status_code == 200
                with client.stream(
                    "POST", f"{url}/v1/agents/slow/invoke/stream", json={"input": {"text": "take 60"}}
                ) as answer:
                    next(answer.iter_lines())
                    process.terminate()
                    assert process.wait(3) == 0
        finally:
            process.kill()
