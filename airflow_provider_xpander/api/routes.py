"""Functions, one for each endpoint: what to send, how safe a repetition is, and how the reply is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum
from functools import partial
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from airflow_provider_xpander.api.models import (
    Agent,
    AgentPage,
    InvokeRequest,
    Page,
    Target,
    Task,
    TaskPage,
    ThreadMessage,
)
from airflow_provider_xpander.api.request import SECRET_FIELDS, check_id
from airflow_provider_xpander.api.retry import RetryClass
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.text import remember, secret_texts

T = TypeVar("T")
PAGE_SIZE = 50
"""The most items of a page that the service gives; more is refused with 422 (contract 2.5)."""


class Priority(IntEnum):
    """What comes first where the limits of the service do not allow all at once."""

    STOP = 0
    READ = 1
    """An answer that was paid for, and whatever a person asks for."""
    SUBMIT = 2
    POLL = 3
    CHECK = 4
    """A look that only makes sure that nothing was overlooked."""


@dataclass(frozen=True)
class Submission:
    """What is needed to look for a run whose submit got no clear reply."""

    target_id: str
    title: str | None
    thread_id: str | None


@dataclass(frozen=True)
class Call(Generic[T]):
    """
    One request and the way to read its reply.

    :param what: what the call does, in words, for messages.
    :param method: the HTTP method.
    :param path: the path below the base URL, with quoted ids.
    :param parse: makes the result out of the decoded JSON; raises ValueError if it cannot.
    :param params: query parameters.
    :param json: the JSON body, or None for none.
    :param retry: what a repetition would do.
    :param submission: set for an invoke.
    :param priority: its place where the limits do not allow all at once.
    :param keep: returns what is needed of an item of a page; a driver may apply it before ``parse``.
    """

    what: str
    method: Literal["GET", "POST"]
    path: str
    parse: Callable[[Any], T]
    params: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    retry: RetryClass = RetryClass.SAFE
    submission: Submission | None = None
    priority: Priority = Priority.READ
    keep: Callable[[Any], Any] = lambda item: item


@dataclass(frozen=True)
class RawPage:
    """
    A page of a list as a poll needs it: a few fields of each item, as they came.

    :param items: those that have an id.
    :param total_pages: how many pages there are, or None if the service did not say.
    """

    items: Sequence[Mapping[str, Any]] = field(repr=False)
    total_pages: int | None = None


def as_poll(call: Call[T], priority: Priority = Priority.POLL) -> Call[T]:
    """
    Return the call as one that only looks whether something has changed.

    :param call: the call.
    :param priority: its new place.
    """
    return replace(call, priority=priority)


def _segment(name: str, value: str) -> str:
    return quote(check_id(name, value), safe="")


def _invoke(target: Target, request: InvokeRequest, flavour: str) -> Call[Task]:
    body = request.body()
    for name in SECRET_FIELDS:
        remember(*secret_texts(body.get(name)))  # the service repeats them
    return Call(
        what=f"invoke {target}",
        method="POST",
        path=f"/v1/{target.kind}s/{_segment(f'{target.kind}_id', target.id)}/invoke{flavour}",
        parse=Task.model_validate,
        params={"version": target.version} if target.version else {},
        json=body,
        retry=RetryClass.SUBMIT,
        submission=Submission(target.id, request.title, request.id),
        priority=Priority.SUBMIT,
    )


def invoke_sync(target: Target, request: InvokeRequest) -> Call[Task]:
    """
    Run and wait for the end on the open connection (routes 1 and 4).

    :param target: what to run.
    :param request: the request.
    """
    return _invoke(target, request, "")


def invoke_async(target: Target, request: InvokeRequest) -> Call[Task]:
    """
    Start a run; the service replies at once (routes 2 and 5).

    :param target: what to run.
    :param request: the request.
    """
    return _invoke(target, request, "/async")


def invoke_stream(target: Target, request: InvokeRequest) -> Call[Task]:
    """
    Start a run whose events come as Server-Sent Events (routes 3 and 6).

    :param target: what to run.
    :param request: the request.
    """
    return _invoke(target, request, "/stream")


def get_task(task_id: str) -> Call[Task]:
    """
    Read a task (route 7).

    :param task_id: id of the task.
    """
    return Call(
        f"get task {task_id}", "GET", f"/v1/tasks/{_segment('task_id', task_id)}", Task.model_validate
    )


def list_tasks(
    *,
    agent_id: str | None = None,
    status: TaskStatus | str | None = None,
    user_id: str | None = None,
    parent_task_id: str | None = None,
    triggering_agent_id: str | None = None,
    internal_status: str | None = None,
    from_date: datetime | None = None,
    to_date: datetime | None = None,
    page: int = 1,
    per_page: int = PAGE_SIZE,
) -> Call[Page[Task]]:
    """
    Read one page of tasks (route 8).

    :param agent_id: only tasks of this agent or workflow.
    :param status: only tasks in this status, one of the seven official values.
    :param user_id: only tasks that this user created.
    :param parent_task_id: only sub-tasks of this task.
    :param triggering_agent_id: only tasks that this agent triggered.
    :param internal_status: only tasks with this free-text status.
    :param from_date: only tasks created at or after this time; a naive time is UTC.
    :param to_date: only tasks created at or before this time; a naive time is UTC.
    :param page: from 1.
    :param per_page: 1 to 50.
    """
    return Call(
        "list tasks",
        "GET",
        "/v1/tasks",
        TaskPage.model_validate,
        params=_query(
            agent_id=agent_id,
            status=TaskStatus(status).value if status is not None else None,
            user_id=user_id,
            parent_task_id=parent_task_id,
            triggering_agent_id=triggering_agent_id,
            internal_status=internal_status,
            from_date=_utc(from_date),
            to_date=_utc(to_date),
            page=page,
            per_page=per_page,
        ),
    )


def poll_tasks(
    agent_id: str | None,
    *,
    from_date: datetime | None,
    page: int,
    status: TaskStatus | None = None,
    more: tuple[str, ...] = (),
) -> Call[RawPage]:
    """
    Read one page of the tasks, to see which have changed.

    :param agent_id: only tasks of this agent or workflow; None for all that the key may see.
    :param from_date: only tasks created at or after this time; naive is UTC.
    :param page: from 1.
    :param status: only tasks in this status.
    :param more: fields of an item that are kept besides those that each poll needs.
    """
    keep = partial(_polled, more=more)
    listed = list_tasks(agent_id=agent_id, status=status, from_date=from_date, page=page)
    return Call(
        f"list tasks of agent {agent_id}" if agent_id else "list tasks",
        "GET",
        listed.path,
        partial(_raw_page, keep=keep),
        params=listed.params,
        priority=Priority.POLL,
        keep=keep,
    )


def stop_task(task_id: str) -> Call[Task]:
    """
    Cancel a run (route 10); one that has ended is returned unchanged.

    :param task_id: id of the task.
    """
    return Call(
        f"stop task {task_id}",
        "POST",
        f"/v1/tasks/{_segment('task_id', task_id)}/stop",
        Task.model_validate,
        priority=Priority.STOP,
    )


def get_thread(task_id: str) -> Call[list[ThreadMessage]]:
    """
    Read the messages of a task's thread, oldest first (route 12).

    :param task_id: id of the task.
    """
    path = f"/v1/tasks/{_segment('task_id', task_id)}/thread"
    return Call(f"get thread of task {task_id}", "GET", path, _thread)


def list_agents(*, page: int = 1, per_page: int = PAGE_SIZE) -> Call[Page[Agent]]:
    """
    Read one page of agents, newest first (route 14).

    :param page: from 1.
    :param per_page: 1 to 50.
    """
    params = _query(page=page, per_page=per_page)
    return Call("list agents", "GET", "/v1/agents", AgentPage.model_validate, params)


def get_agent(agent_id: str) -> Call[Agent]:
    """
    Read one agent (route 14).

    :param agent_id: id of the agent.
    """
    path = f"/v1/agents/{_segment('agent_id', agent_id)}"
    return Call(f"get agent {agent_id}", "GET", path, Agent.model_validate)


def list_workflows(*, page: int = 1, per_page: int = PAGE_SIZE) -> Call[Page[Agent]]:
    """
    Read one page of workflows (route 15).

    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    params = _query(page=page, per_page=per_page)
    return Call("list workflows", "GET", "/v1/workflows", AgentPage.model_validate, params)


def get_workflow(workflow_id: str) -> Call[Agent]:
    """
    Read one workflow (route 15).

    :param workflow_id: id of the workflow.
    """
    path = f"/v1/workflows/{_segment('workflow_id', workflow_id)}"
    return Call(f"get workflow {workflow_id}", "GET", path, Agent.model_validate)


def _query(**values: Any) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def _utc(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


MOST_PAGES = 1_000_000
"""Pages of a list beyond which what the service says is nonsense."""
POLLED = ("id", "status", "created_at", "updated_at")
"""What a poll needs of an item of a page: above all not the answer, which may be long."""


def _polled(item: Any, more: tuple[str, ...]) -> Any:
    kept = (*POLLED, *more)
    return {name: item[name] for name in kept if name in item} if isinstance(item, dict) else item


def _raw_page(body: Any, keep: Callable[[Any], Any]) -> RawPage:
    if not isinstance(body, Mapping) or not isinstance(body.get("items"), list):
        raise ValueError("a page was expected")
    items = [
        keep(item) for item in body["items"] if isinstance(item, dict) and isinstance(item.get("id"), str)
    ]
    pages = body.get("total_pages")
    return RawPage(items, pages if isinstance(pages, int) and 0 <= pages <= MOST_PAGES else None)


def _thread(body: Any) -> list[ThreadMessage]:
    # The full thread is an object whose key "root" holds the messages; both shapes are seen (C8).
    messages = body.get("root") if isinstance(body, Mapping) else body
    if not isinstance(messages, list):
        raise ValueError("a list of messages was expected")
    return [ThreadMessage.model_validate(item) for item in messages if isinstance(item, Mapping)]
