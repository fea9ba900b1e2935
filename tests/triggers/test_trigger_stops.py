"""
Runs whose trigger is cancelled: stopped, kept or left.

The state of the task instance is Airflow's side of it, and faked; the service is the emulator.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import LIMIT, Service, running_server, service

from airflow_provider_xpander._compat import HAS_TRIGGER_ON_KILL
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.triggers import stops as stops_module
from airflow_provider_xpander.triggers import xpander as trigger_module
from airflow_provider_xpander.triggers.shared_client import shared_client
from airflow_provider_xpander.triggers.stops import stop_unless_wanted
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

__all__ = ["running_server", "service"]

LONG = "take 600"
LOG = logging.getLogger("airflow_provider_xpander.tests")
TASK_INSTANCE: Any = SimpleNamespace(dag_id="nightly", task_id="ask", run_id="r", map_index=-1, task=None)

Deferred = Callable[[str | None, str | None], None]


@pytest.fixture
def deferred(monkeypatch: pytest.MonkeyPatch) -> Deferred:
    """Say in which state the task instance is, and which run's id is in its XCom."""

    def be(state: str | None, xpander_task_id: str | None = None) -> None:
        async def deferred_state(task_instance: Any, xcom_key: str) -> tuple[str | None, Any]:
            assert (task_instance, xcom_key) == (TASK_INSTANCE, "xpander_task_id")
            return state, xpander_task_id

        monkeypatch.setattr(stops_module, "deferred_state", deferred_state)

    be("failed")
    return be


@pytest.fixture(autouse=True)
async def background() -> AsyncIterator[None]:
    """Wait for what goes on behind the triggers, and leave nothing of it to the next test."""
    yield
    await drained()
    stops_module._queues.clear()


async def until(condition: Callable[[], Any], limit: float = LIMIT) -> None:
    async with asyncio.timeout(limit):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def drained(limit: float = LIMIT) -> None:
    await until(lambda: not stops_module._background, limit)


def trigger(task_id: str, **kwargs: Any) -> XpanderTaskTrigger:
    defaults = {"poll_interval": 0.05, "on_kill_action": "stop"}
    made = XpanderTaskTrigger(task_id, **defaults | kwargs)
    made.task_instance = TASK_INSTANCE
    return made


def start(service: Service) -> str:
    return service.start("slow", LONG)


def stop_calls(service: Service, task_id: str = "") -> list[Any]:
    return service.requests("POST", f"{task_id}/stop")


async def kill(task_id: str, **kwargs: Any) -> None:
    async with asyncio.timeout(LIMIT):
        await trigger(task_id, **kwargs).on_kill()


# Whether the run is stopped.


@pytest.mark.parametrize(
    ("state", "current", "stopped"),
    [
        ("deferred", "this", False),
        # A clear, whose new attempt has already deferred on a run of its own.
        ("deferred", "another", True),
        ("deferred", None, True),
        ("failed", "this", True),
        ("success", "this", True),
        ("running", "this", True),
        ("scheduled", None, True),
        (None, None, True),
    ],
)
async def test_a_run_is_stopped_unless_its_task_still_waits_for_it(
    state: str | None, current: str | None, stopped: bool, service: Service, deferred: Deferred
) -> None:
    task_id = start(service)
    deferred(state, task_id if current == "this" else current)
    await kill(task_id)
    assert service.stops(task_id) == stopped


@pytest.mark.usefixtures("deferred")
async def test_a_run_is_kept_if_the_state_cannot_be_found_out(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def deferred_state(task_instance: Any, xcom_key: str) -> Any:
        raise ConnectionError("no supervisor")

    monkeypatch.setattr(stops_module, "deferred_state", deferred_state)
    task_id = start(service)
    await stop_unless_wanted(
        TASK_INSTANCE, xpander_task_id=task_id, conn_id="xpander_default", action="stop", log=LOG
    )
    assert service.stops(task_id) == 0
    assert f"Whether xpander task {task_id} is still wanted could not be found out" in caplog.text
    assert "still waits for it" not in caplog.text


@pytest.mark.parametrize("state", ["deferred", "scheduled", "queued", "running", "failed", "success", None])
@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("ours", [True, False], ids=["this run", "another run"])
async def test_a_task_that_is_on_its_way_to_a_worker_keeps_its_run_if_it_was_resumed(
    state: str | None, answered: bool, ours: bool, service: Service, deferred: Deferred
) -> None:
    """Airflow 3.3 takes the trigger away from a task that it resumes because a person has answered."""
    task_id = start(service)
    deferred(state, task_id if ours else "another")

    async def taken_up() -> bool:
        return answered

    await stop_unless_wanted(
        TASK_INSTANCE,
        xpander_task_id=task_id,
        conn_id="xpander_default",
        action="stop",
        log=LOG,
        taken_up=taken_up,
    )
    on_its_way = state in ("scheduled", "queued", "running") and answered
    assert service.stops(task_id) == (0 if ours and (on_its_way or state == "deferred") else 1)


@pytest.mark.usefixtures("deferred")
async def test_a_run_is_left_if_the_author_says_so(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = start(service)
    with caplog.at_level(logging.INFO):
        await stop_unless_wanted(
            TASK_INSTANCE,
            xpander_task_id=task_id,
            conn_id="xpander_default",
            action="leave",
            log=LOG,
            link="https://app.xpander.ai/agents/slow",
        )
    assert service.stops(task_id) == 0
    assert (
        f"The wait for xpander task {task_id} ends; the run goes on, as it was asked to: "
        "https://app.xpander.ai/agents/slow"
    ) in caplog.text


@pytest.mark.usefixtures("deferred")
async def test_a_trigger_leaves_the_run_by_default_as_a_sensor_has_to(service: Service) -> None:
    task_id = start(service)
    made = XpanderTaskTrigger(task_id)
    made.task_instance = TASK_INSTANCE
    await made.on_kill()
    assert service.stops(task_id) == 0


async def test_a_trigger_outside_of_airflow_stops_nothing(service: Service) -> None:
    task_id = start(service)
    made = XpanderTaskTrigger(task_id, on_kill_action="stop")
    made.task_instance = None
    await made.on_kill()
    assert not service.requests()


# How a trigger gets to know.


async def run_and_cancel(task_id: str, service: Service, again: int = 0) -> None:
    """Run a trigger until it has looked, and cancel it, as often as Airflow does."""

    async def consume() -> None:
        async for _ in trigger(task_id).run():
            pass

    running = asyncio.create_task(consume())
    await until(lambda: service.requests("GET"))
    async with asyncio.timeout(LIMIT):
        for _ in range(1 + again):
            running.cancel()
            await asyncio.sleep(0.05)
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("has_on_kill", [False, True], ids=["before 3.3", "3.3"])
async def test_a_cancelled_trigger_stops_the_run_where_nobody_calls_on_kill(
    has_on_kill: bool, service: Service, deferred: Deferred, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_module, "HAS_TRIGGER_ON_KILL", has_on_kill)
    task_id = start(service)
    deferred("failed")
    await run_and_cancel(task_id, service)
    assert service.stops(task_id) == (not has_on_kill)


async def test_a_triggerer_that_shuts_down_stops_nothing(
    service: Service, deferred: Deferred, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_module, "HAS_TRIGGER_ON_KILL", False)
    task_id = start(service)
    deferred("deferred", task_id)
    await run_and_cancel(task_id, service)
    assert service.stops(task_id) == 0


@pytest.mark.usefixtures("deferred")
async def test_a_cancel_that_is_repeated_does_not_cut_a_slow_stop_off(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_module, "HAS_TRIGGER_ON_KILL", False)
    service.add_fault(Fault.slow(0.5, path="/stop$"))
    task_id = start(service)
    await run_and_cancel(task_id, service, again=3)
    assert service.stops(task_id) == 0
    await drained()
    assert service.stops(task_id) == len(stop_calls(service)) == 1


@pytest.mark.usefixtures("deferred")
async def test_an_on_kill_that_is_cut_off_goes_on_behind_it(service: Service) -> None:
    """Airflow 3.3 cancels on_kill again with each of its rounds."""
    service.add_fault(Fault.slow(0.5, path="/stop$"))
    task_id = start(service)
    killing = asyncio.create_task(kill(task_id))
    for _ in range(3):
        await asyncio.sleep(0.1)
        killing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killing
    await drained()
    assert service.stops(task_id) == 1


@pytest.mark.usefixtures("deferred")
async def test_a_trigger_waits_for_its_stop_only_so_long(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes up room in the triggerer as long as it waits."""
    monkeypatch.setattr(stops_module, "PATIENCE", 0.1)
    service.add_fault(Fault.slow(0.6, path="/stop$"))
    task_id = start(service)
    started = time.monotonic()
    await kill(task_id)
    assert time.monotonic() - started < 0.5
    await drained()
    assert service.stops(task_id) == 1


# Stops that fail.


def is_over(service: Service, task_ids: list[str]) -> bool:
    return all(service.status(task_id) is TaskStatus.STOPPED for task_id in task_ids)


def quick(monkeypatch: pytest.MonkeyPatch, *, budget: float = 30.0) -> None:
    """Let repetitions follow each other quickly."""
    policy = stops_module.RetryPolicy(attempts=1000, base=0.02, cap=0.05, patience=budget)
    monkeypatch.setattr(stops_module, "_POLICY", policy)
    monkeypatch.setattr(stops_module, "BUDGET", budget)
    monkeypatch.setattr(governor_module, "BACKOFF_CAP", 0.05)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.html(503, path="/stop$", times=12),
        Fault.dropped(path="/stop$", times=12),
        Fault.throttled(path="/stop$", times=12),
        Fault.throttled(path="/stop$", retry_after=0.1, times=3),
    ],
    ids=["503", "dropped", "429", "429 with Retry-After"],
)
@pytest.mark.usefixtures("deferred")
async def test_a_stop_outlives_an_outage(
    fault: Fault, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    fault = service.add_fault(fault.model_copy(deep=True))
    task_id = start(service)
    await kill(task_id)
    assert service.stops(task_id) == 1
    assert fault.hits == fault.times


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.html(503, path="/stop$", times=None), id="always 503"),
        pytest.param(Fault.throttled(path="/stop$", retry_after=9999, times=None), id="throttled for hours"),
        pytest.param(Fault(status=403, path="/stop$", times=None, body={"detail": "no"}), id="no access"),
        pytest.param(Fault(status=404, path="/stop$", times=None, body={"detail": "no"}), id="unknown"),
        pytest.param(Fault(status=405, path="/stop$", times=None, body={"detail": "no"}), id="no such route"),
    ],
)
@pytest.mark.usefixtures("deferred")
async def test_a_stop_that_fails_is_named_with_what_to_do(
    fault: Fault, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick(monkeypatch, budget=0.3)
    service.add_fault(fault.model_copy(deep=True))
    task_id = start(service)
    await stop_unless_wanted(
        TASK_INSTANCE, xpander_task_id=task_id, conn_id="xpander_default", action="stop", log=LOG
    )
    (record,) = [
        record for record in caplog.records if record.levelno == logging.ERROR and record.name == LOG.name
    ]
    assert f"xpander task {task_id} could not be stopped and may go on" in record.getMessage()
    assert record.getMessage().endswith(
        f"curl -X POST -H 'x-api-key: <key>' {service.server.url}/v1/tasks/{task_id}/stop"
    )


@pytest.mark.usefixtures("deferred")
async def test_a_stop_without_a_usable_connection_is_named_too(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.connect(password="")
    await stop_unless_wanted(
        TASK_INSTANCE, xpander_task_id="t-1", conn_id="xpander_default", action="stop", log=LOG
    )
    assert "xpander task t-1 could not be stopped" in caplog.text
    assert "has no API key" in caplog.text
    assert not service.requests()


@pytest.mark.usefixtures("deferred")
async def test_a_stop_that_the_end_of_the_process_cuts_off_is_named(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.add_fault(Fault.slow(30, path="/stop$"))
    task_id = start(service)
    killing = asyncio.create_task(
        stop_unless_wanted(
            TASK_INSTANCE, xpander_task_id=task_id, conn_id="xpander_default", action="stop", log=LOG
        )
    )
    await until(lambda: stop_calls(service))
    for task in list(stops_module._background):
        task.cancel()
    await killing
    assert f"xpander task {task_id} could not be stopped" in caplog.text
    assert "the triggerer ended first" in caplog.text


@pytest.mark.usefixtures("deferred")
async def test_a_stop_takes_the_key_that_was_entered_meanwhile(service: Service) -> None:
    service.connect(password="an-old-key")
    task_id = start(service)
    async with shared_client("xpander_default") as client:  # as long as a trigger waits, it is the same one
        await client.refresh()
        service.connect()
        await kill(task_id)
        await drained()
    assert service.stops(task_id) == 1


@pytest.mark.parametrize(
    ("status", "body", "own_end"),
    [
        pytest.param(409, {"detail": "Task is already completed"}, True, id="409"),
        pytest.param(400, {"detail": "Task is not running"}, True, id="400"),
        pytest.param(204, "", False, id="204"),
        pytest.param(200, "", False, id="empty body"),
        pytest.param(200, "ok", False, id="a word"),
    ],
)
@pytest.mark.usefixtures("deferred")
async def test_a_reply_that_leaves_it_open_has_the_run_read(
    status: int, body: Any, own_end: bool, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """What is over is not reported as not stopped, and what was accepted is not sent for an hour."""
    task_id = start(service)
    service.add_fault(Fault(status=status, body=body, path="/stop$", times=None))
    if own_end:
        service.finish(task_id)
    else:
        service.stop(task_id)
    with caplog.at_level(logging.INFO):
        await stop_unless_wanted(
            TASK_INSTANCE, xpander_task_id=task_id, conn_id="xpander_default", action="stop", log=LOG
        )
    said = "had ended (completed) before" if own_end else f"Stopped xpander task {task_id} (stopped)"
    assert said in caplog.text
    assert "could not be stopped" not in caplog.text
    assert len(stop_calls(service)) == 1


OWN, OTHER = "0" * 19 + "1", "0" * 19 + "2"


@pytest.mark.parametrize(
    ("late", "digests", "stopped"),
    [
        pytest.param(True, [OWN], False, id="late, another's turn"),
        pytest.param(True, [OWN, OTHER], True, id="late, its own turn"),
        pytest.param(True, None, True, id="late, marks not known"),
        pytest.param(False, [OWN], False, id="at once, another's turn"),
        pytest.param(False, [OWN, OTHER], True, id="at once, its own turn"),
        pytest.param(False, None, True, id="at once, marks not known"),
    ],
)
@pytest.mark.usefixtures("deferred")
async def test_a_stop_that_was_queued_does_not_stop_the_next_turn_of_the_thread(
    late: bool, digests: list[str] | None, stopped: bool, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops_module, "LATE", -1.0 if late else 600.0)
    task_id = service.start("slow", LONG, title=f"report [airflow {OTHER}]")
    await kill(task_id, digests=digests)
    assert service.stops(task_id) == stopped


@pytest.mark.usefixtures("deferred")
async def test_a_stop_outlasts_a_connection_that_cannot_be_read_for_the_moment(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    task_id = start(service)
    killing = asyncio.create_task(kill(task_id, xpander_conn_id="hiccup"))
    await asyncio.sleep(0.1)
    assert not killing.done()
    service.connect("hiccup")
    await killing
    assert service.stops(task_id) == 1


# Many stops at once.


async def kill_all(task_ids: list[str], each: Callable[[str], Awaitable[None]] = kill) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*(each(task_id) for task_id in task_ids))


@pytest.mark.usefixtures("deferred")
async def test_a_mass_kill_whose_triggers_are_cut_off_stops_all_runs(service: Service) -> None:
    task_ids = [start(service) for _ in range(100)]
    killing = [asyncio.create_task(kill(task_id)) for task_id in task_ids]
    await asyncio.sleep(0.01)
    for one in killing:
        one.cancel()
    await asyncio.gather(*killing, return_exceptions=True)
    await drained()
    assert is_over(service, task_ids)


SCALE = 0.005
"""What stands for a second, so that a minute takes a third of one."""


sent: list[float] = []
"""When requests were sent: at the service they arrive a little sooner or later after each other."""


@pytest.fixture
def short_minutes(monkeypatch: pytest.MonkeyPatch) -> float:
    """Return how many seconds a minute has."""
    note = Governor.sent

    def noted(self: Governor, priority: Priority, now: float) -> None:
        sent.append(now)
        note(self, priority, now)

    sent.clear()
    monkeypatch.setattr(Governor, "sent", noted)
    monkeypatch.setattr(governor_module, "MINUTE", 60 * SCALE)
    monkeypatch.setattr(governor_module, "HOUR", 3600 * SCALE)
    return 60 * SCALE


def most_at_once(moments: list[float], window: float) -> int:
    return max(sum(1 for other in moments if 0 <= other - start < window) for start in moments)


@pytest.mark.usefixtures("deferred")
async def test_a_thousand_waiting_triggers_that_are_cancelled_at_once_stop_all_runs(
    service: Service, short_minutes: float
) -> None:
    """With the limit that the service has published: nothing above it, nothing lost, nothing twice."""
    service.connect(extra={"requests_per_minute": 100, "requests_per_hour": 0})
    task_ids = [start(service) for _ in range(1000)]
    triggers = [trigger(task_id, poll_interval=600) for task_id in task_ids]
    waiting = [asyncio.create_task(anext(aiter(one.run()))) for one in triggers]
    await until(lambda: service.requests("GET"), limit=60)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    if HAS_TRIGGER_ON_KILL:  # Airflow's part, from 3.3 on
        await asyncio.gather(*(one.on_kill() for one in triggers))
    await drained(limit=60)
    assert is_over(service, task_ids)
    assert Counter(call.path for call in stop_calls(service)) == dict.fromkeys(
        (f"/v1/tasks/{task_id}/stop" for task_id in task_ids), 1
    )
    assert most_at_once(sent, short_minutes - 1e-6) <= 100


@pytest.mark.parametrize("throttled", [0, 9], ids=["", "some are refused"])
@pytest.mark.usefixtures("deferred")
async def test_a_mass_kill_keeps_the_limits(
    throttled: int, service: Service, short_minutes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repetitions count: a refusal that is answered with more requests would never end."""
    quick(monkeypatch)
    service.connect(extra={"requests_per_minute": 10, "requests_per_hour": 0})
    if throttled:
        service.add_fault(Fault.throttled(path="/stop$", after=5, times=throttled))
    task_ids = [start(service) for _ in range(45)]
    await kill_all(task_ids)
    assert is_over(service, task_ids)
    assert len(stop_calls(service)) == 45 + throttled
    assert len(sent) == 45 + 2 * throttled, "a run is read before its stop is repeated"
    assert most_at_once(sent, short_minutes - 1e-6) <= 10


@pytest.mark.usefixtures("deferred")
async def test_late_stops_keep_the_limits_with_the_reads_before_them(
    service: Service, short_minutes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops_module, "LATE", short_minutes)
    service.connect(extra={"requests_per_minute": 10, "requests_per_hour": 0})
    task_ids = [start(service) for _ in range(30)]
    await kill_all(task_ids)
    assert is_over(service, task_ids)
    assert len(stop_calls(service)) == 30
    assert 0 < len(service.requests("GET")) < 30, "those that were in time were not read"
    assert most_at_once(sent, short_minutes - 1e-6) <= 10


@pytest.mark.usefixtures("deferred")
async def test_a_refusal_holds_back_all_that_wait(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    first, *others = [start(service) for _ in range(20)]
    fault = service.add_fault(Fault.throttled(path="/stop$", retry_after=0.5))
    killing = asyncio.create_task(kill(first))
    await until(lambda: fault.hits)
    await asyncio.sleep(0.1)
    await kill_all(others)
    await killing
    refused, *sent = [call.at for call in stop_calls(service)]
    assert min(sent) - refused >= 0.45
    assert is_over(service, [first, *others])


@pytest.mark.usefixtures("deferred")
async def test_those_who_wait_are_told(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    task_ids = [start(service) for _ in range(3)]

    async def stop(task_id: str) -> None:
        await stop_unless_wanted(
            TASK_INSTANCE, xpander_task_id=task_id, conn_id="xpander_default", action="stop", log=LOG
        )

    with caplog.at_level(logging.INFO):
        await kill_all(task_ids, stop)
    assert f"The stop of xpander task {task_ids[2]} is queued behind 2 others" in caplog.text
    for task_id in task_ids:
        assert f"Stopped xpander task {task_id} (stopped)" in caplog.text


@pytest.mark.usefixtures("deferred")
async def test_limits_that_were_changed_in_the_connection_hold_from_then_on(
    service: Service, short_minutes: float
) -> None:
    await kill_all([start(service) for _ in range(4)])
    service.connect(extra={"requests_per_minute": 2, "requests_per_hour": 0})
    started = time.monotonic()
    await kill_all([start(service) for _ in range(3)])
    assert time.monotonic() - started > 0.9 * short_minutes


@pytest.mark.usefixtures("deferred")
async def test_connections_do_not_wait_for_each_other(service: Service, short_minutes: float) -> None:
    service.connect("slow_one", extra={"requests_per_minute": 1, "requests_per_hour": 1})
    slow = [start(service) for _ in range(2)]
    killing = asyncio.create_task(kill_all(slow, lambda task_id: kill(task_id, xpander_conn_id="slow_one")))
    await asyncio.sleep(0.05)
    other = start(service)
    started = time.monotonic()
    await kill(other)
    assert time.monotonic() - started < 5
    assert service.stops(other) == 1
    assert not is_over(service, slow)
    killing.cancel()
    with suppress(asyncio.CancelledError):
        await killing
    for task in list(stops_module._background):
        task.cancel()
