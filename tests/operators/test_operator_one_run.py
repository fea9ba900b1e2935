"""One run, one bill: no failure between the task and the service starts a second run or loses an answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow_side import FakeTaskInstance, Service
from attempts import (
    LONG,
    Attempt,
    Lines,
    attempt,
    go,
    lines,
    lists,
    mark_of,
    operator,
    slept,
    slow_operator,
    submit,
)

from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api import host_budget
from airflow_provider_xpander.api.errors import XpanderAmbiguousSubmitError, XpanderError, XpanderTaskTimeout
from airflow_provider_xpander.api.host_budget import HELD, HostBudget
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.starter import RunStarter
from airflow_provider_xpander.runs.lookup import LAG

__all__ = ["lines", "slept"]

pytestmark = pytest.mark.usefixtures("slept")

WAYS = pytest.mark.parametrize(
    "way",
    [
        pytest.param({"deferrable": False}, id="worker"),
        pytest.param({"deferrable": True}, id="deferred"),
        pytest.param({"deferrable": False, "mode": "sync"}, id="sync"),
    ],
)
INVOKE = {"method": "POST", "path": "/invoke"}


class Store(dict[str, Any]):
    """Airflow's task state store, as far as it is used."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class BrokenStore:
    """A store that is out of order."""

    def get(self, key: str) -> Any:
        raise ConnectionError("no store")

    def set(self, key: str, value: Any) -> None:
        raise ConnectionError("no store")


# Retries and clears.


@WAYS
def test_a_retry_takes_over_a_run_that_goes_on(way: dict[str, Any], service: Service) -> None:
    first = submit(attempt(1))
    ti = attempt(2)
    service.configure({"run_seconds": 0})
    service.finish(first)
    assert go(slow_operator(**way), ti) == "Done after 600 seconds."
    assert ti.xcom["xpander_task_id"] == first
    assert len(service.posts) == len(service.runs()) == 1


@WAYS
def test_a_retry_waits_for_a_run_that_goes_on(way: dict[str, Any], service: Service) -> None:
    first = submit(attempt(1), operator(agent_id="slow", input="take 0.6", deferrable=True))
    ti = attempt(2)
    assert go(operator(agent_id="slow", input="take 0.6", **way), ti) == "Done after 0.6 seconds."
    assert ti.xcom["xpander_task_id"] == first
    assert len(service.posts) == 1


@WAYS
def test_a_first_try_asks_for_nothing_before_it_starts(way: dict[str, Any], service: Service) -> None:
    go(operator(**way), attempt(1))
    assert service.requests()[0].method == "POST"
    assert lists(service) == 0


def test_a_retry_looks_before_it_starts(service: Service) -> None:
    go(operator(deferrable=False), attempt(2))
    assert [call.method for call in service.requests()].index("POST") == len(LAG)
    assert len(service.runs()) == 1


@WAYS
@pytest.mark.parametrize("cleared_at", [2, 3])
def test_a_clear_starts_anew(cleared_at: int, way: dict[str, Any], service: Service) -> None:
    for number in range(1, cleared_at):
        go(operator(input="old"), attempt(number))
    assert go(operator(input="new", **way), attempt(cleared_at, cleared_at=cleared_at)) == "new"
    assert len(service.runs()) == 2
    assert mark_of(service, 0).digest != mark_of(service, 1).digest


def test_a_retry_after_a_clear_takes_over_the_run_of_its_own_generation(service: Service) -> None:
    submit(attempt(1))
    second = submit(attempt(2, cleared_at=2))
    ti = attempt(3, cleared_at=2)
    assert submit(ti) == second
    assert len(service.runs()) == 2


def test_every_retry_takes_over_the_same_run(service: Service) -> None:
    assert len({submit(attempt(number)) for number in (1, 2, 3)}) == 1
    assert len(service.runs()) == 1


def test_mapped_tasks_do_not_take_each_others_runs(service: Service) -> None:
    started = [submit(attempt(1, map_index=index)) for index in range(3)]
    assert [submit(attempt(2, map_index=index)) for index in range(3)] == started
    assert len(service.runs()) == 3


@pytest.mark.parametrize(
    "other", [{"dag_id": "hourly"}, {"run_id": "manual__2026-11-02"}, {"task_id": "tell"}]
)
def test_nobody_elses_run_is_taken_over(other: dict[str, str], service: Service) -> None:
    submit(attempt(1, **other), slow_operator(deferrable=True, task_id=other.get("task_id", "ask")))
    submit(attempt(2))
    assert len(service.runs()) == 2


@pytest.mark.parametrize("status", ["failed", "error", "stopped"])
def test_a_run_that_ended_otherwise_is_started_anew_and_the_log_says_why(
    status: str, service: Service, lines: Lines
) -> None:
    first = submit(attempt(1))
    service.finish(first, status)
    service.override(first, {"used_mutating_tools": True})
    second = submit(attempt(2))
    assert second != first
    assert len(service.runs()) == 2
    assert f"xpander task {first}, {TaskStatus(status).in_words}" in lines.at("warning")
    assert "after it has used tools that change things. A new run" in lines.at("warning")
    # The retry after that finds the second, although the first is of the same task.
    assert submit(attempt(3)) == second
    assert len(service.runs()) == 2


def test_another_request_is_taken_over_with_a_warning(service: Service, lines: Lines) -> None:
    first = submit(attempt(1), slow_operator(input="take 600 at 10:00", deferrable=True))
    assert submit(attempt(2), slow_operator(input="take 600 at 10:05", deferrable=True)) == first
    assert "was started by an earlier attempt with another request" in lines.at("warning")


@pytest.mark.parametrize("action", ["stop", "leave"])
def test_the_same_request_leaves_no_run_of_another_one_behind(
    action: str, service: Service, lines: Lines
) -> None:
    ways = {"deferrable": True, "reattach": "same_request", "on_kill_action": action}
    first = submit(attempt(1), slow_operator(input="take 600 at 10:00", **ways))
    second = submit(attempt(2), slow_operator(input="take 600 at 10:05", **ways))
    assert second != first
    assert service.stops(first) == (action == "stop")
    assert submit(attempt(3), slow_operator(input="take 600 at 10:05", **ways)) == second
    if action == "leave":
        assert f"xpander task {first} goes on" in lines.at("warning")


def test_a_token_that_is_fetched_anew_is_no_other_request(service: Service) -> None:
    ways = {"deferrable": True, "reattach": "same_request"}
    first = submit(attempt(1), slow_operator(user_oidc_token="one", **ways))
    assert submit(attempt(2), slow_operator(user_oidc_token="two", **ways)) == first


def test_a_run_is_never_taken_over_if_the_author_says_so(service: Service) -> None:
    runs = [submit(attempt(n), slow_operator(deferrable=True, reattach=False)) for n in (1, 2)]
    assert len(set(runs)) == len(service.runs()) == 2
    assert lists(service) == 0


def test_of_two_runs_of_the_same_task_the_second_is_stopped(service: Service) -> None:
    """However there came to be two: one of them is nobody's."""
    first = submit(attempt(1))
    body = service.runs()[0].body
    service.start("slow", LONG, title=body["title"], source=body["source"])
    second = service.runs()[1].task_id
    kept = submit(attempt(2))
    assert {kept} | {task for task in (first, second) if service.stops(task)} == {first, second}


@WAYS
def test_the_authors_title_stays_readable(way: dict[str, Any], service: Service) -> None:
    go(operator(title="Nightly report", **way), attempt(1))
    assert service.runs()[0].body["title"].startswith("Nightly report [airflow ")
    go(operator(**way), attempt(1, map_index=4))
    assert service.runs()[1].body["title"].startswith("nightly.ask[4] manual__2026-11-01 [airflow ")


@pytest.mark.parametrize("slim", [False, True])
def test_a_service_that_rewrites_titles(slim: bool, service: Service) -> None:
    service.configure({"slim_bodies": slim})
    first = submit(attempt(1))
    service.override(first, {"title": "A friendly chat"})
    assert submit(attempt(2)) == first


def test_a_service_that_keeps_no_mark_at_all(service: Service) -> None:
    first = submit(attempt(1))
    service.override(first, {"title": "A friendly chat", "source": "api"})
    assert submit(attempt(2)) == first


def test_without_any_mark_a_cleared_task_never_gets_the_old_answer(service: Service) -> None:
    """A submit of its own that fails must not end with the run from before the clear."""
    first = submit(attempt(1))
    service.override(first, {"title": "A friendly chat", "source": "api"})
    service.add_fault(Fault.html(503, **INVOKE))
    with pytest.raises(XpanderAmbiguousSubmitError):
        submit(attempt(2, cleared_at=2))
    assert submit(attempt(3, cleared_at=2)) != first


# A submit whose answer is lost.


LOST = [
    pytest.param(Fault.html(504, act_first=True), id="504"),
    pytest.param(Fault.html(502, act_first=True), id="502"),
    pytest.param(Fault.server_error(act_first=True), id="500"),
    pytest.param(Fault.dropped(act_first=True), id="closed socket"),
    pytest.param(Fault.dropped("during"), id="broken answer"),
    pytest.param(Fault.empty(act_first=True), id="empty answer"),
    pytest.param(Fault.truncated(), id="truncated answer"),
]


@pytest.mark.parametrize("fault", LOST)
@WAYS
def test_the_run_of_a_lost_submit_is_found(fault: Fault, way: dict[str, Any], service: Service) -> None:
    service.add_fault(fault.model_copy(deep=True, update=INVOKE))
    ti = attempt(1)
    assert go(operator(**way), ti) == "hello"
    assert len(service.posts) == len(service.runs()) == 1
    assert ti.xcom["xpander_task_id"] == service.runs()[0].task_id


@WAYS
def test_the_run_of_a_submit_without_an_answer_is_found(way: dict[str, Any], service: Service) -> None:
    service.connect(extra={"timeout": 0.3})
    service.add_fault(Fault.slow(1.0, act_first=True, **INVOKE))
    assert go(operator(**way), attempt(1)) == "hello"
    assert len(service.posts) == len(service.runs()) == 1


def test_a_sync_run_that_the_gateway_gives_up_is_waited_for(service: Service) -> None:
    service.configure({"gateway_timeout_seconds": 0.1})
    task = operator(mode="sync", agent_id="slow", input="take 0.5", deferrable=False)
    assert go(task, attempt(1)) == "Done after 0.5 seconds."
    assert len(service.posts) == len(service.runs()) == 1


def test_a_lost_run_that_lists_show_late_is_found(service: Service, slept: list[float]) -> None:
    empty = {"items": [], "total": 0, "page": 1, "per_page": 50, "total_pages": 0}
    service.add_fault(Fault(method="GET", path="/v1/tasks$", status=200, body=empty, times=1))
    service.add_fault(Fault.html(504, act_first=True, **INVOKE))
    assert go(operator(deferrable=False), attempt(1)) == "hello"
    assert LAG[1] in slept
    assert len(service.posts) == 1


@pytest.mark.parametrize("fault", [Fault.html(504, **INVOKE), Fault.dropped(**INVOKE)])
def test_a_submit_that_started_nothing_is_not_repeated_but_a_retry_starts_one(
    fault: Fault, service: Service
) -> None:
    service.add_fault(fault)
    with pytest.raises(XpanderAmbiguousSubmitError, match="may have been started"):
        go(operator(), attempt(1))
    assert (len(service.posts), len(service.runs())) == (1, 0)
    assert go(operator(), attempt(2)) == "hello"
    assert (len(service.posts), len(service.runs())) == (2, 1)


def test_the_error_of_a_lost_submit_names_what_to_look_for(service: Service) -> None:
    service.add_fault(Fault.html(504, **INVOKE))
    with pytest.raises(XpanderAmbiguousSubmitError) as caught:
        go(operator(title="Nightly report"), attempt(1))
    sent = service.posts[0].body["title"]
    assert sent.startswith("Nightly report [airflow ")
    assert sent in str(caught.value)


def test_a_lost_run_that_is_found_only_by_the_retry(service: Service) -> None:
    service.configure({"list_lag_seconds": 1.0})
    service.add_fault(Fault.html(504, act_first=True, **INVOKE))
    with pytest.raises(XpanderAmbiguousSubmitError):
        go(operator(), attempt(1))
    service.configure({"list_lag_seconds": 0})
    assert go(operator(), attempt(2)) == "hello"
    assert len(service.posts) == len(service.runs()) == 1


def test_the_lost_run_of_a_retry_is_not_the_one_that_failed_before(service: Service) -> None:
    first = submit(attempt(1))
    service.finish(first, "failed")
    service.add_fault(Fault.html(504, act_first=True, **INVOKE))
    assert submit(attempt(2)) == service.runs()[1].task_id
    assert len(service.runs()) == 2


@pytest.mark.parametrize("phase", ["before the submit", "after the submit"])
def test_a_look_up_that_is_not_answered_starts_nothing(phase: str, service: Service) -> None:
    service.add_fault(Fault.html(503, method="GET", path="/v1/tasks$", times=None))
    if phase == "before the submit":
        number, posts, match = (
            2,
            0,
            "could not be looked for, so none is started.*Look for .airflow [0-9a-f]{20}",
        )
    else:
        number, posts, match = 1, 1, "may have been started.*look-up failed"
        service.add_fault(Fault.html(504, **INVOKE))
    with pytest.raises(XpanderError, match=match):
        go(operator(), attempt(number))
    assert len(service.posts) == posts


def test_a_key_that_was_revoked_uses_no_more_retries(service: Service) -> None:
    service.connect(password="not-the-key")
    with pytest.raises(AirflowFailException, match="API key"):
        go(operator(), attempt(2))
    assert not service.posts


@pytest.mark.parametrize("reattach", [True, False])
def test_a_submit_that_surely_started_nothing_is_repeated(reattach: bool, service: Service) -> None:
    service.add_fault(Fault.throttled(retry_after=1, times=2, **INVOKE))
    assert go(operator(reattach=reattach), attempt(1)) == "hello"
    assert len(service.runs()) == 1


@pytest.mark.parametrize("lost", [False, True], ids=["worker died", "submit's answer lost"])
def test_a_look_that_is_held_back_is_not_taken_for_no_run(
    lost: bool, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service.connect(extra={"requests_per_minute": 1000})
    find_lost = RunStarter._find_lost

    def refuse_all() -> None:
        HostBudget(service.server.url, service.server.api_key).note(HELD, time.time() + 600)

    def find_refused(self: RunStarter, *args: Any) -> Any:
        refuse_all()
        return find_lost(self, *args)

    if lost:
        monkeypatch.setattr(RunStarter, "_find_lost", find_refused)
        service.add_fault(Fault.html(504, times=1, act_first=True, **INVOKE))
        with pytest.raises(XpanderAmbiguousSubmitError, match="look-up failed: .* not sent"):
            go(operator(), attempt(1))
    else:
        submit(attempt(1), operator(deferrable=True))
        refuse_all()
        with pytest.raises(XpanderError, match="not sent, because .* so none is started"):
            go(operator(), attempt(2))
    monkeypatch.setattr(host_budget, "place_of_host", lambda: tmp_path)  # as when it is over
    governor_module._governors.clear()
    assert go(operator(), attempt(3)) == "hello"
    assert len(service.runs()) == 1


# Airflow 3.3's task state store.


def test_the_store_saves_the_look_up(service: Service) -> None:
    store = Store()
    first = submit(attempt(1, store=store))
    assert submit(attempt(2, store=store)) == first
    assert lists(service) == 0


@pytest.mark.parametrize(
    "note",
    [
        {},
        {"xpander_run": None},
        {"xpander_run": "garbage"},
        {"xpander_run": {"task_id": 5}},
        {"xpander_run": {"task_id": "gone", "digest": "{digest}"}},
        {"xpander_run": {"task_id": "", "digest": "{digest}"}},
        {"xpander_run": {"digest": "{digest}"}},
    ],
)
def test_a_note_that_is_lost_or_corrupt_costs_the_look_up_only(
    note: dict[str, Any], service: Service
) -> None:
    first = submit(attempt(1, store=Store()))
    entry = note.get("xpander_run")
    if isinstance(entry, dict):
        entry = {key: str(value).format(digest=mark_of(service).digest) for key, value in entry.items()}
    assert submit(attempt(2, store=Store({**note, "xpander_run": entry} if note else {}))) == first
    assert len(service.runs()) == 1


def test_a_store_out_of_order_costs_the_look_up_only(service: Service) -> None:
    first = submit(attempt(1, store=BrokenStore()))
    assert submit(attempt(2, store=BrokenStore())) == first


def test_a_note_of_an_older_generation_is_not_used(service: Service) -> None:
    """Airflow 3.3 keeps the store over a clear."""
    store = Store()
    first = submit(attempt(1, store=store))
    assert submit(attempt(2, cleared_at=2, store=store)) != first


def test_a_note_of_a_run_that_failed_does_not_hide_the_one_after_it(service: Service) -> None:
    store = Store()
    first = submit(attempt(1, store=store))
    service.finish(first, "failed")
    # The second try dies between its submit and its note.
    second = submit(attempt(2, store=Store(store)))
    assert second != first
    assert submit(attempt(3, store=store)) == second
    assert len(service.runs()) == 2


# Ids of our own choice.


CHOSEN = {"extra": {"client_task_ids": True}}


def test_no_id_is_chosen_unless_the_connection_says_so(service: Service) -> None:
    go(operator(), attempt(1))
    assert "id" not in service.posts[0].body


def test_a_chosen_id_finds_the_run_without_a_list(service: Service) -> None:
    service.connect(**CHOSEN)
    first = submit(attempt(1))
    assert service.posts[0].body["id"] == first
    assert submit(attempt(2)) == first
    assert lists(service) == 0
    assert len(service.posts) == 1


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_lost_submit_with_a_chosen_id(rewritten: bool, service: Service) -> None:
    service.connect(**CHOSEN)
    if rewritten:
        # Nothing of ours is left in the record but the id.
        identity = go(operator(), attempt(1)) and service.posts[0].body["id"]
        service.server.emulator.reset(service.settings)
        service.add_fault(Fault.html(504, act_first=True, **INVOKE))
        service.add_fault(
            Fault(
                method="GET", path="/v1/tasks/", status=200, times=None,
                body={"id": identity, "status": "completed", "result": "hello", "agent_id": "echo"},
            )
        )  # fmt: skip
    else:
        service.add_fault(Fault.html(504, act_first=True, **INVOKE))
    assert go(operator(), attempt(1)) == "hello"
    assert lists(service) == 0
    assert len(service.posts) == len(service.runs()) == 1


def test_each_try_that_starts_anew_has_an_id_of_its_own(service: Service) -> None:
    service.connect(**CHOSEN)
    first = submit(attempt(1))
    service.finish(first, "failed")
    second = submit(attempt(2))
    assert second != first
    assert submit(attempt(3)) == second
    assert len(service.runs()) == 2


@pytest.mark.parametrize("refusal", ["404", "422"])
def test_a_service_that_refuses_unknown_ids_chooses_its_own(refusal: str, service: Service) -> None:
    service.connect(**CHOSEN)
    service.configure({"unknown_ids": "not_found"})
    if refusal == "422":
        service.add_fault(Fault(status=422, body={"detail": "id: not known"}, **INVOKE))
    first = submit(attempt(1))
    assert [("id" in call.body) for call in service.posts] == [True, False]
    assert len(service.runs()) == 1
    assert submit(attempt(2)) == first
    assert len(service.runs()) == 1


def test_a_lost_submit_after_the_refusal_of_an_id(service: Service) -> None:
    service.connect(**CHOSEN)
    service.configure({"unknown_ids": "not_found"})
    service.add_fault(Fault.html(504, act_first=True, after=1, **INVOKE))
    assert go(operator(), attempt(1)) == "hello"
    assert len(service.runs()) == 1


# A thread that is continued.


@WAYS
def test_a_thread_is_continued(way: dict[str, Any], service: Service) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    ti = attempt(1)
    assert go(operator(input="second", thread_id=thread, **way), ti) == "second"
    assert ti.xcom["xpander_task_id"] == thread


@WAYS
def test_a_turn_is_not_sent_while_another_goes_on(way: dict[str, Any], service: Service) -> None:
    thread = service.start("slow", "take 0.5")
    assert go(operator(input="second", thread_id=thread, **way), attempt(1)) == "second"
    turns = service.task(thread).turns
    assert len(turns) == 2
    assert turns[1].started >= turns[0].plan[-1].at


@WAYS
def test_the_previous_turns_answer_is_never_taken(way: dict[str, Any], service: Service) -> None:
    """For a while reads show the previous turn, which is completed."""
    thread = service.start(text="first")
    service.finish(thread)
    service.configure({"stale_turn_seconds": 0.5, "run_seconds": 0.05})
    started = time.monotonic()
    assert go(operator(input="second", thread_id=thread, **way), attempt(1)) == "second"
    if way.get("mode") != "sync":
        assert time.monotonic() - started > 0.4


def test_the_previous_turns_answer_is_not_taken_by_the_resumed_worker_either(service: Service) -> None:
    """The read of the worker may be staler than that of the trigger."""
    thread = service.start(text="first")
    service.finish(thread)
    service.configure({"run_seconds": 0.1})
    task = operator(input="second", thread_id=thread, deferrable=True)
    context = attempt(1).context()
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    service.configure({"stale_turn_seconds": 0.7})
    event = {"xpander_task_id": thread, "agent_id": "echo", "end": "finished", "status": "completed"}
    kwargs = {**(deferred.value.kwargs or {}), "event": event}
    assert task.resume_execution(deferred.value.method_name, kwargs, context) == "second"


def test_the_previous_turns_answer_is_not_taken_when_the_turn_is_late(service: Service) -> None:
    """The answer to the stop may be stale too."""
    thread = service.start(text="first")
    service.finish(thread)
    service.configure({"stale_turn_seconds": 60})
    task = slow_operator(thread_id=thread, deferrable=False, timeout=0.2)
    with pytest.raises(XpanderTaskTimeout):
        go(task, attempt(1))
    assert service.stops(thread) == 1


def test_a_lost_turn_is_found(service: Service) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    service.configure({"stale_turn_seconds": 0.03})
    service.add_fault(Fault.html(504, act_first=True, **INVOKE))
    assert go(operator(input="second", thread_id=thread, deferrable=False), attempt(1)) == "second"
    assert len(service.task(thread).turns) == 2


def test_a_lost_turn_that_was_never_sent_is_not_the_previous_one(service: Service) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    service.add_fault(Fault.html(504, **INVOKE))
    with pytest.raises(XpanderAmbiguousSubmitError):
        go(operator(input="second", thread_id=thread), attempt(1))
    assert go(operator(input="second", thread_id=thread), attempt(2)) == "second"
    assert len(service.task(thread).turns) == 2


def test_a_retry_takes_over_the_turn_of_the_attempt_before(service: Service) -> None:
    thread = service.start(text="first")
    service.finish(thread)
    assert submit(attempt(1), slow_operator(thread_id=thread, deferrable=True)) == thread
    assert submit(attempt(2), slow_operator(thread_id=thread, deferrable=True)) == thread
    assert len(service.task(thread).turns) == 2


def test_a_thread_that_stays_busy_is_not_posted_to(service: Service) -> None:
    thread = service.start("slow", LONG)
    with pytest.raises(XpanderError, match="still busy"):
        go(operator(thread_id=thread, timeout=0.3), attempt(1))
    assert len(service.task(thread).turns) == 1
    assert service.stops(thread) == 0


def test_an_unknown_thread_is_begun(service: Service) -> None:
    ti: FakeTaskInstance = attempt(1)
    assert go(operator(thread_id="conversation-123"), ti) == "hello"
    assert ti.xcom["xpander_task_id"] == "conversation-123"


def test_an_adopted_run_has_its_handle_in_xcom_and_in_the_store(service: Service) -> None:
    first = submit(attempt(1))
    store = Store()
    ti: Attempt = attempt(2, store=store)
    submit(ti)
    assert ti.xcom["xpander_task_id"] == store["xpander_run"]["task_id"] == first
