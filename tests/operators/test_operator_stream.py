"""mode="stream": one run whose events are told in the log, whatever becomes of the stream."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, TaskDeferred
from airflow_side import LIMIT, Service, eventually, resume
from attempts import Lines, attempt, go, lines, operator, signalled, slept, submit
from streamed_story import STORY_LOG, without_ids

from airflow_provider_xpander.api import stream as api_stream
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderTaskFailed,
    XpanderTaskPaused,
    XpanderTaskStopped,
    XpanderTaskTimeout,
    XpanderValidationError,
)
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.runs.log import stream_log

__all__ = ["lines", "slept"]

pytestmark = pytest.mark.timeout(60)
ANSWER = "The loads failed because the table `loads` was dropped.\nRestore it, then run them again."


def streamed(**kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults = {"mode": "stream", "deferrable": False, "agent_id": "storyteller", "poll_interval": 0.5}
    return operator(**defaults | kwargs)


def story(*events: tuple[str, Any]) -> str:
    return json.dumps([{"type": type_, "data": data} for type_, data in events])


def gets(service: Service) -> int:
    return len([call for call in service.requests("GET") if call.path.startswith("/v1/tasks/")])


def test_the_run_is_told_and_its_answer_read_again(service: Service, lines: Lines) -> None:
    ti = attempt(1)
    assert go(streamed(), ti).endswith(ANSWER)
    assert [call.path for call in service.posts] == ["/v1/agents/storyteller/invoke/stream"]
    assert gets(service) == 1
    assert list(ti.xcom) == ["xpander_task_id", "xpander_link", "xpander_task"]
    assert ti.xcom["xpander_task_id"] == service.runs()[0].task_id
    told = [text for _, text in lines]
    assert (
        without_ids(told[told.index("Starting agent storyteller") :], ti.xcom["xpander_task_id"]) == STORY_LOG
    )
    assert "Somebody has to log in to Jira at https://login.example.com" in lines.at("warning")


def test_a_workflow_is_streamed_as_one(service: Service, lines: Lines) -> None:
    task = XpanderInvokeWorkflowOperator(
        task_id="ask", workflow_id="triage", input="charged twice", mode="stream"
    )
    assert "billing" in go(task, attempt(1))
    assert [call.path for call in service.posts] == ["/v1/workflows/triage/invoke/stream"]
    assert "has executed node start" in lines.text


def test_the_handle_is_pushed_as_soon_as_an_event_names_the_run(service: Service) -> None:
    service.configure({"stream_connected": True, "stream_silent_after": 2, "run_seconds": 30})
    ti = attempt(1)
    pushed = signalled(lambda: "xpander_task_id" in ti.xcom, lambda: service.stop(ti.xcom["xpander_task_id"]))
    with pushed, pytest.raises(XpanderTaskStopped):
        go(streamed(), ti)


@pytest.mark.parametrize("envelope", ["current", "event", "camel", "bare", "legacy"])
@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"stream_crlf": True, "stream_ids": True, "stream_comments": True, "stream_split": True},
        {"stream_connected": True, "stream_done": True, "stream_sub_agent": True},
        {"stream_finish": "trimmed"},
        {"stream_finish": "string"},
        {"stream_finish": "absent"},
        {"slim_bodies": True},
    ],
    ids=lambda wire: " ".join(wire) or "plain",
)
def test_every_envelope_leads_to_the_answer(envelope: str, wire: dict[str, Any], service: Service) -> None:
    service.configure({"stream_envelope": envelope, **wire})
    assert go(streamed(agent_id="echo", input="one two"), attempt(1)) == "one two"
    assert len(service.runs()) == len(service.posts) == 1


def test_the_end_of_a_sub_agent_is_not_that_of_the_run(service: Service, lines: Lines) -> None:
    service.configure({"stream_sub_agent": True, "run_seconds": 0.5})
    assert go(streamed(agent_id="echo", input="mine"), attempt(1)) == "mine"
    assert "from the sub-agent" in lines.text
    assert lines.text.index("from the sub-agent") < lines.text.index("| mine")
    assert gets(service) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_stream_that_drops_goes_on_by_looking(count: int, service: Service, lines: Lines) -> None:
    service.configure({"stream_drop_after": count, "run_seconds": 0.5})
    assert go(streamed(), attempt(1)).endswith(ANSWER)
    assert len(service.runs()) == len(service.posts) == 1
    assert "the run goes on. Going on by looking at it." in lines.at("warning")


def test_after_a_drop_a_deferrable_task_defers(service: Service) -> None:
    service.configure({"stream_drop_after": 3, "run_seconds": 1})
    task, ti = streamed(deferrable=True), attempt(1)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(ti.context())
    assert resume(task, deferred.value, ti.context()).endswith(ANSWER)
    assert len(service.runs()) == len(service.posts) == 1


def test_a_deferrable_task_that_is_told_the_end_does_not_defer(service: Service) -> None:
    ti = attempt(1)
    assert streamed(deferrable=True).execute(ti.context()).endswith(ANSWER)


def test_a_look_that_fails_at_the_end_is_repeated_rather_than_deferred(service: Service) -> None:
    service.add_fault(Fault.html(502, method="GET", path="/v1/tasks/"))
    assert streamed(deferrable=True).execute(attempt(1).context()).endswith(ANSWER)


def test_a_stream_that_begins_with_the_end_has_not_the_answer(service: Service) -> None:
    service.configure({"run_seconds": 0})
    end = {"id": "chosen", "status": "completed", "result": "trimm", "_result_truncated": True}
    body = json.dumps({"type": "task_finished", "task_id": "chosen", "data": end})
    headers = {"content-type": "text/event-stream"}
    service.add_fault(
        Fault(path="/stream$", act_first=True, status=200, body=f"data: {body}\n\n", headers=headers)
    )
    assert go(streamed(agent_id="echo", input="all of it", thread_id="chosen"), attempt(1)) == "all of it"


@pytest.mark.parametrize("comments", [False, True], ids=["silence", "heartbeats only"])
def test_a_silent_stream_does_not_keep_the_answer(comments: bool, service: Service, lines: Lines) -> None:
    service.configure({"stream_silent_after": 3, "stream_comments": comments, "run_seconds": 0.5})
    assert go(streamed(), attempt(1)).endswith(ANSWER)
    assert len(service.posts) == 1
    assert gets(service) >= 1


@pytest.mark.usefixtures("slept")
def test_silence_beyond_the_read_timeout_goes_on_by_looking(service: Service, lines: Lines) -> None:
    service.connect(extra={"timeout": 1})
    service.configure({"stream_silent_after": 3, "run_seconds": 2})
    assert go(streamed(poll_interval=60), attempt(1)).endswith(ANSWER)
    assert "Going on by looking at it." in lines.at("warning")
    assert len(service.posts) == 1


@pytest.mark.usefixtures("slept")
def test_a_run_whose_stream_never_named_it_is_looked_for(service: Service, lines: Lines) -> None:
    service.configure({"stream_drop_after": 0, "run_seconds": 0.5})
    ti = attempt(1)
    assert go(streamed(), ti).endswith(ANSWER)
    assert len(service.runs()) == len(service.posts) == 1
    assert ti.xcom["xpander_task_id"] == service.runs()[0].task_id


@pytest.mark.usefixtures("slept")
def test_a_handshake_is_no_handle(service: Service, lines: Lines) -> None:
    service.configure({"stream_connected": True, "stream_drop_after": 1, "run_seconds": 0.5})
    assert go(streamed(), attempt(1)).endswith(ANSWER)
    assert len(service.posts) == 1
    assert "The run was started: xpander task" in lines.text


@pytest.mark.usefixtures("slept")
def test_a_stream_without_any_id_is_an_ambiguous_submit(service: Service, lines: Lines) -> None:
    service.connect(extra={"timeout": 3})  # well over the second from comment to comment
    service.configure(
        {"stream_silent_after": 0, "stream_comments": True, "list_lag_seconds": 3600, "run_seconds": 30}
    )
    with pytest.raises(XpanderAmbiguousSubmitError, match="did not name its run in time"):
        go(streamed(), attempt(1))
    assert len(service.posts) == 1


@pytest.mark.parametrize(
    "fault", [Fault.html(502, path="/stream$"), Fault.dropped(path="/stream$", act_first=True)]
)
@pytest.mark.usefixtures("slept")
def test_a_submit_without_a_clear_answer_is_not_repeated(fault: Fault, service: Service) -> None:
    service.add_fault(fault.model_copy(update={"act_first": True}))
    assert go(streamed(), attempt(1)).endswith(ANSWER)
    assert len(service.runs()) == len(service.posts) == 1


def test_a_refused_submit_fails_at_once(service: Service) -> None:
    with pytest.raises(AirflowFailException, match="HTTP 404"):
        go(streamed(agent_id="nobody"), attempt(1))
    assert service.runs() == []


def test_a_retry_takes_the_run_over_and_looks_at_it(service: Service, lines: Lines) -> None:
    service.configure({"run_seconds": 1})
    task_id = submit(attempt(1), operator(agent_id="storyteller", deferrable=True))
    again = attempt(2)
    assert go(streamed(), again).endswith(ANSWER)
    assert again.xcom["xpander_task_id"] == task_id
    assert len(service.runs()) == 1
    assert f"xpander task {task_id} has no stream that can be read" in lines.text


@pytest.mark.parametrize(
    ("agent", "text", "error"),
    [("failing", "failed", XpanderTaskFailed), ("failing", "stopped", XpanderTaskStopped)],
)
def test_a_run_that_does_not_complete_fails(agent: str, text: str, error: Any, service: Service) -> None:
    for envelope in ("current", "legacy"):
        service.configure({"stream_envelope": envelope})
        with pytest.raises(error):
            go(streamed(agent_id=agent, input=text), attempt(1))


def test_a_pause_fails_where_that_is_asked_for(service: Service) -> None:
    with pytest.raises(XpanderTaskPaused, match="Salesforce"):
        go(streamed(agent_id="paused", input="login", on_paused="fail", poll_interval=60), attempt(1))


def test_a_pause_is_waited_for_and_told(service: Service, lines: Lines) -> None:
    task = streamed(agent_id="paused", input="schedule 0.3")
    assert go(task, attempt(1)).startswith("Resumed and completed")
    assert "is paused: nobody is asked" in lines.text


@pytest.mark.parametrize(
    "change",
    [{}, {"stream_silent_after": 3}, {"stream_silent_after": 3, "stream_comments": True}],
    ids=["events", "silence", "heartbeats only"],
)
def test_a_late_run_is_stopped_once(change: dict[str, Any], service: Service) -> None:
    service.configure({"run_seconds": 30, **change})
    started = time.monotonic()
    with pytest.raises(XpanderTaskTimeout):
        go(streamed(timeout=1, poll_interval=60), attempt(1))
    assert time.monotonic() - started < LIMIT
    assert service.stops(service.runs()[0].task_id) == 1


def test_a_late_run_is_stopped_by_airflows_own_limit_too(service: Service, slept: list[float]) -> None:
    service.configure({"run_seconds": 30, "stream_silent_after": 3})

    def expire() -> None:
        raise AirflowTaskTimeout("execution_timeout")

    ti = attempt(1)
    with signalled(lambda: "xpander_task_id" in ti.xcom, expire), pytest.raises(AirflowTaskTimeout):
        go(streamed(), ti)
    assert service.stops(service.runs()[0].task_id) == 1


def test_a_kill_stops_the_run_once_and_ends_the_reading(service: Service, lines: Lines) -> None:
    service.configure({"run_seconds": 30, "stream_silent_after": 1})
    task, ti = streamed(poll_interval=60), attempt(1)
    started = time.monotonic()
    with (
        signalled(lambda: "xpander_task_id" in ti.xcom, task.on_kill),
        pytest.raises(XpanderTaskStopped),
    ):
        go(task, ti)
    assert time.monotonic() - started < 5
    task_id = service.runs()[0].task_id
    assert service.stops(task_id) == 1
    assert f"Killed. Stopped xpander task {task_id}" in lines.at("info")


def test_a_killed_task_does_not_defer(service: Service) -> None:
    service.configure({"run_seconds": 30, "stream_silent_after": 1, "stop_delay_seconds": 0.5})
    task, ti = streamed(poll_interval=0.3, deferrable=True), attempt(1)
    with (
        signalled(lambda: "xpander_task_id" in ti.xcom, task.on_kill),
        pytest.raises(XpanderTaskStopped),
    ):
        task.execute(ti.context())


@pytest.mark.usefixtures("slept")
def test_a_kill_before_the_run_is_named_stops_it(service: Service, lines: Lines) -> None:
    service.configure({"run_seconds": 30, "stream_silent_after": 0, "stream_comments": True})
    task = streamed()
    killed = signalled(lambda: bool(service.runs()), task.on_kill)
    with killed, pytest.raises(XpanderTaskStopped):
        go(task, attempt(1))
    eventually(lambda: service.stops(service.runs()[0].task_id) == 1, "the stop")


def test_secrets_of_the_request_are_masked_and_what_breaks_the_log_is_not(
    service: Service, lines: Lines
) -> None:
    secret = "crm-login-0123456789"
    text = story(
        ("think", f"I use {secret} now"),
        ("chunk", f"The login is {secret[:8]}"),
        ("chunk", f"{secret[8:]} ::endgroup:: \x1b[31mred\n"),
    )
    task = streamed(
        input=text,
        user_tokens={"crm": secret},
        mcp_servers=[{"name": "crm", "headers": {"x-login": "Bearer header-secret-42"}}],
    )
    go(task, attempt(1))
    assert secret not in lines.text
    assert "| The login is *** : :endgroup:: red" in lines.text


def test_a_narration_that_fails_costs_nothing(
    service: Service, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise KeyError("of a shape that nobody has seen")

    monkeypatch.setitem(stream_log._TELLERS, "tool_call_request", broken)
    assert go(streamed(), attempt(1)).endswith(ANSWER)
    assert len(service.posts) == 1


@pytest.mark.parametrize("mode", ["sync", "stream"])
def test_only_async_can_return_at_once(mode: str) -> None:
    with pytest.raises(XpanderValidationError, match=f'needs mode="async": mode="{mode}"'):
        operator(mode=mode, wait_for_completion=False)


def test_a_deferred_wait_is_repeated_in_short(service: Service, lines: Lines) -> None:
    service.configure({"run_seconds": 0.5})
    go(operator(deferrable=True), attempt(1))
    recap = next(text for _, text in lines if text.startswith("While deferred: xpander task "))
    assert ", executing " in recap
    assert ", completed " in recap


@pytest.mark.usefixtures("slept")
def test_whoever_reads_never_starts_a_run(service: Service, lines: Lines) -> None:
    """A refusal with Retry-After is waited for before there is a thread that could outlive the attempt."""
    posters: set[str] = set()
    task = streamed()
    service.add_fault(Fault.throttled(retry_after=5, path="/stream$"))

    class Poster(threading.Thread):
        def start(self) -> None:
            posters.add(f"{self.name} after {len(service.posts)} posts")
            super().start()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api_stream.threading, "Thread", Poster)
        assert go(task, attempt(1)).endswith(ANSWER)
    assert "xpander stream after 2 posts" in posters
    assert len(service.runs()) == 1
