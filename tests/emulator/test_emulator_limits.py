from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from emulator_api import Api

from airflow_provider_xpander.api import clock as clock_module
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api.clock import Clock
from airflow_provider_xpander.api.routes import Target
from airflow_provider_xpander.emulator import Emulator, Fault, ManualClock
from airflow_provider_xpander.hooks.xpander import XpanderHook

PATH = "/v1/agents/echo"


def said(answer: requests.Response, now: float) -> tuple[int, str | None, str | None, int | None, str | None]:
    """Status, limit, what is left, seconds to the reset, seconds to wait."""
    limit, left, reset = (
        answer.headers.get(f"X-RateLimit-{name}") for name in ("Limit", "Remaining", "Reset")
    )
    seconds = None if reset is None else round(int(reset) - now)
    return answer.status_code, limit, left, seconds, answer.headers.get("Retry-After")


@pytest.mark.parametrize(
    ("per_minute", "per_hour", "requests_at"),
    [
        pytest.param(0, 0, [(0, (200, None, None, None, None))] * 3, id="no limit says nothing"),
        pytest.param(
            2,
            0,
            [
                (0, (200, "2", "1", 60, None)),
                (20, (200, "2", "0", 40, None)),
                (0, (429, "2", "0", 40, "40")),
                (39, (429, "2", "0", 1, "1")),  # the one before was refused and does not count
                (1, (200, "2", "0", 20, None)),  # the window slides: only the first has left it
                (0, (429, "2", "0", 20, "20")),
                (60, (200, "2", "1", 60, None)),
            ],
            id="minute",
        ),
        pytest.param(
            0,
            2,
            [
                (0, (200, "2", "1", 3600, None)),
                (100, (200, "2", "0", 3500, None)),
                (60, (429, "2", "0", 3440, "3440")),
                (3440, (200, "2", "0", 100, None)),
            ],
            id="hour",
        ),
        pytest.param(
            2,
            3,
            [
                (0, (200, "2", "1", 60, None)),  # the window with less left is told
                (0, (200, "2", "0", 60, None)),
                (0, (429, "2", "0", 60, "60")),
                (60, (200, "3", "0", 3540, None)),
                (0, (429, "3", "0", 3540, "3540")),
            ],
            id="both",
        ),
    ],
)
def test_what_is_above_the_limits_is_refused(
    emulator: Emulator,
    clock: ManualClock,
    api: Api,
    per_minute: int,
    per_hour: int,
    requests_at: list[tuple[float, tuple[object, ...]]],
) -> None:
    emulator.configure({"requests_per_minute": per_minute, "requests_per_hour": per_hour})
    for seconds, expected in requests_at:
        clock.advance(seconds)
        assert said(api("GET", PATH), clock()) == expected
    assert [call.status for call in emulator.calls] == [status for _, (status, *_) in requests_at]


def test_what_never_reaches_the_routes_of_the_service_does_not_count(
    emulator: Emulator, clock: ManualClock, api: Api
) -> None:
    emulator.configure({"requests_per_minute": 2})
    emulator.add_fault(Fault.html(503, times=1))
    assert api("GET", PATH).status_code == 503
    for path in ("/health", "/", "/_emulator/calls"):
        assert said(api("GET", path), clock()) == (200, None, None, None, None)
    assert api("GET", "/v1/agents", key="wrong").headers["X-RateLimit-Remaining"] == "1"


def test_limits_change_at_any_time_and_a_reset_forgets(
    emulator: Emulator, clock: ManualClock, api: Api
) -> None:
    emulator.configure({"requests_per_minute": 3})
    for _ in range(3):
        api("GET", PATH)
        clock.advance(10)
    emulator.configure({"requests_per_minute": 1})
    assert said(api("GET", PATH), clock()) == (429, "1", "0", 50, "50")  # the third was 10 s ago
    emulator.configure({"requests_per_minute": 4})
    assert said(api("GET", PATH), clock()) == (200, "4", "0", 30, None)
    emulator.reset(emulator.settings)
    assert said(api("GET", PATH), clock()) == (200, "4", "3", 60, None)


def test_requests_at_once_get_no_more_than_the_limit(emulator: Emulator, api: Api) -> None:
    emulator.configure({"requests_per_hour": 20})
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: api("GET", PATH).status_code, range(40)))
    assert sorted(statuses) == [200] * 20 + [429] * 20


def test_a_worker_waits_out_a_refusal(api: Api, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have used the limit up, of which its connection knows nothing."""
    connection = {
        "conn_type": "xpander",
        "host": api.server.url,
        "password": api.server.api_key,
        "extra": {"requests_per_minute": 0, "requests_per_hour": 0},
    }
    monkeypatch.setenv("AIRFLOW_CONN_XPANDER_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(clock_module, "CLOCK", Clock(speed=50))
    monkeypatch.setattr(governor_module, "_governors", {})  # those of other tests know another clock
    emulator.clock = clock_module.CLOCK.time
    with XpanderHook() as hook:
        hook.invoke_async(Target("agent", "echo"), "all is imported")
        emulator.reset(emulator.settings)
        emulator.configure({"requests_per_minute": 2})
        for _ in range(2):
            api("GET", PATH)
        task = hook.invoke_async(Target("agent", "echo"), "hello")
    assert [run.task_id for run in emulator.runs()] == [task.id]
    assert [call.status for call in emulator.calls] == [200, 200, 429, 200]
    assert emulator.calls[-1].at - emulator.calls[0].at >= 60
