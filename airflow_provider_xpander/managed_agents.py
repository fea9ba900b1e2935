"""The hook for Airflow's contract of managed agents: an xpander.ai agent as a tool of another agent."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import (
    XpanderAuthError,
    XpanderBillingError,
    XpanderError,
    XpanderNotFoundError,
    XpanderTaskFailed,
    XpanderTaskStopped,
    XpanderValidationError,
)
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.api.request import PARAMETERS, InvokeInput
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.operators.starter import RunStarter
from airflow_provider_xpander.operators.stopping import KILL_LAG, stop_runs
from airflow_provider_xpander.runs.answer import AnswerRules, XpanderAnswerInvalid, read_answer, summarize
from airflow_provider_xpander.runs.identity import Identity
from airflow_provider_xpander.runs.schema import schema_of
from airflow_provider_xpander.runs.task_errors import failure, timed_out
from airflow_provider_xpander.runs.thread import Turn, foreign_turn, is_foreign_turn
from airflow_provider_xpander.runs.watch import Again, End, Over, Watch

try:
    from airflow.providers.common.ai.exceptions import ManagedAgentInvocationError, ManagedAgentRejected
    from airflow.providers.common.ai.managed_agents.base import (
        BaseManagedAgentHook,
        ManagedAgentCapabilities,
        ManagedAgentRef,
        ManagedAgentRequest,
        ManagedAgentResponse,
        ManagedAgentUsage,
    )

    HAS_COMMON_AI = True
except ImportError:
    HAS_COMMON_AI = False
    if not TYPE_CHECKING:
        BaseManagedAgentHook = object

DEFAULT_TIMEOUT = 3600.0
"""Seconds that an answer is waited for where the caller names no time."""
POLL_INTERVAL = 10.0
"""Seconds between two looks; the first ones come quicker."""
INPUT_OPTIONS = frozenset(PARAMETERS) & set(InvokeInput.model_fields)
OPTIONS = frozenset(one.field for one in PARAMETERS.values()) - INPUT_OPTIONS - {
    "input", "id", "title", "extra_body",
}  # fmt: skip
"""Fields of the request that ``vendor_options`` may have: none leads to another agent, thread or run."""


class XpanderManagedAgentHook(XpanderHook, BaseManagedAgentHook):
    """
    Hook for ``ManagedAgentToolset`` and whatever else uses Airflow's contract for managed agents.

    An agent is named by its id, or by its id and version as ``id@version``. Each call starts one run, with a
    mark that names the task of Airflow, and waits for its end in the calling thread.

    :param xpander_conn_id: id of a connection of type ``xpander``.
    :raises XpanderValidationError: ``apache-airflow-providers-common-ai`` 1.0 is not installed.
    """

    agent_platform = "xpander.agents"

    def __init__(self, xpander_conn_id: str = DEFAULT_CONN_ID) -> None:
        if not HAS_COMMON_AI:
            raise XpanderValidationError(
                "XpanderManagedAgentHook needs apache-airflow-providers-common-ai 1.0 or later: "
                "pip install 'airflow-provider-xpander[common-ai]'"
            )
        super().__init__(xpander_conn_id)

    def resolve_agent(self, agent: str) -> ManagedAgentRef:
        """
        Return what an agent is called, without asking the service.

        :param agent: the id, or ``id@version``.
        :raises XpanderValidationError: it can be no id.
        """
        target = _target(agent)
        return ManagedAgentRef(self.agent_platform, target.id, target.version)

    def get_agent_capabilities(self, agent: str) -> ManagedAgentCapabilities:
        """
        Return what every agent can do: sessions, answers by a schema, usage, a reference of the run.

        :param agent: the id, or ``id@version``.
        """
        return ManagedAgentCapabilities(sessions=True, structured_output=True, usage=True, trace=True)

    def invoke_agent(self, agent: str, request: ManagedAgentRequest) -> ManagedAgentResponse:
        """
        Run an agent and return its answer; where that takes longer than the time-out, the run is stopped.

        ``session_id`` continues a thread, once its turn is over. ``vendor_options`` may have fields of the
        request, ``files`` and ``user``; with ``output_schema`` (a JSON Schema), the answer is checked, and in
        ``structured``.

        :param agent: the id, or ``id@version``.
        :param request: what is asked.
        :raises ManagedAgentRejected: another prompt may fare better: the agent has failed, or given an answer
            that is not what was asked for, or the service does not accept the input.
        :raises ManagedAgentInvocationError: nothing helps: the key, the agent's id, the budget, an option.
        :raises XpanderError: it may pass: throttling, an outage, a run that ended with an error or too late.
        """
        with _sorted_errors():
            asked = self.prepare(_asked(request))
            schema = None if asked.output_schema is None else schema_of(asked.output_schema)
            deadline = time.time() + (DEFAULT_TIMEOUT if request.timeout is None else request.timeout)
            task = self._run_to_its_end(_target(agent), asked, deadline)
            if task.status is not TaskStatus.COMPLETED:
                raise failure(task)
            answer = read_answer(task, AnswerRules(asked.wants_json, schema=lambda: schema))
        tokens = task.tokens
        return ManagedAgentResponse(
            text=answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False),
            # Not the record: the service repeats the tokens of a request in it.
            raw=summarize(task) | {"result": task.result},
            structured=answer if asked.wants_json else None,
            session_id=task.id,
            usage=ManagedAgentUsage(tokens.prompt_tokens, tokens.completion_tokens) if tokens else None,
            trace_ref=task.id,
        )

    def _run_to_its_end(self, target: Target, asked: InvokeRequest, deadline: float) -> Task:
        identity = _identity()
        starter = RunStarter(
            hook=self,
            log=self.log,
            target=target,
            request=asked,
            identity=identity,
            try_number=identity.first_try,
            reattach=False,
            stop_unwanted=lambda *_: None,
            deadline=deadline,
        )

        def submit(target: Target, request: InvokeRequest) -> Task:
            left = max(1.0, deadline - time.time())
            return self.call(routes.invoke_async(target, request), timeout=min(self.settings.timeout, left))

        try:
            task = starter.obtain(submit)
        except XpanderError:
            raise  # it was looked for, where it may have been started
        except BaseException:  # of whoever ends the task of Airflow, in the middle of the submit
            self._stop_what_was_started(starter)
            raise
        turn = Turn(task.id, tuple(identity.digests), starter.newer_than)
        watch = Watch(task.id, POLL_INTERVAL, deadline, newer_than=starter.newer_than)
        over: Again | Over
        try:
            over = watch.after_task(task, time.time())
            if isinstance(over, Again):
                over = self.poll_until_done(watch)
            ended = None if over.end is End.TIMEOUT else over.fetched(task.id)
        except BaseException:  # of whoever ends the task of Airflow, too
            self._stop(turn)
            raise
        if ended is None:
            stopped = self._stop(turn)
            raise timed_out(task.id, over.status, None, stopped=bool(stopped))
        if asked.id is not None and is_foreign_turn(ended, turn.digests, turn.newer_than):
            raise foreign_turn(ended)
        return ended

    def _stop_what_was_started(self, starter: RunStarter) -> None:
        try:
            found = self.run(starter.going_on(lag=KILL_LAG))
        except XpanderError as error:
            self.log.error("%s A run that may have been started could not be looked for.", error)
            return
        stop_runs(self, self.log, found, digests=starter.identity.digests)

    def _stop(self, turn: Turn) -> list[Task]:
        return stop_runs(
            self, self.log, [turn.xpander_task_id], digests=turn.digests, newer_than=turn.newer_than
        )


def _target(agent: str) -> Target:
    agent_id, _, version = agent.partition("@")
    return Target.agent(agent_id, version or None)


def _asked(request: ManagedAgentRequest) -> dict[str, Any]:
    options = dict(request.vendor_options)
    unknown = sorted(set(options) - OPTIONS - INPUT_OPTIONS)
    if unknown:
        raise XpanderValidationError(
            f"vendor_options: {', '.join(unknown)} cannot be given; allowed are "
            f"{', '.join(sorted(OPTIONS | INPUT_OPTIONS))}"
        )
    given = {name: options.pop(name) for name in INPUT_OPTIONS if name in options}
    text = request.prompt if request.prompt is not None else _text_of(request.messages or ())
    if not text.strip() and not given.get("files"):
        raise ManagedAgentRejected("The prompt is empty: say what the agent is to do")
    return {**options, "input": {"text": text, **given}, "id": request.session_id}


def _text_of(messages: Any) -> str:
    """Return messages as one text: the service takes no others."""
    texts = []
    for message in messages:
        content = message.get("content")
        parts = [content] if isinstance(content, str) else content
        if not isinstance(parts, list) or not all(
            isinstance(part, str) or (isinstance(part, Mapping) and part.get("type") == "text")
            for part in parts
        ):
            raise XpanderValidationError("messages: only texts can be sent; give files in vendor_options")
        text = "\n".join(part if isinstance(part, str) else str(part.get("text") or "") for part in parts)
        texts.append((str(message.get("role") or "user"), text))
    return texts[0][1] if len(texts) == 1 else "\n\n".join(f"{role}: {text}" for role, text in texts)


def _identity() -> Identity:
    """Return an identity for this call alone: a retry of the calling agent may ask something else."""
    dag_id, run_id, task_id = (
        os.environ.get(f"AIRFLOW_CTX_{name}", "") for name in ("DAG_ID", "DAG_RUN_ID", "TASK_ID")
    )
    # A blank, which no id of a task has: a task that runs agents itself does not take it for its own run.
    return Identity(dag_id, run_id, f"{task_id} call {uuid4().hex[:12]}", -1, 1)


@contextmanager
def _sorted_errors() -> Iterator[None]:
    """Sort errors into the three classes of the contract."""
    try:
        yield
    except XpanderAnswerInvalid as error:
        raise ManagedAgentRejected(str(error)) from error
    except (XpanderAuthError, XpanderNotFoundError, XpanderBillingError, XpanderTaskStopped) as error:
        raise ManagedAgentInvocationError(str(error)) from error
    except XpanderTaskFailed as error:
        if error.status != TaskStatus.FAILED:
            raise  # it ended with an error, which may pass
        raise ManagedAgentRejected(str(error)) from error
    except XpanderValidationError as error:
        # With a status it is the service's word about the input, without one ours about an option.
        kind = ManagedAgentInvocationError if error.status_code is None else ManagedAgentRejected
        raise kind(str(error)) from error
