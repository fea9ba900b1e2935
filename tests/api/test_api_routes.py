from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.models import InvokeRequest, Target
from airflow_provider_xpander.api.retry import RetryClass
from airflow_provider_xpander.api.routes import Call, RawPage, Submission, poll_tasks

REQUEST = InvokeRequest(input="hi", title="report", id="thread-1")
PAGE = {"page": "1", "per_page": "50"}


@pytest.mark.parametrize(
    ("call", "method", "path", "params"),
    [
        (routes.get_task("t-1"), "GET", "/v1/tasks/t-1", {}),
        (routes.list_tasks(), "GET", "/v1/tasks", PAGE),
        (routes.stop_task("t-1"), "POST", "/v1/tasks/t-1/stop", {}),
        (routes.get_thread("t-1"), "GET", "/v1/tasks/t-1/thread", {}),
        (routes.list_agents(), "GET", "/v1/agents", PAGE),
        (
            routes.list_agents(page=3, per_page=1),
            "GET",
            "/v1/agents",
            {"page": "3", "per_page": "1"},
        ),
        (routes.get_agent("a-1"), "GET", "/v1/agents/a-1", {}),
        (routes.list_workflows(page=2), "GET", "/v1/workflows", {"page": "2", "per_page": "50"}),
        (routes.get_workflow("w-1"), "GET", "/v1/workflows/w-1", {}),
    ],
    ids=lambda value: value.what if isinstance(value, Call) else "",
)
def test_the_routes_that_start_nothing(
    call: Call[Any], method: str, path: str, params: dict[str, str]
) -> None:
    assert (call.method, call.path, dict(call.params), call.json) == (method, path, params, None)
    assert call.retry is RetryClass.SAFE
    assert call.submission is None


@pytest.mark.parametrize(
    ("make", "suffix"),
    [(routes.invoke_sync, ""), (routes.invoke_async, "/async"), (routes.invoke_stream, "/stream")],
    ids=["sync", "async", "stream"],
)
@pytest.mark.parametrize(
    ("target", "path", "params"),
    [
        (Target.agent("a-1"), "/v1/agents/a-1/invoke", {}),
        (Target.agent("a-1", "draft"), "/v1/agents/a-1/invoke", {"version": "draft"}),
        (Target.workflow("w-1", "7"), "/v1/workflows/w-1/invoke", {"version": "7"}),
    ],
    ids=str,
)
def test_the_invoke_routes(make: Any, suffix: str, target: Target, path: str, params: dict[str, str]) -> None:
    call = make(target, REQUEST)
    assert (call.method, call.path, call.params) == ("POST", path + suffix, params)
    assert call.json == {"input": {"text": "hi"}, "title": "report", "id": "thread-1"}
    assert call.retry is RetryClass.SUBMIT
    assert call.submission == Submission(target.id, "report", "thread-1")


@pytest.mark.parametrize("wild", ["../../admin", "a/b", "a?x=1", "a#b", "a&b", "ä", "%2e%2e"])
def test_an_id_stays_one_segment_of_the_path(wild: str) -> None:
    calls = [
        routes.get_task(wild),
        routes.stop_task(wild),
        routes.get_thread(wild),
        routes.get_agent(wild),
        routes.get_workflow(wild),
        routes.invoke_async(Target.agent(wild), REQUEST),
    ]
    for call in calls:
        assert call.path.count("/") == {"/stop": 4, "/thread": 4, "/async": 5}.get(
            "/" + call.path.rpartition("/")[2], 3
        )
        assert not set(call.path) & set("?# ä")


@pytest.mark.parametrize("id", ["", " ", "None", "t 1", "t-1\n", "t-1\u200b"], ids=ascii)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (routes.get_task, "task_id"),
        (routes.stop_task, "task_id"),
        (routes.get_thread, "task_id"),
        (routes.get_agent, "agent_id"),
        (routes.get_workflow, "workflow_id"),
    ],
)
def test_an_id_that_is_none_is_not_asked_for(make: Any, name: str, id: str) -> None:
    with pytest.raises(XpanderValidationError, match=name):
        make(id)


def test_every_filter_of_the_list() -> None:
    call = routes.list_tasks(
        agent_id="a-1",
        status="completed",
        user_id="u-1",
        parent_task_id="t-0",
        triggering_agent_id="a-0",
        internal_status="halfway",
        from_date=datetime(2026, 5, 1, 12, tzinfo=UTC),
        to_date=datetime(2026, 5, 2, 12, tzinfo=UTC),
        page=2,
        per_page=10,
    )
    assert call.params == {
        "agent_id": "a-1",
        "status": "completed",
        "user_id": "u-1",
        "parent_task_id": "t-0",
        "triggering_agent_id": "a-0",
        "internal_status": "halfway",
        "from_date": "2026-05-01T12:00:00.000000Z",
        "to_date": "2026-05-02T12:00:00.000000Z",
        "page": "2",
        "per_page": "10",
    }


@pytest.mark.parametrize(
    ("moment", "sent"),
    [
        (datetime(2026, 5, 1, 12), "2026-05-01T12:00:00.000000Z"),
        (datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2026-05-01T10:00:00.000000Z"),
        (datetime(2026, 5, 1, 12, 0, 0, 7, tzinfo=UTC), "2026-05-01T12:00:00.000007Z"),
    ],
    ids=["naive is UTC", "offset", "microseconds"],
)
def test_dates_are_sent_in_utc(moment: datetime, sent: str) -> None:
    assert routes.list_tasks(from_date=moment).params["from_date"] == sent


def test_only_official_statuses_are_asked_for() -> None:
    assert routes.list_tasks(status="stopped").params["status"] == "stopped"
    with pytest.raises(ValueError, match="running"):
        routes.list_tasks(status="running")


MESSAGE = {"id": "m-1", "role": "user", "content": "hi", "created_at": 1767225600}


@pytest.mark.parametrize(
    ("body", "roles"),
    [
        ([MESSAGE, {"role": "assistant"}], ["user", "assistant"]),
        ({"root": [MESSAGE], "sub-1": [{"role": "tool"}]}, ["user"]),
        ([], []),
        ([MESSAGE, None, "x"], ["user"]),
        ([{"role": 7, "content": {"a": 1}, "created_at": "today"}], [None]),
    ],
    ids=["list", "full thread", "empty", "garbage between", "garbage inside"],
)
def test_the_shapes_of_a_thread(body: Any, roles: list[str | None]) -> None:
    assert [message.role for message in routes.get_thread("t-1").parse(body)] == roles


@pytest.mark.parametrize(
    "call",
    [
        routes.get_task("t-1"),
        routes.list_tasks(),
        routes.get_thread("t-1"),
        routes.get_agent("a-1"),
    ],
    ids=lambda call: call.what,
)
@pytest.mark.parametrize("body", [None, 7, "ok", {"detail": "moved"}], ids=repr)
def test_an_answer_of_another_shape_is_refused(call: Call[Any], body: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        call.parse(body)


@pytest.mark.parametrize(
    ("told", "read"),
    [(3, 3), (0, 0), (None, None), ("3", None), (-1, None), (10**400, None)],
    ids=["pages", "none", "not told", "text", "negative", "absurd"],
)
def test_how_many_pages_there_are_is_believed_within_reason(told: Any, read: int | None) -> None:
    page = {"items": [{"id": "t-1"}, {"id": 7}, 7], "total_pages": told}
    assert poll_tasks("a", from_date=None, page=1).parse(page) == RawPage([{"id": "t-1"}], read)
