from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from emulator_api import Api
from pydantic import ValidationError

from airflow_provider_xpander.emulator import Emulator, EmulatorServer, Fault

PATH = "/v1/agents"
START = "/v1/agents/echo/invoke/async"


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({}, [True, False, False]),
        ({"times": 2}, [True, True, False]),
        ({"times": None}, [True, True, True]),
        ({"after": 1}, [False, True, False]),
        ({"after": 2, "times": None}, [False, False, True]),
        ({"method": "get"}, [True, False, False]),
        ({"method": "POST", "times": None}, [False, False, False]),
        ({"path": "agents$"}, [True, False, False]),
        ({"path": "tasks", "times": None}, [False, False, False]),
    ],
)
def test_which_requests_go_wrong(match: dict[str, Any], hit: list[bool]) -> None:
    fault = Fault(status=500, **match)
    assert [fault.take("GET", PATH) for _ in hit] == hit
    assert fault.hits == sum(hit)


def test_the_first_fault_that_is_due_wins(emulator: Emulator, api: Api) -> None:
    emulator.add_fault(Fault.html(502))
    emulator.add_fault(Fault.html(503))
    assert [api("GET", PATH).status_code for _ in range(3)] == [502, 503, 200]


def test_a_fault_with_a_typo_is_refused() -> None:
    with pytest.raises(ValidationError, match="statsu"):
        Fault(statsu=500)


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        (Fault.html(502), 502, "<h1>502 Bad Gateway</h1>"),
        (Fault.html(503), 503, "<h1>503 Service"),
        (Fault.html(504), 504, "<h1>504 Gateway Time-out</h1>"),
        (Fault.billing(), 429, '{"detail": {"detail": {"detail": "Your plan'),
        (Fault.billing(status=402), 402, "usage limit"),
        (Fault.server_error(), 500, '{"error": "Internal server error"}'),
        (Fault(status=404, body={"detail": "gone"}), 404, '{"detail": "gone"}'),
    ],
)
def test_answers_that_are_not_the_real_ones(
    emulator: Emulator, api: Api, fault: Fault, status: int, text: str
) -> None:
    emulator.add_fault(fault.model_copy(update={"path": "async$"}))
    answer = api("POST", START, json={"input": {"text": "x"}})
    assert answer.status_code == status
    assert text in answer.text
    assert answer.headers["content-type"] == ("text/html" if text.startswith("<") else "application/json")
    assert emulator.runs() == []
    assert (emulator.calls[-1].status, emulator.calls[-1].faulted) == (status, True)


def test_throttling_headers(emulator: Emulator, api: Api) -> None:
    emulator.add_fault(Fault.throttled(retry_after=3))
    emulator.add_fault(Fault.throttled(reset=1_800_000_000))
    emulator.add_fault(Fault.throttled())
    with_seconds, with_reset, bare = (api("GET", PATH) for _ in range(3))
    assert (with_seconds.status_code, with_seconds.headers["retry-after"]) == (429, "3")
    assert with_reset.headers["x-ratelimit-reset"] == "1800000000"
    assert with_reset.headers["x-ratelimit-remaining"] == "0"
    assert "retry-after" not in bare.headers


def test_a_run_may_exist_although_its_answer_is_an_error(emulator: Emulator, api: Api) -> None:
    emulator.add_fault(Fault.html(504, act_first=True))
    assert api("POST", START, json={"input": {"text": "x"}}).status_code == 504
    (run,) = emulator.runs()
    assert emulator.calls[-1].task_id == run.task_id
    assert api.until_status(run.task_id, "completed")["result"] == "x"


@pytest.mark.parametrize("act_first", [True, False])
def test_a_connection_that_breaks_before_the_answer(emulator: Emulator, api: Api, act_first: bool) -> None:
    emulator.add_fault(Fault.dropped(act_first=act_first))
    with pytest.raises(requests.ConnectionError):
        api("POST", START, json={"input": {"text": "x"}})
    assert len(emulator.runs()) == act_first
    assert emulator.calls[-1].status is None
    assert api("GET", PATH).status_code == 200


def test_a_connection_breaks_whatever_address_its_headers_claim(emulator: Emulator, api: Api) -> None:
    emulator.add_fault(Fault.dropped())
    with pytest.raises(requests.ConnectionError):
        api("GET", PATH, headers={"X-Forwarded-For": "192.0.2.1"})


def test_a_connection_that_breaks_in_the_answer(emulator: Emulator, api: Api) -> None:
    emulator.add_fault(Fault.dropped("during"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        api("POST", START, json={"input": {"text": "x"}})
    assert len(emulator.runs()) == 1


def test_empty_and_truncated_answers(emulator: Emulator, api: Api) -> None:
    emulator.add_fault(Fault.empty())
    emulator.add_fault(Fault.truncated())
    empty, truncated, whole = (api("GET", PATH) for _ in range(3))
    assert (empty.status_code, empty.content) == (200, b"")
    assert (truncated.status_code, truncated.content) == (200, whole.content[: len(whole.content) // 2])
    with pytest.raises(requests.JSONDecodeError):
        truncated.json()


@pytest.mark.parametrize("act_first", [True, False])
def test_an_answer_that_comes_late(emulator: Emulator, server: EmulatorServer, act_first: bool) -> None:
    emulator.add_fault(Fault.slow(1.5, act_first=act_first))
    headers = {"x-api-key": server.api_key}
    with pytest.raises(requests.ReadTimeout):
        requests.post(server.url + START, headers=headers, json={"input": {"text": "x"}}, timeout=(5, 0.5))
    assert len(emulator.runs()) == act_first
    deadline = time.monotonic() + 10
    while not emulator.runs() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(emulator.runs()) == 1


def test_a_slow_answer_is_the_real_one(emulator: Emulator, api: Api) -> None:
    emulator.add_fault(Fault.slow(0.01, act_first=True))
    emulator.add_fault(Fault.slow(0.01))
    late, later, normal = (api("GET", PATH) for _ in range(3))
    assert late.json() == later.json() == normal.json()
