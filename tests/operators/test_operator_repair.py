"""An invalid answer is repaired in one more turn of its thread, and that turn is one run like any other."""

from __future__ import annotations

import re
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow_side import Service, eventually, resume
from attempts import Attempt, Lines, attempt, go, lines, operator, signalled, slept, submit

from airflow_provider_xpander._compat import DEFERRAL_ERRORS
from airflow_provider_xpander.api import client as client_module
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderError,
    XpanderTaskStopped,
    XpanderTaskTimeout,
)
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.operators.attempt import Attempt as RunAttempt
from airflow_provider_xpander.operators.repair import RepairTurn
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.runs.identity import read_mark
from airflow_provider_xpander.runs.lookup import LAG

__all__ = ["lines", "slept"]

pytestmark = pytest.mark.usefixtures("slept")

SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": ["billing", "bug", "other"]},
        "summary": {"type": "string"},
    },
    "required": ["category", "summary"],
}
WAYS = pytest.mark.parametrize(
    "way",
    [
        pytest.param({"deferrable": False}, id="worker"),
        pytest.param({"deferrable": True}, id="deferred"),
        pytest.param({"mode": "sync"}, id="sync"),
        pytest.param({"mode": "stream"}, id="stream"),
    ],
)
RIGHT = {"category": "billing", "summary": "I was charged twice."}


def sloppy(text: str = "I was charged twice.", **kwargs: Any) -> XpanderInvokeAgentOperator:
    given = {"agent_id": "sloppy", "input": text, "output_schema": SCHEMA, "on_invalid": "repair"}
    return operator(**given | kwargs)


@WAYS
@pytest.mark.parametrize("how", ["", " prose", " truncated"])
def test_an_invalid_answer_is_repaired_in_its_thread(
    how: str, way: dict[str, Any], service: Service, lines: Lines
) -> None:
    ti = attempt(1)
    assert go(sloppy(f"I was charged twice.{how}", **way), ti)["category"] == "billing"
    first, second = service.runs()
    assert second.task_id == first.task_id == ti.xcom["xpander_task_id"]
    assert second.body["output_schema"] == SCHEMA
    assert second.body["output_format"] == "json"
    said = second.body["input"]["text"]
    assert said.startswith("Your last answer could not be used")
    assert (
        "- $: expected JSON" if how else "- $.category: expected string, got an object with the key 'value'"
    ) in said
    # The answer that was paid for first is kept.
    assert ti.xcom["xpander_raw_result"] == first.end["result"]
    assert "repair turn 1" in lines.at("info")
    assert "xpander task" in lines.at("warning")


def test_the_turn_carries_the_mark_of_the_run_and_a_number(service: Service) -> None:
    go(sloppy("wrong 2", repair_attempts=2, title="Triage"), attempt(1))
    marks = [read_mark(run.body["title"]) for run in service.runs()]
    assert [read_mark(run.body["source"]) for run in service.runs()] == marks
    assert len({(mark.digest, mark.fingerprint) for mark in marks if mark}) == 1
    assert [mark and mark.turn for mark in marks] == [0, 1, 2]
    assert all(run.body["title"].startswith("Triage [airflow ") for run in service.runs())


def test_the_turn_asks_on_behalf_of_the_same_user_with_the_same_credentials(service: Service) -> None:
    service.connect(extra={"user_email": "a@example.com"})
    go(sloppy(user_tokens={"crm": "{{ 's3' + 'cret' }}"}, llm_model_name="m-1", version="7"), attempt(1))
    first, second = service.runs()
    for name in ("user_tokens", "llm_model_name", "instructions_override"):
        assert second.body[name] == first.body[name]
    assert second.body["input"]["user"] == first.body["input"]["user"]
    assert second.body["user_tokens"] == {"crm": "s3cret"}
    assert second.version == "7"
    assert not second.body["input"]["files"]


@WAYS
def test_the_repair_is_counted_in_what_was_used(way: dict[str, Any], service: Service) -> None:
    ti = attempt(1)
    go(sloppy("wrong 2", repair_attempts=2, **way), ti)
    summary = ti.xcom["xpander_task"]
    used = [run.end["tokens"]["total_tokens"] for run in service.runs()]
    assert [turn["tokens"]["total_tokens"] for turn in summary["turns"]] == used
    assert summary["tokens"]["total_tokens"] == sum(used)
    assert summary["status"] == "completed"


@WAYS
def test_the_log_tells_what_each_turn_used_and_which_one_fits(
    way: dict[str, Any], service: Service, lines: Lines
) -> None:
    go(sloppy("wrong 2", repair_attempts=2, **way), attempt(1))
    run = rf"xpander task {service.runs()[0].task_id} completed after [\d.]+ s with"
    told = "\n".join(
        line for line in lines.at("info").splitlines() if " tokens" in line or "repair turn" in line.lower()
    )
    tokens = [run.end["tokens"]["total_tokens"] for run in service.runs()]
    assert re.search(
        rf"^{run} {tokens[0]} tokens.*Repair turn 1: {run} {tokens[1]} tokens.*"
        rf"Repair turn 2: {run} {tokens[2]} tokens[^\n]*\nThe answer of repair turn 2 fits$",
        told,
        re.DOTALL,
    ), told
    assert "repair turn 1 fits" not in told


def test_xcom_is_not_asked_for_turns_that_this_process_knows(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ``dag.test()``, Airflow 3 logs an ERROR for each XCom that is not there."""
    ti = attempt(1)
    monkeypatch.setattr(ti, "xcom_pull", lambda **asked: pytest.fail(f"asked for {asked}"))
    assert go(sloppy(), ti) == RIGHT
    assert len(ti.xcom["xpander_task"]["turns"]) == 2


@WAYS
@pytest.mark.parametrize("attempts", [1, 2])
def test_repair_attempts_are_the_limit(attempts: int, way: dict[str, Any], service: Service) -> None:
    ti = attempt(1)
    with pytest.raises(
        AirflowFailException, match=rf"match output_schema.* Repair turns: {attempts} of {attempts}"
    ):
        go(sloppy("wrong 9", repair_attempts=attempts, **way), ti)
    assert len(service.runs()) == 1 + attempts
    assert ti.xcom["xpander_raw_result"] == service.runs()[-1].end["result"]
    assert len(ti.xcom["xpander_task"]["turns"]) == 1 + attempts


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
def test_a_read_that_still_shows_the_turn_before_is_not_taken_for_the_repair(
    deferrable: bool, service: Service
) -> None:
    service.configure({"stale_turn_seconds": 0.5})
    assert go(sloppy(deferrable=deferrable), attempt(1)) == RIGHT
    assert len(service.runs()) == 2


def test_json_without_a_schema_is_repaired_too(service: Service) -> None:
    answer = go(sloppy("charged twice, prose", output_schema=None, output_format="json"), attempt(1))
    assert answer["category"] == "billing"


def test_the_thread_of_an_author_is_continued(service: Service) -> None:
    thread = service.start("sloppy", "wrong 2: I was charged twice.")
    eventually(lambda: service.status(thread) == "completed", "the end of the first turn")
    assert go(sloppy(thread_id=thread), attempt(1))["category"] == "billing"
    assert [run.task_id for run in service.runs()] == [thread] * 3


# What a retry finds


def die_before_repair(ti: Attempt, **kwargs: Any) -> None:
    """Let a try see the invalid answer and die right before it asks for another."""
    ti.fails_at = "xpander_turns"
    with pytest.raises(RuntimeError):
        go(sloppy(**kwargs), ti)


def die_in_repair(ti: Attempt, **kwargs: Any) -> None:
    """Let a try start the repair turn and die right after."""
    task = sloppy(deferrable=True, **kwargs)
    context = ti.context()
    task.render_template_fields(context)
    with pytest.raises(TaskDeferred) as first:
        task.execute(context)
    task_resume = first.value
    with pytest.raises(_Died):
        _resume_once(task, task_resume, context)


class _Died(Exception):
    pass


def _resume_once(task: Any, deferred: TaskDeferred, context: Any) -> Any:
    def defer(*_: Any, **__: Any) -> None:
        raise _Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunAttempt, "defer", defer)
        return resume(task, deferred, context)


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
def test_a_retry_repairs_what_the_attempt_before_did_not(deferrable: bool, service: Service) -> None:
    die_before_repair(attempt(1))
    assert len(service.runs()) == 1
    assert go(sloppy(deferrable=deferrable), attempt(2)) == RIGHT
    assert len(service.runs()) == 2


@pytest.mark.parametrize("reattach", [True, "same_request"])
@pytest.mark.parametrize("done", [False, True], ids=["going on", "done"])
def test_a_retry_takes_over_the_repair_turn(done: bool, reattach: Any, service: Service) -> None:
    die_in_repair(attempt(1), reattach=reattach)
    assert len(service.runs()) == 2
    if done:
        eventually(lambda: service.status(service.runs()[0].task_id) == "completed", "the end of the turn")
    ti = attempt(2)
    assert go(sloppy(reattach=reattach), ti) == RIGHT
    assert len(service.runs()) == 2
    assert ti.xcom["xpander_task_id"] == service.runs()[0].task_id


def test_a_retry_does_not_count_the_repair_turns_anew(service: Service) -> None:
    die_in_repair(attempt(1), text="wrong 9")
    with pytest.raises(AirflowFailException, match="Repair turns: 1 of 1"):
        go(sloppy("wrong 9"), attempt(2))
    assert len(service.runs()) == 2


def test_a_retry_that_does_not_see_the_repair_turn_yet_waits_before_it_starts_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_in_repair(attempt(1))
    service.configure({"stale_turn_seconds": 60})

    def sleep(asked: float) -> None:
        if asked == LAG[1]:
            service.configure({"stale_turn_seconds": 0})
        time.sleep(min(asked, 0.02))

    monkeypatch.setattr(client_module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    assert go(sloppy(), attempt(2)) == RIGHT
    assert len(service.runs()) == 2


def test_a_clear_starts_anew_and_repairs_anew(service: Service) -> None:
    go(sloppy(), attempt(1))
    assert go(sloppy(), attempt(2, cleared_at=2)) == RIGHT
    assert len({run.task_id for run in service.runs()}) == 2
    assert len(service.runs()) == 4


# What goes wrong at the submit


@pytest.mark.parametrize(
    "fault",
    [
        Fault.html(504, act_first=True),
        Fault.dropped("during"),
        Fault.truncated(),
        Fault.empty(act_first=True),
    ],
    ids=["504", "broken", "cut off", "empty"],
)
def test_a_repair_turn_whose_answer_was_lost_is_found(fault: Fault, service: Service) -> None:
    fault = fault.model_copy(update={"path": "/invoke/async$", "after": 1})
    service.add_fault(fault)
    assert go(sloppy(), attempt(1)) == RIGHT
    assert fault.hits == 1
    assert len(service.runs()) == 2


def test_a_repair_turn_that_may_not_have_been_started_is_left_to_the_retry(service: Service) -> None:
    service.add_fault(Fault.html(502, path="/invoke/async$", after=1))
    ti = attempt(1)
    with pytest.raises(XpanderAmbiguousSubmitError):
        go(sloppy(), ti)
    assert ti.xcom["xpander_raw_result"]
    assert len(service.runs()) == 1
    assert go(sloppy(), attempt(2)) == RIGHT
    assert len(service.runs()) == 2


def test_a_refused_repair_turn_fails_and_keeps_the_answer(service: Service) -> None:
    service.add_fault(Fault.billing(path="/invoke/async$", after=1))
    ti = attempt(1)
    with pytest.raises(AirflowFailException, match="usage limit"):
        go(sloppy(), ti)
    assert ti.xcom["xpander_raw_result"]
    assert service.stops(ti.xcom["xpander_task_id"]) == 0


def test_a_thread_that_somebody_else_has_continued_is_left_alone(
    service: Service, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti = attempt(1)
    push = ti.xcom_push

    def meddle(key: str, value: Any) -> None:
        push(key, value)
        if key == "xpander_turns":
            service.start("slow", "take 60", id=ti.xcom["xpander_task_id"], title="by hand")

    monkeypatch.setattr(ti, "xcom_push", meddle)
    with pytest.raises(AirflowFailException, match="somebody else has continued its thread"):
        go(sloppy(), ti)
    assert [run.body["title"] for run in service.runs()][-1] == "by hand"


# How it ends early


def test_a_repair_turn_is_late_by_the_deadline_of_the_run(service: Service) -> None:
    ti = attempt(1)
    task = sloppy("slow repair", timeout=1.0)
    _slow_repair(service)
    with pytest.raises(XpanderTaskTimeout):
        go(task, ti)
    assert service.stops(ti.xcom["xpander_task_id"]) == 1
    summary = ti.xcom["xpander_task"]
    assert len(summary["turns"]) == 2
    assert summary["tokens"]["total_tokens"] >= summary["turns"][0]["tokens"]["total_tokens"] > 0


def _slow_repair(service: Service) -> None:
    """Let what is started from the second run on take its time."""

    def slow_down() -> None:
        eventually(lambda: len(service.runs()) >= 1, "the first turn")
        service.configure({"run_seconds": 60})

    threading.Thread(target=slow_down, daemon=True).start()


@pytest.mark.parametrize("action", ["stop", "leave"])
def test_a_kill_stops_the_repair_turn(action: str, service: Service, lines: Lines) -> None:
    ti, task = attempt(1), sloppy(on_kill_action=action)
    _slow_repair(service)

    class Killed(BaseException):
        pass

    def kill() -> None:
        task.on_kill()
        raise Killed

    with (
        pytest.raises(Killed),
        signalled(lambda: "Repair turn 1 was" in lines.text or len(service.runs()) == 2, kill),
    ):
        go(task, ti)
    assert service.stops(ti.xcom["xpander_task_id"]) == (1 if action == "stop" else 0)


@pytest.mark.parametrize("moment", ["before", "in"])
def test_a_kill_that_the_code_outlives_leaves_no_repair_turn(
    moment: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3 lets the code go on after on_kill, for up to five seconds."""
    ti, task = attempt(1), sloppy("slow repair")
    obtain, invoke = RepairTurn.obtain, XpanderHook.call

    def killed_before(turn: RepairTurn, invalid: Any, error: Any) -> Any:
        task.on_kill()
        return obtain(turn, invalid, error)

    def killed_in(hook: XpanderHook, call: Any, **kwargs: Any) -> Any:
        if call.submission is not None and "id" in call.json:
            task.on_kill()
        return invoke(hook, call, **kwargs)

    if moment == "before":
        monkeypatch.setattr(RepairTurn, "obtain", killed_before)
    else:
        monkeypatch.setattr(XpanderHook, "call", killed_in)
    _slow_repair(service)
    with pytest.raises((AirflowFailException, XpanderTaskStopped)):
        go(task, ti)
    assert len(service.runs()) == (1 if moment == "before" else 2)
    assert service.status(ti.xcom["xpander_task_id"]) != "executing"


def test_a_repair_turn_that_fails_is_a_run_that_failed(service: Service, lines: Lines) -> None:
    ti = attempt(1)
    task = sloppy(deferrable=True)
    context = ti.context()
    task.render_template_fields(context)
    with pytest.raises(TaskDeferred) as first:
        task.execute(context)
    _slow_repair(service)
    with pytest.raises(_Died):
        _resume_once(task, first.value, context)
    service.finish(ti.xcom["xpander_task_id"], "failed")
    retry = attempt(2)
    service.configure({"run_seconds": 0.1})
    assert go(sloppy(), retry) == RIGHT
    assert retry.xcom["xpander_task_id"] != ti.xcom["xpander_task_id"]
    assert ", failed. A new run is started." in lines.at("warning")


def test_where_airflow_has_ended_the_wait_the_retry_repairs(service: Service) -> None:
    """The task is resumed only to fail: there is nobody to wait for another turn."""
    broken_off = {
        "error": "Trigger failure",
        "traceback": ["..."],
    }
    ti = attempt(1)
    submit(ti, sloppy(deferrable=True))
    run = service.runs()[0].task_id
    eventually(lambda: service.status(run) == "completed", "the end of the run")
    # With retries, the run is kept for the next attempt; without, its end is looked at.
    with pytest.raises(DEFERRAL_ERRORS):
        sloppy().resume_execution("__fail__", broken_off, ti.context())
    assert go(sloppy(), attempt(2)) == RIGHT
    assert len(service.runs()) == 2


def test_no_repair_is_started_after_the_deadline(service: Service, lines: Lines) -> None:
    def late(ti: Attempt) -> Any:
        task = sloppy(deferrable=True)
        event = {"xpander_task_id": run, "agent_id": "sloppy", "end": "timeout", "status": "executing"}
        return task.resume_execution("execute_complete", {"event": event}, ti.context())

    ti = attempt(1)
    submit(ti, sloppy(deferrable=True))
    run = service.runs()[0].task_id
    eventually(lambda: service.status(run) == "completed", "the end of the run")
    with pytest.raises(XpanderError, match="The next attempt takes the run over and has it repaired"):
        late(ti)
    last = attempt(3)
    last.xcom["xpander_task_id"] = run
    with pytest.raises(AirflowFailException, match="Repair turns: 0 of 1"):
        late(last)
    assert len(service.runs()) == 1
    assert last.xcom["xpander_raw_result"]
