"""Whose run it is: no retry, clear or shared thread ends with the run or the answer of somebody else."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred
from airflow_side import LIMIT, POLL, FakeTaskInstance, Service, resume, run_through
from attempts import (
    BEGAN,
    LONG,
    Lines,
    attempt,
    go,
    lines,
    lists,
    mark_of,
    operator,
    signalled,
    slept,
    slow_operator,
    submit,
)

from airflow_provider_xpander._compat import BaseOperator
from airflow_provider_xpander.api.errors import XpanderAmbiguousSubmitError, XpanderError
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.operators.invoke import XpanderInvokeOperator
from airflow_provider_xpander.operators.run_guard import RunGuard
from airflow_provider_xpander.operators.starter import RunStarter
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.runs.identity import Identity, Mark
from airflow_provider_xpander.runs.lookup import LEFT_OVER_PAGES
from airflow_provider_xpander.runs.thread import ThreadBusy, Turn
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor
from airflow_provider_xpander.task_instance import identity_of, note_turn, noted_turn, tasks_before

__all__ = ["lines", "slept"]

pytestmark = pytest.mark.usefixtures("slept")

INVOKE = {"method": "POST", "path": "/invoke"}
LATER = BEGAN + timedelta(seconds=20)
"""The start of another DAG run of the same name: of another installation, or made again after a deletion."""


class Store(dict[str, Any]):
    """Airflow's task state store, as far as it is used; it outlives a clear."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def old_mark(**changes: Any) -> Mark:
    """The mark that releases before identity version 2 wrote for the task of these tests."""
    return Mark(str(Identity("nightly", "manual__2026-11-01", "ask", -1, 1, **changes).old_digest), "a" * 12)


def start_marked(service: Service, mark: Mark, text: str = LONG) -> str:
    return service.start("slow", text, title=f"t {mark}", source=f"airflow {mark}")


# Two installations, and a DAG run that was deleted and made again.


@pytest.mark.parametrize("ended", [True, False])
def test_a_retry_never_ends_with_the_run_of_another_installation(ended: bool, service: Service) -> None:
    theirs = submit(attempt(1, began=LATER))
    if ended:
        service.finish(theirs)
    ours = submit(attempt(1))
    assert submit(attempt(2)) == ours
    assert not service.stops(theirs)
    assert not service.stops(ours)
    if not ended:
        assert submit(attempt(2, began=LATER)) == theirs
    assert len(service.runs()) == 2


def test_a_lost_submit_is_never_taken_for_the_run_of_another_installation(service: Service) -> None:
    theirs = submit(attempt(1, began=LATER))
    service.add_fault(Fault.html(504, **INVOKE))
    with pytest.raises(XpanderAmbiguousSubmitError):
        submit(attempt(1))
    assert not service.stops(theirs)


def test_a_chosen_id_is_of_this_dag_run_only(service: Service) -> None:
    service.connect(extra={"client_task_ids": True})
    theirs = submit(attempt(1))
    ours = submit(attempt(1, began=LATER))
    assert theirs != ours
    assert len(service.task(theirs).turns) == len(service.task(ours).turns) == 1
    assert submit(attempt(2, began=LATER)) == ours


def test_a_deployment_may_have_a_name(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the start of the DAG run is the same, as in dag.test() for a date."""
    theirs = submit(attempt(1))
    monkeypatch.setenv("AIRFLOW__XPANDER__DEPLOYMENT", "staging")
    assert submit(attempt(2)) != theirs
    assert not service.stops(theirs)


def test_what_was_created_before_the_dag_run_began_is_not_looked_like(service: Service) -> None:
    """No mark is kept, and the list knows no dates."""
    first = submit(attempt(1))
    service.override(first, {"title": "A friendly chat", "source": "api"})
    began = datetime.now(UTC) + timedelta(seconds=30)
    assert submit(attempt(2, began=began)) != first


# Runs in flight over an upgrade of the provider.


def test_a_run_of_an_older_release_is_still_found(service: Service) -> None:
    theirs = start_marked(service, old_mark())
    assert submit(attempt(2)) == theirs


def test_a_run_of_an_older_release_from_before_the_dag_run_is_not(service: Service) -> None:
    theirs = start_marked(service, old_mark())
    began = datetime.now(UTC) + timedelta(seconds=30)
    assert submit(attempt(2, began=began)) != theirs
    assert not service.stops(theirs)


def test_a_lost_submit_is_not_a_run_of_an_older_release(service: Service) -> None:
    start_marked(service, old_mark())
    service.add_fault(Fault.html(504, **INVOKE))
    with pytest.raises(XpanderAmbiguousSubmitError):
        submit(attempt(1))


# Loops of tasks (Airflow 3.4).


def test_iterations_of_a_loop_do_not_take_each_others_runs(service: Service) -> None:
    region = UUID("019a0000-0000-7000-8000-000000000001")
    tries = [
        [looped(attempt(number), region_id=region, region_index=index) for number in (1, 2)]
        for index in range(3)
    ]
    started = [submit(first) for first, _ in tries]
    assert [submit(second) for _, second in tries] == started
    assert len(set(started)) == len(service.runs()) == 3


def looped(ti: Any, **region: Any) -> Any:
    ti.__dict__.update(region)
    return ti


# A clear of a task whose run was kept for the retry.


@pytest.mark.parametrize("tries", [1, 2])
@pytest.mark.parametrize("action", ["stop", "leave"])
def test_a_run_that_was_kept_for_a_retry_is_stopped_after_a_clear(
    action: str, tries: int, service: Service, lines: Lines
) -> None:
    kept = submit(attempt(tries))
    before = lists(service)
    cleared = slow_operator(deferrable=True, on_kill_action=action)
    new = submit(attempt(tries + 1, cleared_at=tries + 1), cleared)
    assert new != kept
    assert service.stops(kept) == (action == "stop")
    assert not service.stops(new)
    assert f"xpander task {kept} goes on from before the task was cleared" in lines.at("warning")
    assert lists(service) - before == 1


def test_a_clear_stops_a_run_whose_title_was_rewritten(service: Service) -> None:
    kept = submit(attempt(1))
    service.override(kept, {"title": "A friendly chat"})
    submit(attempt(2, cleared_at=2))
    assert service.stops(kept) == 1


def test_a_clear_stops_a_run_of_an_older_release(service: Service) -> None:
    kept = start_marked(service, old_mark())
    submit(attempt(2, cleared_at=2))
    assert service.stops(kept) == 1


@pytest.mark.parametrize("ended", [True, False])
def test_airflows_note_saves_the_list_after_a_clear(ended: bool, service: Service) -> None:
    store = Store()
    kept = submit(attempt(1, store=store))
    if ended:
        service.finish(kept)
    new = submit(attempt(2, cleared_at=2, store=store))
    assert lists(service) == 0
    assert service.stops(kept) == (not ended)
    # The note of the new run is in its place, and the retry takes that one over.
    assert submit(attempt(3, cleared_at=2, store=store)) == new
    assert len(service.runs()) == 2


def test_what_was_started_after_the_noted_run_is_left_over_too(service: Service) -> None:
    """The second try has died between its submit and its note."""
    store = Store()
    first = submit(attempt(1, store=store))
    service.finish(first, "failed")
    second = submit(attempt(2))
    submit(attempt(3, cleared_at=3, store=store))
    assert service.stops(second) == 1


def test_a_note_from_before_the_clear_is_never_taken_over(service: Service) -> None:
    """The first try after the clear has died before its submit."""
    store = Store()
    kept = submit(attempt(1, store=store))
    assert submit(attempt(3, cleared_at=2, store=store)) != kept


@pytest.mark.parametrize("thread_id", [None, "conversation-1"])
def test_airflows_note_tells_what_is_left_over_of_a_dag_run_that_began_anew(
    thread_id: str | None, service: Service
) -> None:
    """It was marked failed while the task was up for retry, and cleared."""
    store = Store()
    task = partial(slow_operator, deferrable=True, thread_id=thread_id, timeout=0.5)
    kept = submit(attempt(1, store=store), task())
    new = submit(attempt(2, cleared_at=2, store=store, began=LATER), task())
    assert service.stops(kept) == 1
    assert (new == kept) is bool(thread_id)
    assert len(service.posts) == 2


def test_a_stop_of_what_is_left_over_spares_the_next_turn_of_the_thread(service: Service) -> None:
    """Somebody continues the thread while the stop waits for the connection's limits."""
    thread = service.start(text="first")
    service.finish(thread)
    submit(attempt(1), slow_operator(thread_id=thread, deferrable=True))
    task = slow_operator(thread_id=thread, deferrable=True)
    stop = RunGuard.stop

    def late(guard: RunGuard, *given: Any) -> Any:
        service.finish(thread)
        service.start("slow", LONG, id=thread, title=f"t {Mark('f' * 20)}")
        return stop(guard, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunGuard, "stop", late)
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(attempt(2, cleared_at=2).context())
    assert deferred.value.method_name == "execute_on_thread"
    assert service.stops(thread) == 0


def test_airflows_note_tells_the_run_of_a_retry_whose_dag_run_began_anew(service: Service) -> None:
    """It was set back to queued while the task was up for retry."""
    store = Store()
    kept = submit(attempt(1, store=store))
    assert submit(attempt(2, store=store, began=LATER)) == kept


def test_a_lost_submit_is_not_the_run_that_was_noted_before_the_clear(service: Service) -> None:
    store = Store()
    submit(attempt(1, store=store), slow_operator(deferrable=True))
    service.add_fault(Fault.html(504, **INVOKE))
    with pytest.raises(XpanderAmbiguousSubmitError):
        submit(attempt(2, cleared_at=2, store=store), slow_operator(deferrable=True, on_kill_action="leave"))


def test_the_note_of_another_iteration_of_a_loop_is_none_of_ours(service: Service) -> None:
    store, region = Store(), UUID("019a0000-0000-7000-8000-000000000001")
    first, second = (
        looped(attempt(number, store=store), region_id=region, region_index=number) for number in (1, 2)
    )
    assert submit(first) != submit(second)
    assert len(service.posts) == 2


def test_a_clear_of_many_tasks_does_not_read_the_whole_list(service: Service) -> None:
    service.configure({"list_order": "created"})
    for _ in range(50 * LEFT_OVER_PAGES + 30):
        service.finish(service.start("slow", LONG, title="A chat"))
    start_marked(service, Mark("f" * 20))
    before = len(service.requests())
    submit(attempt(2, cleared_at=2))
    assert len(service.requests()) - before == LEFT_OVER_PAGES + 3 + 1


@pytest.mark.parametrize("other", [{"map_index": 1}, {"began": LATER}, {"task_id": "tell"}])
def test_a_clear_stops_nobody_elses_run(other: dict[str, Any], service: Service) -> None:
    theirs = submit(attempt(1, **other), slow_operator(deferrable=True, task_id=other.get("task_id", "ask")))
    submit(attempt(2, cleared_at=2))
    assert not service.stops(theirs)


def test_a_clear_ends_the_turn_of_a_thread_that_was_kept_for_a_retry(service: Service) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    submit(attempt(1), slow_operator(thread_id=thread, deferrable=True))
    ti = attempt(2, cleared_at=2)
    assert go(operator(agent_id="slow", input="take 0.1", thread_id=thread), ti) == "Done after 0.1 seconds."
    assert service.stops(thread) == 1
    assert len(service.task(thread).turns) == 3


def test_a_cleared_task_starts_although_nothing_can_be_looked_for(service: Service, lines: Lines) -> None:
    service.add_fault(Fault(method="GET", path="/v1/tasks$", status=403, body={"detail": "no"}, times=None))
    submit(attempt(2, cleared_at=2))
    assert "could not be looked for and may go on" in lines.at("warning")
    assert len(service.runs()) == 1


# What a look-back costs.


def test_where_titles_are_kept_strangers_tasks_cost_nothing(service: Service) -> None:
    ours = submit(attempt(1, map_index=0))
    for _ in range(120):
        service.start("slow", LONG, title="A chat")
    submit(attempt(1, map_index=1))
    before = len(service.requests())
    assert submit(attempt(2, map_index=0)) == ours
    # Pages shift while runs begin, so one look may miss the run; three looks at three pages are the most.
    assert len(service.requests()) - before <= 11
    before = len(service.requests())
    submit(attempt(2, map_index=2))
    assert len(service.requests()) - before <= 11


# A thread that several tasks continue.


def starter(service: Service, hook: XpanderHook, **more: Any) -> RunStarter:
    ti = attempt(1)
    fields: dict[str, Any] = {
        "hook": hook, "log": Lines(), "target": Target.agent("slow"), "identity": identity_of(ti, retries=2),
        "request": InvokeRequest(input="take 0.2"), "try_number": 1, "reattach": True,
        "stop_unwanted": lambda ids, marks: None,
    }  # fmt: skip
    return RunStarter(**fields | more)


def started(service: Service, **more: Any) -> tuple[RunStarter, Task]:
    with XpanderHook() as hook:
        this = starter(service, hook, **more)
        return this, this.obtain(hook.invoke_async)


def test_a_worker_need_not_wait_for_a_busy_thread(service: Service) -> None:
    thread = service.start("slow", LONG)
    request = InvokeRequest(input="take 0.2", id=thread)
    with pytest.raises(ThreadBusy) as caught:
        started(service, request=request, deferrable=True, timeout=50.0)
    assert caught.value.task.id == thread
    assert caught.value.until == pytest.approx(time.time() + 50, abs=5)
    assert not service.posts
    # What was begun is not begun again when the triggerer has handed back.
    with pytest.raises(XpanderError, match="still busy"):
        started(service, request=request, deferrable=True, timeout=50.0, busy_until=time.time() - 1)


def test_a_worker_that_need_not_wait_for_the_thread_goes_on_at_once(service: Service) -> None:
    thread = service.start("slow", LONG)
    service.finish(thread)
    request = InvokeRequest(input="take 0.2", id=thread)
    this, task = started(service, request=request, deferrable=True)
    assert task.id == thread
    assert this.newer_than is not None


@pytest.mark.parametrize(
    ("on_paused", "text"), [("fail", "is paused"), ("wait", "still busy"), ("ask", "still busy")]
)
def test_a_paused_turn_of_a_thread(on_paused: str, text: str, service: Service) -> None:
    thread = service.start("slow", LONG)
    service.override(thread, {"status": "paused", "hitl_request": {"wait_node_id": "n"}})
    request = InvokeRequest(input="take 0.2", id=thread)
    with pytest.raises(XpanderError, match=text):
        started(service, request=request, on_paused=on_paused, timeout=0.2)
    assert not service.posts
    assert not service.stops(thread)


def test_the_time_out_counts_from_the_submit(service: Service) -> None:
    thread = service.start("slow", "take 0.7")
    request = InvokeRequest(input="take 0.2", id=thread)
    before = time.time()
    this, _ = started(service, request=request, timeout=100.0)
    waited = service.task(thread).turns[1].started - before
    assert waited > 0.4
    assert this.run_deadline is not None
    assert this.run_deadline - before > 100.4


@pytest.mark.parametrize(
    ("deadline", "timeout", "expected"), [(50.0, 100.0, 50.0), (100.0, 50.0, 50.0), (None, None, None)]
)
def test_the_deadline_of_a_run(
    deadline: float | None, timeout: float | None, expected: float | None, service: Service
) -> None:
    now = time.time()
    this, _ = started(service, deadline=None if deadline is None else now + deadline, timeout=timeout)
    assert this.run_deadline == (None if expected is None else pytest.approx(now + expected, abs=5))


def test_a_run_that_is_taken_over_has_its_time_anew(service: Service) -> None:
    submit(attempt(1), slow_operator(deferrable=True))
    this, _ = started(service, try_number=2, timeout=100.0)
    assert this.run_deadline == pytest.approx(time.time() + 100, abs=5)


def test_nothing_is_started_that_cannot_be_waited_for(service: Service) -> None:
    with pytest.raises(XpanderError, match="was not started"):
        started(service, deadline=time.time() - 1)
    assert not service.posts


@pytest.mark.parametrize("busy", ["accept", "cancel"])
def test_two_tasks_that_continue_a_thread_at_once(busy: str, service: Service) -> None:
    """Both find it free, both post. Neither may return the answer to the other's question."""
    service.configure({"busy_thread": busy})
    thread = service.start(text="first")
    service.finish(thread)
    tries = [(asking(thread, index), attempt(1, map_index=index).context()) for index in range(2)]
    deferrals = []
    for task, context in tries:
        # What each reads before it posts is from before the other's post.
        free = {"id": thread, "status": "completed", "finished_at": datetime.now(UTC).isoformat()}
        service.add_fault(Fault(method="GET", path=f"/v1/tasks/{thread}$", status=200, body=free, times=1))
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context)
        deferrals.append(deferred.value)
    assert len(service.posts) == 2
    with pytest.raises(XpanderError, match="was continued by somebody else"):
        resume(tries[0][0], deferrals[0], tries[0][1])
    assert resume(tries[1][0], deferrals[1], tries[1][1]) == "question 1"
    assert not service.stops(thread)
    # The retry asks again, and has the answer to its own question.
    assert go(asking(thread, 0), attempt(2, map_index=0)) == "question 0"


def asking(thread: str, index: int) -> XpanderInvokeAgentOperator:
    return operator(input=f"question {index}", thread_id=thread, deferrable=True)


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("end", ["paused", "timeout", "error", "finished"])
def test_a_late_task_does_not_stop_the_turn_of_another(end: str, retries: int, service: Service) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    task = slow_operator(thread_id=thread, deferrable=True, timeout=LIMIT, retries=retries)
    context = attempt(1, retries=retries).context()
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    service.start("slow", LONG, id=thread, title=f"t {Mark('f' * 20)}")
    event = {"xpander_task_id": thread, "agent_id": "slow", "end": end, "status": "executing", "message": "x"}
    kwargs = {**(deferred.value.kwargs or {}), "event": event}
    with pytest.raises(XpanderError, match="was continued by somebody else"):
        task.resume_execution(deferred.value.method_name, kwargs, context)
    assert not service.stops(thread)


@pytest.mark.parametrize(
    ("turn", "stops", "said"),
    [
        ("own", 1, "Killed. Stopped xpander task"),
        ("another's", 0, "is not stopped: somebody else has continued its thread"),
        ("unreadable", 0, "could not be stopped and may go on"),
    ],
)
def test_a_kill_in_the_worker_stops_its_own_turn_only(
    turn: str, stops: int, said: str, service: Service, lines: Lines
) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    task = slow_operator(thread_id=thread, deferrable=False, poll_interval=60)

    def kill() -> None:
        if turn == "another's":
            service.start("slow", LONG, id=thread, title=f"t {Mark('f' * 20)}")
        if turn == "unreadable":
            service.add_fault(Fault(method="GET", path="/v1/tasks/", status=403, times=9))
        task.on_kill()
        service.faults.clear()
        service.finish(thread)

    ends_somehow = suppress(XpanderError, AirflowFailException)
    with ends_somehow, signalled(lambda: "runs as xpander task" in lines.text, kill):
        go(task, attempt(1))
    assert service.stops(thread) == stops
    assert said in lines.text


def test_a_deferrable_task_waits_for_a_busy_thread_in_the_triggerer(service: Service) -> None:
    thread = service.start("slow", "take 0.5")
    task = operator(input="second", thread_id=thread, deferrable=True)
    context = attempt(1).context()
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    assert deferred.value.method_name == "execute_on_thread"
    assert deferred.value.trigger.serialize()[1]["on_kill_action"] == "leave"
    assert not service.posts
    assert resume(task, deferred.value, context) == "second"
    assert len(service.task(thread).turns) == 2
    assert service.task(thread).turns[1].started >= service.task(thread).turns[0].plan[-1].at


def test_an_operator_inside_another_task_starts_nothing(service: Service) -> None:
    with pytest.raises(AirflowFailException, match="'inner' is called inside the task 'ask'"):
        go(operator(task_id="inner"), attempt(1))
    assert not service.requests()


def test_what_comes_before_the_submit_is_not_taken_from_the_time_out(service: Service) -> None:
    thread = service.start("slow", "take 0.6")
    task = operator(agent_id="slow", input="take 0.6", thread_id=thread, timeout=1.0, deferrable=False)
    assert go(task, attempt(1)) == "Done after 0.6 seconds."


# The turn that a sensor waits for.


def sensor(thread: str, **kwargs: Any) -> XpanderTaskSensor:
    return XpanderTaskSensor(
        task_id="wait", xpander_task_id=thread, poke_interval=POLL, timeout=LIMIT, **kwargs
    )


@dataclass
class SensorInstance(FakeTaskInstance):
    """The task instance of a sensor that reads what the one before it has pushed."""

    before: FakeTaskInstance | None = None
    dag: Any = None

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        assert self.before is not None
        assert task_ids == self.before.task_id
        return json.loads(json.dumps(self.before.xcom.get(key)))

    def context(self) -> Any:
        return super().context() | ({"dag": self.dag} if self.dag else {})


def start_and_leave(thread: str, wait: XpanderTaskSensor, *, between: int = 0) -> SensorInstance:
    """Start a turn of a thread in a task that lies before the sensor, so many others in between."""
    ti = attempt(1)
    with DAG("nightly", schedule=None) as dag:
        last: Any = operator(input="second", thread_id=thread, wait_for_completion=False)
        assert go(last, ti) == thread
        for number in range(between):
            last >> (last := BaseOperator(task_id=f"between_{number}"))
        dag.add_task(wait)
        last >> wait
    return SensorInstance(task_id="wait", before=ti, dag=dag)


@pytest.mark.parametrize("between", [0, 2])
@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferred"])
def test_a_sensor_never_returns_the_answer_of_the_turn_before(
    deferrable: bool, between: int, service: Service
) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    service.configure({"stale_turn_seconds": 0.5, "run_seconds": 0.05})
    wait = sensor(thread, deferrable=deferrable)
    ti = start_and_leave(thread, wait, between=between)
    assert run_through(wait, ti.context()) == "second"
    assert ti.xcom["xpander_task"]["id"] == thread


@pytest.mark.parametrize("between", [0, 2])
@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferred"])
def test_a_sensor_never_returns_the_answer_of_the_turn_after(
    deferrable: bool, between: int, service: Service
) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    wait = sensor(thread, deferrable=deferrable)
    ti = start_and_leave(thread, wait, between=between)
    service.finish(thread)
    service.start(text="third", id=thread, title=f"t {Mark('f' * 20)}")
    with pytest.raises(XpanderError, match="was continued by somebody else"):
        run_through(wait, ti.context())


@pytest.mark.parametrize("as_text", [False, True])
def test_a_sensor_is_told_which_turn_of_a_thread_is_meant(as_text: bool, service: Service) -> None:
    """The turn was started in another DAG."""
    thread = service.start(text="first")
    service.finish(thread)
    service.configure({"stale_turn_seconds": 0.5, "run_seconds": 0.05})
    turn = start_and_leave(thread, sensor(thread)).before.xcom["xpander_thread_turn"]
    wait = sensor(thread, thread_turn=json.dumps(turn) if as_text else turn)
    assert run_through(wait, SensorInstance(task_id="wait").context()) == "second"


@pytest.mark.parametrize("turn", ["", "None", "{}", {"xpander_task_id": "another", "digests": ["d"]}])
@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferred"])
def test_a_turn_of_another_thread_is_refused(turn: Any, deferrable: bool, service: Service) -> None:
    wait = sensor(service.start(), thread_turn=turn, deferrable=deferrable)
    with pytest.raises(AirflowFailException, match="thread_turn"):
        run_through(wait, SensorInstance(task_id="wait").context())


def test_only_a_turn_of_a_thread_is_noted_for_a_sensor(service: Service) -> None:
    ti = attempt(1)
    go(operator(wait_for_completion=False), ti)
    assert "xpander_thread_turn" not in ti.xcom


class XCom:
    """The XCom of a DAG run, as Airflow gives it to another task: a mapped one's values in a sequence."""

    def __init__(self) -> None:
        self.values: dict[str, list[Any]] = {}

    def of(self, task_id: str) -> Any:
        pushed = self.values.setdefault(task_id, [])
        return SimpleNamespace(xcom_push=lambda key, value: pushed.append(value))

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        assert key == "xpander_thread_turn"
        found = self.values.get(task_ids, [])
        return found if len(found) > 1 else found[0] if found else None


def test_a_sensor_knows_which_turn_was_started_before_it() -> None:
    xcom = XCom()
    one, two, other = Turn("t1", ("d1",), 5.0), Turn("t1", ("d2",), 7.0), Turn("t2", ("d3",))
    note_turn(xcom.of("start"), one)
    for turn in (other, two):
        note_turn(xcom.of("mapped"), turn)
    assert noted_turn(xcom, [["start"]], "t1") == one
    assert noted_turn(xcom, [["mapped"]], "t1") == two
    assert noted_turn(xcom, [["start", "mapped"]], "t1") == two
    assert noted_turn(xcom, [["nothing"], ["start"], ["mapped"]], "t1") == one
    assert noted_turn(xcom, [["start"], ["mapped"]], "t2") == other
    assert noted_turn(xcom, [["start"]], "another") is None
    assert noted_turn(xcom, [], "t1") is None
    assert noted_turn(xcom, [["nothing"]], "t1") is None


def test_the_tasks_before_a_sensor_are_looked_at_level_by_level() -> None:
    with DAG("nightly", schedule=None) as dag:
        far = operator(task_id="far")
        mapped = XpanderInvokeAgentOperator.partial(task_id="mapped", agent_id="a").expand(input=["x"])
        wait = sensor("t1")
        far >> BaseOperator(task_id="empty") >> wait
        far >> mapped >> wait >> operator(task_id="after")
    assert list(tasks_before(wait, {"dag": dag}, XpanderInvokeOperator)) == [["mapped"], ["far"]]
    assert list(tasks_before(wait, {}, XpanderInvokeOperator)) == [[]]


def test_the_mark_of_this_release_is_not_that_of_the_one_before(service: Service) -> None:
    submit(attempt(1))
    assert mark_of(service).digest != old_mark().digest
