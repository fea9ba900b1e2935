"""The hook: the connection, and the calls of the API as methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property, partial
from typing import Any, TypeVar

from airflow_provider_xpander._compat import (
    AirflowNotFoundException,
    BaseHook,
    mask_secret,
)
from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.exchange import Steps
from airflow_provider_xpander.api.governor import governor_of
from airflow_provider_xpander.api.models import (
    Agent,
    InvokeRequest,
    Page,
    Target,
    Task,
    ThreadMessage,
    Tolerant,
    parse_request,
)
from airflow_provider_xpander.api.request import for_user
from airflow_provider_xpander.api.settings import Settings, UnusableConnectionError
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.stream import Events
from airflow_provider_xpander.connection import (
    CONN_TYPE,
    DEFAULT_CONN_ID,
    HOOK_NAME,
    settings_of,
    unknown_fields,
)
from airflow_provider_xpander.connection_form import UI_FIELD_BEHAVIOUR, form_widgets
from airflow_provider_xpander.hooks.connection_check import ask
from airflow_provider_xpander.runs.stopping import stop_run
from airflow_provider_xpander.runs.task_errors import timed_out
from airflow_provider_xpander.runs.watch import End, Over, Watch, get_task_patiently, poll_until_done

RequestLike = InvokeRequest | Mapping[str, Any] | str
Item = TypeVar("Item", bound=Tolerant)
T = TypeVar("T")


class XpanderHook(BaseHook):
    """
    Talk to xpander.ai with the credentials of an Airflow connection.

    The connection is read once and the hook keeps one HTTP session; use it as a context manager, or call
    :meth:`close`. All methods raise subclasses of
    :class:`~airflow_provider_xpander.api.errors.XpanderError`; reads are repeated over short failures, an
    invoke only if it surely started no run.

    :param xpander_conn_id: id of a connection of type ``xpander``.
    """

    conn_name_attr = "xpander_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONN_TYPE
    hook_name = HOOK_NAME

    def __init__(self, xpander_conn_id: str = DEFAULT_CONN_ID) -> None:
        super().__init__()
        self.xpander_conn_id = xpander_conn_id

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields for Airflow before 3.2; later versions read the provider info."""
        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders of the standard fields for Airflow before 3.2."""
        return dict(UI_FIELD_BEHAVIOUR)

    @cached_property
    def settings(self) -> Settings:
        """
        The connection, checked.

        :raises AirflowNotFoundException: there is no such connection.
        :raises ValueError: it is of another type, has no key, or a field has a wrong value.
        """
        return self._read_connection()

    def _read_connection(self) -> Settings:
        try:
            connection = self.get_connection(self.xpander_conn_id)
        except AirflowNotFoundException:
            raise AirflowNotFoundException(
                f"There is no connection {self.xpander_conn_id!r}. Add one of type {CONN_TYPE!r} with the "
                f"API key as its password, or name another with xpander_conn_id."
            ) from None
        if connection.password:
            mask_secret(connection.password.strip())
        try:
            return settings_of(self.xpander_conn_id, connection)
        except ValueError as error:
            raise UnusableConnectionError(str(error)) from None

    def get_conn(self) -> Client:
        """Return the client with the hook's one HTTP session."""
        return self._client

    @cached_property
    def _client(self) -> Client:
        return Client(self.settings, refresh=self._read_connection, governor=governor_of(self.settings))

    def close(self) -> None:
        """Close the HTTP session; the next call opens another."""
        client = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    def __enter__(self) -> XpanderHook:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def call(self, call: routes.Call[T], *, timeout: float | None = None) -> T:
        """
        Make one call of ``api/routes.py`` as it is; an invoke with a request that :meth:`prepare` has made.

        :param call: the call.
        :param timeout: seconds to wait for the reply; the connection's ``timeout`` by default.
        :raises XpanderError: it did not succeed.
        """
        return self._client.call(call, timeout=timeout)

    def prepare(self, request: RequestLike) -> InvokeRequest:
        """
        Check a request and add the connection's default user to it if it names none (C14).

        The ``invoke_*`` methods do so themselves.

        :param request: an :class:`InvokeRequest`, a mapping of its fields, or the input text.
        :raises XpanderValidationError: names each wrong field and what is allowed.
        """
        return for_user(parse_request(request), self.settings.default_user)

    def invoke_sync(self, target: Target, request: RequestLike, *, timeout: float | None = None) -> Task:
        """
        Run an agent or workflow and wait for its end on the open connection; for runs under a minute.

        The reply need not be terminal (contract 2.2): look at its status.

        :param target: what to run.
        :param request: an :class:`InvokeRequest`, a mapping of its fields, or the input text.
        :param timeout: seconds to wait for the reply; the connection's ``timeout`` by default.
        :raises XpanderAmbiguousSubmitError: the run may have been started; its outcome is unknown.
        """
        return self.call(routes.invoke_sync(target, self.prepare(request)), timeout=timeout)

    def invoke_async(self, target: Target, request: RequestLike) -> Task:
        """
        Start a run; returns at once, with any status (contract 2.2, C3).

        :param target: what to run.
        :param request: an :class:`InvokeRequest`, a mapping of its fields, or the input text.
        :raises XpanderAmbiguousSubmitError: the run may have been started; its outcome is unknown.
        """
        return self.call(routes.invoke_async(target, self.prepare(request)))

    def invoke_stream(self, target: Target, request: RequestLike) -> Events:
        """
        Start a run and yield its events; ``task_finished`` of the own task is the last one.

        :param target: what to run.
        :param request: an :class:`InvokeRequest`, a mapping of its fields, or the input text.
        :raises XpanderAmbiguousSubmitError: no event arrived; the run may have been started.
        :raises XpanderConnectionError: the stream broke; the run goes on and can be polled.
        """
        return self._client.stream(routes.invoke_stream(target, self.prepare(request)))

    def get_task(self, task_id: str) -> Task:
        """
        Read a task.

        :param task_id: the task.
        :raises XpanderNotFoundError: there is no such task, or the key may not see it.
        """
        return self.call(routes.get_task(task_id))

    def get_task_patiently(self, task_id: str, *, poll: bool = False) -> Task:
        """
        Read a task like :meth:`get_task`, but wait up to a minute for one that is not visible yet.

        :param task_id: the task.
        :param poll: whether it is only to see if something has changed, so that all else comes first.
        """
        return self._client.run(get_task_patiently(task_id, poll=poll))

    def list_tasks(
        self,
        agent_id: str | None = None,
        status: TaskStatus | str | None = None,
        from_date: datetime | None = None,
        to_date: datetime | None = None,
        user_id: str | None = None,
        parent_task_id: str | None = None,
        triggering_agent_id: str | None = None,
        internal_status: str | None = None,
    ) -> Iterator[Task]:
        """
        Yield tasks, page after page, each once; their order is the service's own, undocumented one.

        :param agent_id: only tasks of this agent or workflow.
        :param status: only tasks in this status, one of the seven official values.
        :param from_date: only tasks created at or after this time; naive is UTC.
        :param to_date: only tasks created at or before this time; naive is UTC.
        :param user_id: only tasks that this user created.
        :param parent_task_id: only sub-tasks of this task.
        :param triggering_agent_id: only tasks that this agent triggered.
        :param internal_status: only tasks with this free-text status.
        :raises ValueError: the status is none of the seven.
        """
        asked = None if status is None else TaskStatus(status)
        return self._items(
            partial(
                routes.list_tasks,
                agent_id=agent_id,
                status=asked,
                from_date=from_date,
                to_date=to_date,
                user_id=user_id,
                parent_task_id=parent_task_id,
                triggering_agent_id=triggering_agent_id,
                internal_status=internal_status,
            )
        )

    def stop_task(self, task_id: str) -> Task:
        """
        Cancel a run; returns it as it is then, which may be any status (contract 2.6).

        :param task_id: the task.
        """
        return self.run(stop_run(task_id, self._client.policy)).task

    def get_thread(self, task_id: str) -> list[ThreadMessage]:
        """
        Return the messages of the task's thread, oldest first.

        :param task_id: the task.
        """
        return self.call(routes.get_thread(task_id))

    def list_agents(self) -> Iterator[Agent]:
        """Yield the agents that the key may see, newest first."""
        return self._items(routes.list_agents)

    def get_agent(self, agent_id: str) -> Agent:
        """
        Read one agent: its name, status and deployed version, and whether the key may see it at all.

        :param agent_id: the agent.
        :raises XpanderNotFoundError: there is no such agent, or the key may not see it.
        :raises XpanderAuthError: the key may not see it.
        """
        return self.call(routes.get_agent(agent_id))

    def list_workflows(self) -> Iterator[Agent]:
        """Yield the workflows that the key may see."""
        return self._items(routes.list_workflows)

    def get_workflow(self, workflow_id: str) -> Agent:
        """
        Read one workflow; the errors are those of :meth:`get_agent`.

        :param workflow_id: the workflow.
        """
        return self.call(routes.get_workflow(workflow_id))

    def _items(self, call_for: Callable[..., routes.Call[Page[Item]]]) -> Iterator[Item]:
        seen: set[Any] = set()  # pages shift while tasks come and go (contract 2.5)
        number = 0
        while True:
            number += 1
            page = self.call(call_for(page=number))
            new = {getattr(item, "id", None): item for item in page.items}
            for key in seen & new.keys():
                del new[key]
            yield from new.values()
            seen |= new.keys()
            # A page without anything new is the last one, whatever the service says of their number: it may
            # give the same page over and over.
            if not new or (page.total_pages and 0 < page.total_pages <= number):
                return

    def run(self, steps: Steps[T]) -> T:
        """
        Carry out a conversation with the service and return its result.

        :param steps: what to send and when (``api/exchange.py``).
        """
        return self._client.run(steps)

    def poll_until_done(self, watch: Watch, report: Callable[[Task], None] = lambda task: None) -> Over:
        """
        Wait in this thread until the watch is over.

        :param watch: the wait.
        :param report: is given the task at each look.
        """
        return self._client.run(poll_until_done(watch, report=report))

    def wait_for_task(self, task_id: str, timeout: float | None = None, poll_interval: float = 30.0) -> Task:
        """
        Wait until a run has ended, over outages and throttling, and return it, however it ended.

        :param task_id: the task.
        :param timeout: seconds to wait at the most; None waits as long as the run goes on.
        :param poll_interval: seconds between two looks.
        :raises XpanderTaskTimeout: it did not end in time; it is left running.
        :raises XpanderError: it cannot be read any more.
        """
        deadline = None if timeout is None else time.time() + timeout
        over = self.poll_until_done(Watch(task_id, poll_interval, deadline))
        if over.end is End.FINISHED and over.task is not None:
            return over.task
        if over.error is not None:
            raise over.error
        raise timed_out(task_id, over.status, timeout, stopped=None)

    def test_connection(self) -> tuple[bool, str]:
        """Ask the service for one agent, and say in a sentence what came of it."""
        try:
            with self, self._client.again() as own:  # a person waits, and no budget says what is wrong
                fine, said = ask(own)
                extra = self.get_connection(self.xpander_conn_id).extra
        except (ValueError, AirflowNotFoundException) as error:
            return False, str(error)
        unknown = unknown_fields(self.xpander_conn_id, extra)
        return fine, f"{said} {unknown}" if unknown else said
