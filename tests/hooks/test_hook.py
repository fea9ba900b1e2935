"""The methods of the hook, over HTTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow_side import POLL, Service, eventually
from scripted_server import ScriptedServer, http

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderAuthError,
    XpanderBillingError,
    XpanderConnectionError,
    XpanderNotFoundError,
    XpanderRateLimitError,
    XpanderServiceError,
    XpanderTaskTimeout,
    XpanderValidationError,
)
from airflow_provider_xpander.api.models import InvokeRequest, StreamEvent, Target
from airflow_provider_xpander.emulator import RESTRICTED_API_KEY, Fault
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.runs import watch
from airflow_provider_xpander.runs.lookup import get_known

ECHO = Target.agent("echo")


@pytest.fixture
def hook(service: Service) -> Any:
    with XpanderHook() as hook:
        yield hook


def start_still_ones(service: Service, count: int) -> list[str]:
    """Start runs whose status does not change meanwhile: lists are ordered by the latest change."""
    service.configure({"pending_share": 0, "run_seconds": 60})
    return [service.start() for _ in range(count)]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param("hello", id="text"),
        pytest.param({"input": "hello"}, id="mapping"),
        pytest.param({"input": {"text": "hello"}}, id="mapping in full"),
        pytest.param(InvokeRequest(input="hello"), id="model"),
    ],
)
def test_a_request_can_be_given_in_three_ways(request_: Any, hook: XpanderHook, service: Service) -> None:
    task = hook.invoke_async(ECHO, request_)
    assert (task.agent_id, task.status.is_terminal) == ("echo", False)
    assert service.posts[0].body == {"input": {"text": "hello"}}


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (Target.agent("echo"), "/v1/agents/echo/invoke"),
        (Target.workflow("triage"), "/v1/workflows/triage/invoke"),
    ],
    ids=["agent", "workflow"],
)
@pytest.mark.parametrize("way", ["", "/async", "/stream"])
def test_each_invoke_goes_to_its_route(
    way: str, target: Target, path: str, hook: XpanderHook, service: Service
) -> None:
    if way == "/stream":
        list(hook.invoke_stream(target, "hello"))
    else:
        (hook.invoke_async if way else hook.invoke_sync)(target, "hello")
    assert service.posts[0].path == path + way


def test_a_sync_invoke_returns_the_ended_run(hook: XpanderHook) -> None:
    task = hook.invoke_sync(ECHO, "hello")
    assert (task.status, task.result) == ("completed", "hello")


def test_a_sync_invoke_has_a_limit_of_its_own(hook: XpanderHook, service: Service) -> None:
    with pytest.raises(XpanderAmbiguousSubmitError, match="no answer within 0.2 s") as caught:
        hook.invoke_sync(Target.agent("slow"), {"input": "take 5", "title": "mine"}, timeout=0.2)
    assert (caught.value.target_id, caught.value.title) == ("slow", "mine")
    assert len(service.posts) == 1


def test_a_stream_yields_the_events_up_to_the_end(hook: XpanderHook, service: Service) -> None:
    events = list(hook.invoke_stream(ECHO, "hello"))
    assert {type(event) for event in events} == {StreamEvent}
    assert events[-1].type == "task_finished"
    task = events[-1].task()
    assert task is not None
    assert (task.id, task.result) == (service.runs()[0].task_id, "hello")


def test_a_broken_stream_says_that_the_run_goes_on(hook: XpanderHook, service: Service) -> None:
    service.configure({"stream_drop_after": 2})
    with pytest.raises(XpanderConnectionError, match="the run goes on"):
        list(hook.invoke_stream(ECHO, "hello"))
    assert len(service.posts) == 1


def test_get_task_and_thread(hook: XpanderHook, service: Service) -> None:
    service.finish(task_id := service.start("echo", "why?", title="A question"))
    task = hook.get_task(task_id)
    assert (task.id, task.status, task.result, task.title) == (task_id, "completed", "why?", "A question")
    assert [(message.role, message.content) for message in hook.get_thread(task_id)] == [
        ("user", "why?"),
        ("assistant", "why?"),
    ]


def test_stop_task_returns_the_run_as_it_is_then(hook: XpanderHook, service: Service) -> None:
    running, over = service.start("slow", "take 30"), service.start()
    service.finish(over)
    stopped = hook.stop_task(running)
    assert (stopped.status, stopped.is_manually_stopped) == ("stopped", True)
    assert hook.stop_task(over).status == "completed"


def test_a_list_is_followed_over_its_pages(hook: XpanderHook, service: Service) -> None:
    started = start_still_ones(service, 105)
    listed = [task.id for task in hook.list_tasks()]
    assert len(listed) == 105
    assert set(listed) == set(started)
    assert [call.query["page"] for call in service.requests()] == ["1", "2", "3"]


def test_a_task_that_moves_to_the_next_page_meanwhile_is_listed_once(
    hook: XpanderHook, service: Service
) -> None:
    started = start_still_ones(service, 60)
    tasks = hook.list_tasks()
    listed = [next(tasks).id]
    service.start()  # the newest comes first, so that all others move on by one
    listed += [task.id for task in tasks]
    assert sorted(listed) == sorted(started)


FIRST, SECOND, NONE = ([{"id": "t-1"}, {"id": "t-2"}], [{"id": "t-2"}, {"id": "t-3"}], list[Any]())


@pytest.mark.parametrize(
    ("pages", "ids", "requests"),
    [
        ([FIRST, FIRST], ["t-1", "t-2"], 2),
        ([FIRST, SECOND, SECOND], ["t-1", "t-2", "t-3"], 3),
        ([FIRST, SECOND, NONE], ["t-1", "t-2", "t-3"], 3),
        ([FIRST, FIRST, SECOND], ["t-1", "t-2"], 2),
        ([NONE], [], 1),
    ],
    ids=[
        "the page is ignored",
        "the last page comes again",
        "an empty page",
        "nothing new",
        "nothing at all",
    ],
)
@pytest.mark.parametrize(
    "total_pages", [10**9, 10**400, None, 0, -1, "many"], ids=lambda told: str(told)[:12]
)
@pytest.mark.parametrize("listed", ["list_tasks", "list_agents", "list_workflows"])
def test_a_list_ends_whatever_the_service_says_of_its_pages(
    pages: list[Any], ids: list[str], requests: int, total_pages: Any, listed: str, service: Service
) -> None:
    answers = [http(200, {"items": items, "total_pages": total_pages}) for items in pages]
    with ScriptedServer(*answers) as server:
        service.connect(host=server.url)
        with XpanderHook() as hook:
            assert [item.id for item in getattr(hook, listed)()] == ids
        assert len(server.requests) == requests


def test_a_page_is_asked_for_only_when_it_is_needed(hook: XpanderHook, service: Service) -> None:
    start_still_ones(service, 60)
    next(hook.list_tasks())
    assert len(service.requests()) == 1


def test_the_filters_of_a_list_are_sent(hook: XpanderHook, service: Service) -> None:
    day = datetime(2026, 11, 1, 12, tzinfo=UTC)
    list(
        hook.list_tasks(
            agent_id="echo",
            status="completed",
            from_date=day,
            to_date=datetime(2026, 11, 2),
            user_id="u",
            parent_task_id="p",
            triggering_agent_id="t",
            internal_status="i",
        )
    )
    sent = dict(service.requests()[0].query)
    assert sent.pop("page") == "1"
    assert 1 <= int(sent.pop("per_page")) <= 50
    assert sent == {
        "agent_id": "echo",
        "status": "completed",
        "from_date": "2026-11-01T12:00:00.000000Z",
        "to_date": "2026-11-02T00:00:00.000000Z",
        "user_id": "u",
        "parent_task_id": "p",
        "triggering_agent_id": "t",
        "internal_status": "i",
    }


def test_a_list_can_be_limited_to_what_is_wanted(hook: XpanderHook, service: Service) -> None:
    service.finish(wanted := service.start())
    service.start("slow", "take 30")
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    found = hook.list_tasks(agent_id="echo", status="completed", from_date=an_hour_ago)
    assert [task.id for task in found] == [wanted]


def test_a_status_that_is_none_is_refused_before_any_request(hook: XpanderHook, service: Service) -> None:
    with pytest.raises(ValueError, match="done"):
        hook.list_tasks(status="done")
    assert service.requests() == []


def test_agents_and_workflows_are_listed(hook: XpanderHook) -> None:
    assert {"echo", "classifier"} <= {agent.id for agent in hook.list_agents()}
    assert {"triage", "broken"} <= {workflow.id for workflow in hook.list_workflows()}


def test_waiting_returns_the_run_however_it_ended(hook: XpanderHook, service: Service) -> None:
    service.add_fault(Fault.html(502, times=2))
    assert hook.wait_for_task(service.start("failing"), poll_interval=POLL).status == "failed"


def test_waiting_has_a_limit_and_leaves_the_run_alone(hook: XpanderHook, service: Service) -> None:
    task_id = service.start("slow", "take 30")
    with pytest.raises(XpanderTaskTimeout, match="did not end within") as caught:
        hook.wait_for_task(task_id, timeout=0.3, poll_interval=POLL)
    assert (caught.value.task_id, caught.value.status) == (task_id, "executing")
    assert service.requests("POST") == []
    assert service.status(task_id) == "executing"


def test_waiting_for_what_cannot_be_read_raises_why(hook: XpanderHook, service: Service) -> None:
    service.connect(password=RESTRICTED_API_KEY)
    with pytest.raises(XpanderAuthError):
        hook.wait_for_task(service.start(), timeout=10, poll_interval=POLL)


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        (Fault(status=401), XpanderAuthError, 401),
        (Fault(status=403), XpanderAuthError, 403),
        (Fault(status=404), XpanderNotFoundError, 404),
        (Fault(status=400), XpanderValidationError, 400),
        (Fault(status=422), XpanderValidationError, 422),
        (Fault.throttled(retry_after=3600), XpanderRateLimitError, 429),
        (Fault.billing(), XpanderBillingError, 429),
        (Fault.server_error(), XpanderServiceError, 500),
        (Fault.html(503), XpanderServiceError, 503),
        (Fault.empty(), XpanderServiceError, 200),
        (Fault.truncated(), XpanderServiceError, 200),
        (Fault.dropped(), XpanderConnectionError, None),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else getattr(value, "__name__", ""),
)
def test_each_failure_has_its_error(
    fault: Fault, error: type[Exception], status: int | None, service: Service, quick_repeats: None
) -> None:
    service.add_fault(fault.model_copy(deep=True, update={"times": None}))
    with XpanderHook() as hook, pytest.raises(error) as caught:
        hook.get_task(service.start())
    assert getattr(caught.value, "status_code", None) == status
    assert service.server.api_key not in str(caught.value)


def test_a_read_outlives_short_failures(service: Service, quick_repeats: None) -> None:
    service.add_fault(Fault.html(502, times=3))
    task_id = service.start()
    with XpanderHook() as hook:
        assert hook.get_task(task_id).id == task_id
    assert [call.status for call in service.requests()] == [502, 502, 502, 200]


def test_a_look_at_a_task_is_patient_with_one_that_is_not_visible_yet(
    service: Service, quick_repeats: None
) -> None:
    service.configure({"not_found_lag_seconds": 0.3})
    task_id = service.start()
    with XpanderHook() as hook:
        assert hook.get_task_patiently(task_id).id == task_id


def test_one_session_serves_all_calls_and_is_closed(service: Service, server_connections: Any) -> None:
    with XpanderHook() as hook:
        for _ in range(3):
            list(hook.list_agents())
        hook.invoke_sync(ECHO, "hello")
        list(hook.invoke_stream(ECHO, "hello"))
    assert server_connections.count <= 2  # a stream keeps its connection for itself
    eventually(lambda: server_connections.all_closed, "all connections are closed")


def test_a_closed_hook_opens_again(hook: XpanderHook, service: Service) -> None:
    task_id = service.start()
    assert hook.get_task(task_id).id == task_id
    hook.close()
    assert hook.get_task(task_id).id == task_id


def test_every_call_has_a_limit(service: Service, quick_repeats: None) -> None:
    """Two limits: one to connect, one to wait for the answer; here the latter."""
    service.connect(extra={"timeout": 0.1})
    service.add_fault(Fault.slow(5, times=None))
    started = time.monotonic()
    with XpanderHook() as hook, pytest.raises(XpanderConnectionError, match="no answer within 0.1 s"):
        hook.get_task(service.start())
    assert time.monotonic() - started < 4.5


def test_the_client_is_the_connection_of_the_hook(hook: XpanderHook) -> None:
    assert hook.get_conn() is hook.get_conn()


@pytest.mark.parametrize(("method", "known"), [("get_agent", "echo"), ("get_workflow", "triage")])
def test_one_agent_or_workflow_is_read_by_its_id(method: str, known: str, hook: XpanderHook) -> None:
    assert getattr(hook, method)(known).id == known
    with pytest.raises(XpanderNotFoundError):
        getattr(hook, method)("no-such-one")


def test_a_prepared_request_is_sent_as_it_is(service: Service) -> None:
    service.connect(extra={"user_email": "a@b.c"})
    with XpanderHook() as hook:
        prepared = hook.prepare("hello")
        hook.call(routes.invoke_async(ECHO, prepared))
        hook.call(routes.invoke_async(ECHO, InvokeRequest(input="hello")))
    with_user, without = (post.body["input"] for post in service.posts)
    assert with_user == {"text": "hello", "user": {"email": "a@b.c"}}
    assert without == {"text": "hello"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407])
def test_a_look_back_outlasts_a_page_of_something_in_front_of_the_api(
    status: int, service: Service, quick_repeats: None
) -> None:
    task_id = service.start()
    service.add_fault(Fault.html(status, times=2))
    with XpanderHook() as hook:
        assert [task.id for task in hook.run(get_known([task_id]))] == [task_id]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 407, 410])
def test_a_wait_outlasts_pages_of_something_in_front_of_the_api(
    status: int, hook: XpanderHook, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "NOT_FOUND_GRACE", 0.0)
    service.finish(task_id := service.start())
    fault = service.add_fault(Fault.html(status, times=5))
    assert hook.wait_for_task(task_id, timeout=20, poll_interval=POLL).status == "completed"
    assert fault.hits == 5


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("a-wrong-key-0815", "Check the API key (password) of connection 'xpander_default' ("),
        (None, "Check the id, and whether the key of connection 'xpander_default' ("),
    ],
    ids=["401", "404"],
)
def test_an_error_names_the_connection_and_the_address(
    password: str | None, words: str, service: Service
) -> None:
    if password:
        service.connect(password=password)
    with XpanderHook() as hook, pytest.raises((XpanderAuthError, XpanderNotFoundError)) as caught:
        hook.get_task("no-such-task")
    assert f"{words}GET {service.server.url}/v1/tasks/no-such-task" in str(caught.value)
    assert "a-wrong-key-0815" not in str(caught.value)
