"""No orphans: however a task ends early, its run is stopped, or left because the author said so."""

from __future__ import annotations

import re
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowTaskTimeout,
    BaseHook,
    TaskDeferred,
)
from airflow_side import Service, eventually
from attempts import (
    LONG,
    Attempt,
    Lines,
    attempt,
    go,
    lines,
    operator,
    signalled,
    slept,
    slow_operator,
    submit,
)

from airflow_provider_xpander._compat import AIRFLOW_VERSION, DEFERRAL_ERRORS
from airflow_provider_xpander.api.errors import XpanderError, XpanderTaskStopped, XpanderTaskTimeout
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators import early_end as early_end_module
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

__all__ = ["lines", "slept"]

pytestmark = pytest.mark.usefixtures("slept")

AIRFLOW_2 = AIRFLOW_VERSION.startswith("2.")
INVOKE = {"method": "POST", "path": "/invoke"}
WORKER = {"deferrable": False}
SYNC = {"deferrable": False, "mode": "sync"}
ACTIONS = pytest.mark.parametrize("action", ["stop", "leave"])


class Terminated(BaseException):
    """What Airflow 2 raises in the signal handler, after on_kill."""


def only_run(service: Service) -> str:
    """The id of the one run that was started."""
    (run,) = service.runs()
    return str(run.task_id)


def polled(service: Service) -> bool:
    return len([call for call in service.requests("GET") if call.path.startswith("/v1/tasks/")]) >= 2


def call_for_a_person(service: Service, task_id: str) -> str:
    return f"curl -X POST -H 'x-api-key: <key>' {service.server.url}/v1/tasks/{task_id}/stop"


def end_before(service: Service, task_id: str) -> dict[str, Any]:
    """The kwargs of a resume that follows an event of the trigger."""
    return {
        "event": {"xpander_task_id": task_id, "agent_id": "slow", "end": "finished", "status": "completed"}
    }


def broken_off(*, late: bool) -> dict[str, Any]:
    """What Airflow stores when it ends a deferral itself, with ``__fail__`` for the method."""
    if AIRFLOW_2:
        return {"error": "Trigger/execution timeout" if late else "Trigger failure"}
    return {"error": "Trigger timeout" if late else "Trigger failure", "traceback": ["Traceback"]}


# A kill of the worker.


@pytest.mark.parametrize("way", [WORKER, SYNC], ids=["worker", "sync"])
def test_a_kill_while_the_worker_waits_stops_the_run_once(
    way: dict[str, Any], service: Service, lines: Lines
) -> None:
    service.configure({"gateway_timeout_seconds": 0.1})
    task = slow_operator(**way)
    with signalled(lambda: polled(service), task.on_kill), pytest.raises(XpanderTaskStopped):
        go(task, attempt(1))
    assert service.stops(only_run(service)) == 1
    assert f"Killed. Stopped xpander task {only_run(service)}" in lines.at("info")


def test_a_kill_while_the_resumed_worker_waits_stops_the_run_once(service: Service) -> None:
    first = attempt(1)
    task_id = submit(first)
    task = slow_operator()
    with signalled(lambda: polled(service), task.on_kill), pytest.raises(XpanderTaskStopped):
        task.resume_execution("execute_complete", end_before(service, task_id), first.context())
    assert service.stops(task_id) == 1


def test_a_kill_asks_airflow_for_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call to Airflow in the signal handler waits for ever for the one that it has interrupted."""
    task = slow_operator(**WORKER)
    asked: list[str] = []

    def kill() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(BaseHook, "get_connection", lambda *args: asked.append("connection"))
            patch.setattr(Attempt, "xcom_pull", lambda *args, **kwargs: asked.append("xcom"))
            patch.setattr(Attempt, "xcom_push", lambda *args, **kwargs: asked.append("xcom"))
            task.on_kill()

    with signalled(lambda: polled(service), kill), pytest.raises(XpanderTaskStopped):
        go(task, attempt(1))
    assert asked == []
    assert service.stops(only_run(service)) == 1


@pytest.mark.parametrize("noticed", [True, False], ids=["by a poll", "by nobody yet"])
def test_a_kill_uses_the_key_that_the_connection_has_now(noticed: bool, service: Service) -> None:
    task, new = slow_operator(**WORKER), "the-new-key-0001"

    def rotate_and_kill() -> None:
        service.connect(password=new)
        service.configure({"api_keys": [new]})
        if not noticed:
            task.on_kill()

    def polled_with_the_new_key() -> bool:
        return any(call.headers.get("x-api-key") == new for call in service.requests("GET"))

    def kill_once_noticed() -> None:
        eventually(polled_with_the_new_key, "a poll with the new key")
        task.on_kill()

    if noticed:
        threading.Thread(target=kill_once_noticed, daemon=True).start()
    with signalled(lambda: polled(service), rotate_and_kill), pytest.raises(XpanderTaskStopped):
        go(task, attempt(1))
    assert service.stops(only_run(service)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.slow(30, path="/stop$"), id="stalls"),
        pytest.param(Fault.html(503, path="/stop$", times=None), id="refuses"),
        pytest.param(Fault.throttled(path="/stop$", retry_after=600, times=None), id="throttles"),
    ],
)
def test_a_kill_that_cannot_stop_returns_in_time_and_says_what_to_do(
    fault: Fault, service: Service, lines: Lines
) -> None:
    service.add_fault(fault)
    ti = attempt(1)
    task_id = submit(ti)
    task = slow_operator()
    took: list[float] = []

    def kill() -> None:
        started = time.monotonic()
        task.on_kill()
        took.append(time.monotonic() - started)
        service.finish(task_id)

    with signalled(lambda: polled(service), kill):
        task.resume_execution("execute_complete", end_before(service, task_id), ti.context())
    # Airflow ends the process after five seconds.
    assert took[0] < 4.0
    assert f"xpander task {task_id} could not be stopped" in lines.at("error")
    assert call_for_a_person(service, task_id) in lines.at("error")
    assert service.server.api_key not in lines.text


def test_a_kill_leaves_the_run_if_the_author_says_so(service: Service, lines: Lines) -> None:
    task = slow_operator(**WORKER, on_kill_action="leave")

    def kill() -> None:
        task.on_kill()
        service.finish(only_run(service))

    with signalled(lambda: polled(service), kill):
        go(task, attempt(1))
    assert service.stops(only_run(service)) == 0
    assert (
        f"xpander task {only_run(service)} goes on, the task was killed, and on_kill_action says so: "
        "https://app.xpander.ai/agents/slow"
    ) in lines.text


def test_a_kill_before_anything_was_started_does_nothing(service: Service) -> None:
    slow_operator().on_kill()
    assert not service.requests()


@pytest.mark.parametrize("way", [{"deferrable": True}, WORKER, SYNC], ids=["deferred", "worker", "sync"])
def test_after_a_kill_before_the_task_nothing_is_started(way: dict[str, Any], service: Service) -> None:
    """Airflow 3 lets the code go on after on_kill, and a run that is stopped at once would be paid for."""
    task = slow_operator(**way)
    task.on_kill()
    with pytest.raises(XpanderError, match="was not started: the task was killed before"):
        go(task, attempt(1))
    assert service.runs() == []


@pytest.mark.parametrize("way", [{"deferrable": True}, WORKER, SYNC], ids=["deferred", "worker", "sync"])
def test_after_a_kill_in_the_look_back_nothing_is_started(way: dict[str, Any], service: Service) -> None:
    service.add_fault(Fault.slow(0.5, method="GET"))
    task = slow_operator(**way)
    with (
        signalled(lambda: bool(service.requests()), task.on_kill),
        pytest.raises(XpanderError, match="was not started: the task was killed before"),
    ):
        go(task, attempt(2))
    assert service.runs() == []


def test_a_kill_after_the_end_does_nothing(service: Service) -> None:
    task = operator(**WORKER)
    go(task, attempt(1))
    task.on_kill()
    assert service.stops(only_run(service)) == 0


@ACTIONS
@pytest.mark.parametrize("way", [{"deferrable": True}, WORKER], ids=["deferred", "worker"])
def test_a_kill_while_the_run_is_being_started(
    way: dict[str, Any], action: str, service: Service, lines: Lines
) -> None:
    """Airflow 3 lets the code go on after on_kill, for up to five seconds."""
    service.add_fault(Fault.slow(0.3, act_first=True, **INVOKE))
    task = slow_operator(**way, on_kill_action=action)

    def kill() -> None:
        task.on_kill()
        if action == "leave":
            service.finish(only_run(service))

    with signalled(lambda: bool(service.runs()), kill):
        try:
            go(task, attempt(1))
        except XpanderTaskStopped:
            assert action == "stop"
    assert service.stops(only_run(service)) == (action == "stop")
    if action == "stop":
        assert f"Killed. Stopped xpander task {only_run(service)}" in lines.at("info")
    else:
        assert re.search(r"its title has \[airflow [0-9a-f]{20}", lines.at("warning"))


def test_a_kill_during_the_one_blocking_call_stops_the_run(service: Service, lines: Lines) -> None:
    """The id is in the answer, which only the end of the run brings: the run is looked for by its mark."""
    task = slow_operator(**SYNC)
    with signalled(lambda: bool(service.runs()), task.on_kill), pytest.raises(XpanderTaskStopped):
        go(task, attempt(1))
    assert service.stops(only_run(service)) == 1
    assert f"Killed. Stopped xpander task {only_run(service)}" in lines.at("info")


def test_a_kill_before_the_submit_has_arrived_says_what_to_look_for(service: Service, lines: Lines) -> None:
    service.configure({"list_lag_seconds": 30})
    service.add_fault(Fault.slow(0.3, act_first=True, **INVOKE))
    task = slow_operator(**WORKER)
    with signalled(lambda: bool(service.runs()), task.on_kill), pytest.raises(XpanderTaskStopped):
        go(task, attempt(1))
    assert re.search(
        r"being started \(none is in sight\); if there is one, its title has \[airflow", lines.text
    )
    assert service.stops(only_run(service)) == 1


@ACTIONS
def test_a_kill_that_breaks_off_the_submit(action: str, service: Service, lines: Lines) -> None:
    """Airflow 2 raises after on_kill: the answer of the submit, with the run's id, is not awaited."""
    service.add_fault(Fault.slow(1.0, act_first=True, **INVOKE))
    task = slow_operator(on_kill_action=action)

    def kill() -> None:
        task.on_kill()
        raise Terminated

    with signalled(lambda: bool(service.runs()), kill), pytest.raises(Terminated):
        go(task, attempt(1))
    assert service.stops(only_run(service)) == (action == "stop")
    assert only_run(service) in lines.text


def test_a_kill_that_breaks_off_the_submit_of_a_run_that_is_not_in_sight(
    service: Service, lines: Lines
) -> None:
    service.configure({"list_lag_seconds": 30})
    service.add_fault(Fault.slow(1.0, act_first=True, **INVOKE))
    task = slow_operator()

    def kill() -> None:
        task.on_kill()
        raise Terminated

    with signalled(lambda: bool(service.runs()), kill), pytest.raises(Terminated):
        go(task, attempt(1))
    assert re.search(
        r"No run with \[airflow [0-9a-f]{20} [0-9a-f]{12}\] in its title is in sight", lines.text
    )


# Airflow's execution_timeout: it raises in the middle of the code, and calls on_kill then.


def run_with_timeout(task: XpanderInvokeAgentOperator, when: Any) -> None:
    def expire() -> None:
        raise AirflowTaskTimeout("execution_timeout")

    try:
        with signalled(when, expire):
            go(task, attempt(1))
    except AirflowTaskTimeout:
        task.on_kill()
        return
    raise AssertionError("the time-out was swallowed")


@ACTIONS
@pytest.mark.parametrize("on_kill_action", ["stop", "leave"])
def test_airflows_time_out_in_the_wait_does_what_on_timeout_says(
    on_kill_action: str, action: str, service: Service, lines: Lines
) -> None:
    task = slow_operator(**WORKER, on_timeout=action, on_kill_action=on_kill_action)
    run_with_timeout(task, lambda: polled(service))
    assert service.stops(only_run(service)) == (action == "stop")
    if action == "leave":
        assert "goes on, as on_timeout says: https://app.xpander.ai/agents/slow" in lines.text


@ACTIONS
@pytest.mark.parametrize("way", [{}, SYNC], ids=["async", "sync"])
def test_airflows_time_out_in_the_submit_does_what_on_timeout_says(
    way: dict[str, Any], action: str, service: Service, lines: Lines
) -> None:
    service.add_fault(Fault.slow(1.0, act_first=True, **INVOKE))
    run_with_timeout(slow_operator(**way, on_timeout=action), lambda: bool(service.runs()))
    assert service.stops(only_run(service)) == (action == "stop")
    assert only_run(service) in lines.text


# The own deadline.


@ACTIONS
@pytest.mark.parametrize("way", [WORKER, {"deferrable": True}, SYNC], ids=["worker", "deferred", "sync"])
def test_a_run_that_is_late(way: dict[str, Any], action: str, service: Service) -> None:
    started = time.monotonic()
    with pytest.raises(XpanderTaskTimeout) as caught:
        go(slow_operator(**way, timeout=0.4, on_timeout=action), attempt(1))
    assert time.monotonic() - started < 10
    assert service.stops(only_run(service)) == (action == "stop")
    assert ("was stopped" if action == "stop" else "goes on") in str(caught.value)


@pytest.mark.parametrize("way", [WORKER, {"deferrable": True}], ids=["worker", "deferred"])
def test_a_late_run_that_waited_for_a_person_says_for_what(
    way: dict[str, Any], service: Service, lines: Lines
) -> None:
    """Not that it is stopped, which was our own doing."""
    task = operator(agent_id="paused", input="approve", timeout=0.4, **way)
    with pytest.raises(XpanderTaskTimeout, match=r"last status: paused: a person has to answer.*was stopped"):
        go(task, attempt(1))
    assert service.stops(only_run(service)) == 1


@pytest.mark.parametrize("way", [WORKER, {"deferrable": True}], ids=["worker", "deferred"])
@pytest.mark.parametrize("delay", [0.0, 0.7], ids=["stop at once", "stop takes a while"])
def test_a_run_that_completes_in_the_race_is_returned(
    way: dict[str, Any], delay: float, service: Service
) -> None:
    """The stop comes too late, or takes so long that the run completes first."""
    service.configure({"stop_delay_seconds": delay})
    if not delay:
        service.add_fault(Fault.slow(0.5, path="/stop$"))
    task = operator(agent_id="slow", input="take 0.6", timeout=0.3, **way)
    assert go(task, attempt(1)) == "Done after 0.6 seconds."
    assert service.stops(only_run(service)) == 1


@pytest.mark.parametrize("way", [WORKER, {"deferrable": True}], ids=["worker", "deferred"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (409, {"detail": "already completed"}),
        (400, {"detail": "not running"}),
        (204, ""),
        (200, ""),
        (200, "ok"),
    ],
)
def test_a_run_that_is_over_when_its_stop_arrives_is_returned(
    status: int, body: Any, way: dict[str, Any], service: Service, lines: Lines
) -> None:
    """Whatever the service replies to the stop then."""
    service.add_fault(Fault(status=status, body=body, path="/stop$", times=None, delay_seconds=0.5))
    task = operator(agent_id="slow", input="take 0.6", timeout=0.3, **way)
    assert go(task, attempt(1)) == "Done after 0.6 seconds."
    assert not lines.at("error")


@pytest.mark.parametrize("way", [WORKER, {"deferrable": True}], ids=["worker", "deferred"])
def test_a_stop_that_fails_is_repeated_and_then_named(
    way: dict[str, Any], service: Service, lines: Lines, slept: list[float]
) -> None:
    fault = service.add_fault(Fault.html(503, path="/stop$", times=None))
    with pytest.raises(XpanderTaskTimeout, match="Stopping it failed"):
        go(slow_operator(**way, timeout=0.2), attempt(1))
    assert 2 <= fault.hits <= 10
    assert call_for_a_person(service, only_run(service)) in lines.at("error")


def test_a_stop_that_fails_once_is_no_news(service: Service, lines: Lines) -> None:
    service.add_fault(Fault.html(503, path="/stop$"))
    with pytest.raises(XpanderTaskTimeout, match="was stopped"):
        go(slow_operator(**WORKER, timeout=0.2), attempt(1))
    assert "could not be stopped" not in lines.at("error")


# An error after the submit.


FATES = pytest.mark.parametrize(
    ("number", "ways", "stops"),
    [
        pytest.param(1, {}, 0, id="retries left"),
        pytest.param(3, {}, 1, id="none left"),
        pytest.param(1, {"reattach": False}, 1, id="a retry would start anew"),
        pytest.param(3, {"on_kill_action": "leave"}, 0, id="none left, leave"),
    ],
)


@FATES
@pytest.mark.parametrize("way", [WORKER, {"deferrable": True}], ids=["worker", "deferred"])
def test_an_error_after_the_submit(
    way: dict[str, Any], number: int, ways: dict[str, Any], stops: int, service: Service, lines: Lines
) -> None:
    with pytest.raises(RuntimeError, match="XCom refuses"):
        go(slow_operator(**way, **ways), attempt(number, fails_at="xpander_task_id"))
    task_id = only_run(service)
    assert service.stops(task_id) == stops
    assert f"xpander task {task_id}" in lines.text
    if not stops:
        assert f"xpander task {task_id} goes on" in lines.at("warning")


def test_the_retry_after_an_error_takes_the_run_over(service: Service) -> None:
    with pytest.raises(RuntimeError):
        go(slow_operator(), attempt(1, fails_at="xpander_task_id"))
    assert submit(attempt(2)) == only_run(service)


def test_an_error_that_uses_no_retry_leaves_no_run_for_one(service: Service) -> None:
    """A refusal ends the task although retries are left: nobody would come for the run."""
    service.add_fault(Fault(method="GET", status=403, body={"detail": "no access"}, times=None))
    with pytest.raises(AirflowFailException):
        go(slow_operator(**WORKER), attempt(1))
    assert service.stops(only_run(service)) == 1


@pytest.mark.parametrize(("decided", "stops"), [("fail", 1), ("retry", 0), ("default", 0), (None, 0)])
def test_a_retry_policy_that_gives_up_leaves_no_run_for_a_retry(
    decided: str | None, stops: int, service: Service, lines: Lines
) -> None:
    """Airflow 3.3 asks the policy of the task whether it is tried again; other policies may be broken."""

    class Policy:
        def evaluate(self, **given: Any) -> Any:
            assert set(given) == {"exception", "try_number", "max_tries", "context"}
            if decided is None:
                raise RuntimeError("a broken policy")
            return SimpleNamespace(action=SimpleNamespace(value=decided))

    task = slow_operator(**WORKER)
    object.__setattr__(task, "retry_policy", Policy())
    with pytest.raises(RuntimeError):
        go(task, attempt(1, fails_at="xpander_link"))
    assert service.stops(only_run(service)) == stops
    assert ("goes on" in lines.at("warning")) is (not stops)


@pytest.mark.parametrize("first", ["retry", "fail", "broken"])
def test_a_retry_policy_is_asked_once_about_an_error(first: str, service: Service) -> None:
    """Airflow asks it as well. A policy that asks a model may say something else then."""
    answers = iter([first, "another time"])

    class Policy:
        def evaluate(self, **given: Any) -> Any:
            answer = next(answers)
            if answer == "broken":
                raise RuntimeError("a broken policy")
            return SimpleNamespace(action=SimpleNamespace(value=answer))

    task = slow_operator(**WORKER)
    object.__setattr__(task, "retry_policy", Policy())
    with pytest.raises(RuntimeError, match="XCom refuses") as failed:
        go(task, attempt(1, fails_at="xpander_link"))
    asked: Any = task.retry_policy
    given = {"try_number": 1, "max_tries": 2, "context": None}
    if first == "broken":
        with pytest.raises(RuntimeError, match="a broken policy"):
            asked.evaluate(exception=failed.value, **given)
    else:
        assert asked.evaluate(exception=failed.value, **given).action.value == first
    assert asked.evaluate(exception=ValueError(), **given).action.value == "another time"


@pytest.mark.parametrize("method", ["execute_complete", "fail"])
def test_a_run_is_seen_to_although_its_task_cannot_be_made_out_any_more(
    method: str, service: Service
) -> None:
    """The id of the agent comes out of a template, and gives nothing when the task is resumed."""
    ti = attempt(3)
    task_id = submit(ti)
    task = slow_operator()
    task.agent_id = ""
    kwargs = end_before(service, task_id) if method == "execute_complete" else broken_off(late=False)
    ended = (AirflowFailException, *DEFERRAL_ERRORS)
    with pytest.raises(ended):
        task.resume_execution(method if method != "fail" else "__fail__", kwargs, ti.context())
    assert service.stops(task_id) == 1


def test_a_wait_for_a_thread_that_airflow_ends_is_no_lost_run(service: Service, lines: Lines) -> None:
    thread = service.start("slow", LONG)
    task, ti = slow_operator(thread_id=thread, deferrable=True), attempt(1)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(ti.context())
    assert deferred.value.method_name == "execute_on_thread"
    with pytest.raises(DEFERRAL_ERRORS):
        task.resume_execution("__fail__", broken_off(late=True), ti.context())
    assert f"Thread {thread} was busy for too long. Nothing was started." in lines.at("warning")
    assert "the id of the run" not in lines.text
    assert service.stops(thread) == 0


def test_an_error_after_the_end_stops_nothing(service: Service) -> None:
    with pytest.raises(RuntimeError):
        go(operator(**WORKER), attempt(3, fails_at="xpander_task"))
    assert service.stops(only_run(service)) == 0


@pytest.mark.parametrize(("text", "error"), [("fail", "failed"), ("stopped", "stopped")])
def test_a_run_that_ended_otherwise_is_not_stopped(text: str, error: str, service: Service) -> None:
    with pytest.raises(XpanderError, match=error):
        go(operator(agent_id="failing", input=text, **WORKER), attempt(3))
    assert service.stops(only_run(service)) == 0


def test_deferring_is_no_failure(service: Service) -> None:
    with pytest.raises(TaskDeferred):
        slow_operator(deferrable=True).execute(attempt(3).context())
    assert service.stops(only_run(service)) == 0


# A trigger or a resume that dies.


@FATES
@pytest.mark.parametrize("how", ["event", "fail"])
def test_a_trigger_that_died(
    how: str, number: int, ways: dict[str, Any], stops: int, service: Service, lines: Lines
) -> None:
    ti = attempt(number)
    # The run of this very attempt: the attempts before it left none.
    task_id = submit(ti)
    task = slow_operator(**ways)
    if how == "event":
        with pytest.raises(XpanderError, match="boom"):
            task.resume_execution("execute_complete", failed_wait(task_id), ti.context())
    else:
        with pytest.raises(DEFERRAL_ERRORS):
            task.resume_execution("__fail__", broken_off(late=False), ti.context())
    assert service.stops(task_id) == stops
    assert f"xpander task {task_id}" in lines.text


def failed_wait(task_id: str) -> dict[str, Any]:
    event = {"xpander_task_id": task_id, "agent_id": "slow", "end": "error", "message": "boom"}
    return {"event": event}


def test_a_run_that_ended_behind_a_trigger_that_died_is_returned(service: Service) -> None:
    ti = attempt(3)
    task_id = submit(ti)
    service.finish(task_id, result="done after all")
    answer = slow_operator().resume_execution("execute_complete", failed_wait(task_id), ti.context())
    assert answer == "done after all"
    assert service.stops(task_id) == 0


def test_a_trigger_that_died_of_a_refusal_uses_no_retry(service: Service) -> None:
    ti = attempt(1)
    task_id = submit(ti)
    service.add_fault(Fault(method="GET", status=403, body={"detail": "no access"}, times=None))
    with pytest.raises(AirflowFailException, match="no access"):
        slow_operator().resume_execution("execute_complete", failed_wait(task_id), ti.context())
    assert service.stops(task_id) == 1


def test_a_trigger_that_died_of_an_outage_that_goes_on(service: Service) -> None:
    ti = attempt(1)
    task_id = submit(ti)
    service.add_fault(Fault.html(503, method="GET", times=None))
    with pytest.raises(XpanderError, match="503"):
        slow_operator().resume_execution("execute_complete", failed_wait(task_id), ti.context())
    assert service.stops(task_id) == 0


@ACTIONS
@pytest.mark.parametrize("number", [1, 3], ids=["retries left", "none left"])
def test_a_deferral_that_airflow_ended_as_too_long(
    number: int, action: str, service: Service, lines: Lines
) -> None:
    ti = attempt(number)
    task_id = submit(ti)
    with pytest.raises(DEFERRAL_ERRORS):
        slow_operator(on_timeout=action).resume_execution("__fail__", broken_off(late=True), ti.context())
    assert service.stops(task_id) == (action == "stop")
    assert f"xpander task {task_id}" in lines.text


@pytest.mark.parametrize("late", [True, False], ids=["too long", "trigger died"])
def test_a_run_that_has_completed_by_then_is_returned(late: bool, service: Service) -> None:
    ti = attempt(3)
    task_id = submit(ti)
    service.finish(task_id, result="done after all")
    answer = slow_operator().resume_execution("__fail__", broken_off(late=late), ti.context())
    assert answer == "done after all"
    assert ti.xcom["xpander_task"]["status"] == "completed"


def test_a_deferral_whose_run_is_unknown_is_said(service: Service, lines: Lines) -> None:
    with pytest.raises(DEFERRAL_ERRORS):
        slow_operator().resume_execution("__fail__", broken_off(late=True), attempt(3).context())
    assert "the id of the run is not in XCom" in lines.at("error")


def test_other_resumes_are_left_alone(service: Service) -> None:
    with pytest.raises(AttributeError):
        slow_operator().resume_execution("no_such_method", {}, attempt(3).context())
    assert not service.requests()


@pytest.mark.parametrize("number", [1, 3], ids=["retries left", "none left"])
def test_a_resume_without_a_connection_names_the_run(
    number: int, service: Service, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti = attempt(number)
    task_id = submit(ti)
    monkeypatch.delenv("AIRFLOW_CONN_XPANDER_DEFAULT")

    def unknown(hook: Any, conn_id: str) -> Any:
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", unknown)
    with pytest.raises(Exception, match="There is no connection"):
        slow_operator().resume_execution("execute_complete", end_before(service, task_id), ti.context())
    assert task_id in lines.text
    if number == 3:
        assert f"/v1/tasks/{task_id}/stop" in lines.at("error")


def test_a_task_that_airflow_2_ends_before_it_is_resumed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the operator is a new one and only its on_kill is called, out of the handler of the time-out."""
    ti = attempt(3, next_method="execute_complete")
    task_id = submit(ti)
    monkeypatch.setattr(early_end_module, "context_of_late_resumption", ti.context)
    slow_operator().on_kill()
    assert service.stops(task_id) == 1


@pytest.mark.skipif(not AIRFLOW_2, reason="Airflow 3 does not count the time of the deferral")
@pytest.mark.parametrize("next_method", ["execute_complete", None])
def test_airflow_2_tells_which_task_it_is(next_method: str | None, service: Service) -> None:
    from airflow.models.taskinstance import set_current_context

    ti = attempt(3, next_method=next_method)
    task_id = submit(ti)
    with set_current_context(ti.context()):
        try:
            raise AirflowTaskTimeout
        except AirflowTaskTimeout:
            slow_operator().on_kill()
    assert service.stops(task_id) == (1 if next_method else 0)


def test_without_waiting_the_run_goes_on(service: Service) -> None:
    task = operator(agent_id="slow", input=LONG, wait_for_completion=False)
    go(task, attempt(3))
    assert service.stops(only_run(service)) == 0
