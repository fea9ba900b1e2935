"""The flow that all invoke operators share: get hold of the run, wait, return its answer, leave no orphan."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import (
    DEFERRAL_ERRORS,
    Context,
    context_of_late_resumption,
    is_deferral_timeout,
    masked,
)
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.operators.answering import check_rendered_result_path
from airflow_provider_xpander.operators.concluding import XpanderConcludingOperator
from airflow_provider_xpander.operators.custody import Custody, on_kill
from airflow_provider_xpander.operators.links import LINK_KEY
from airflow_provider_xpander.operators.starter import RunStarter
from airflow_provider_xpander.operators.stopping import KILL_LAG, Held
from airflow_provider_xpander.operators.streaming import Streaming
from airflow_provider_xpander.runs.event import read_event
from airflow_provider_xpander.runs.log.status_log import StatusReport, recap
from airflow_provider_xpander.runs.timing import deadline_of
from airflow_provider_xpander.runs.watch import (
    RESUME_INTERVAL,
    RESUME_PATIENCE,
    Again,
    End,
    Over,
    poll_until_done,
)
from airflow_provider_xpander.task_instance import (
    failing_at_once,
    identity_of,
    note_run,
    noted_run,
    retries_left,
)
from airflow_provider_xpander.xcom import TASK_ID_KEY

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook


class XpanderInvokeOperator(XpanderConcludingOperator):
    """Base of the operators that run an agent or a workflow and return its answer."""

    def execute(self, context: Context) -> Any:
        """Start a run, or take over an earlier attempt's; wait for it here, or defer, or return its id."""
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        with XpanderHook(self.xpander_conn_id) as hook, failing_at_once():
            deadline = self._deadline(context)
            target = self.target()
            if self.wait_for_completion:
                check_rendered_result_path(self.result_path)
            self._held = held = Held(hook.settings, target.id)
            self._report = report = StatusReport(self.log, hook.settings)
            custody = self._custody(context, hook, held)
            starter = self._starter(context, custody, target, deadline)
            held.sign, held.search = str(starter.mark), partial(starter.going_on, lag=KILL_LAG)
            # What cannot be stored would lose the run when deferring.
            json.dumps(self._trigger(Task(id="none yet"), target.id, deadline, None).serialize()[1])
            self.log.info("Starting %s", target)
            stream = Streaming(hook, held, self.log, report, masked) if self.mode == "stream" else None
            with custody.while_starting(starter):
                task = starter.obtain(stream.submit if stream else self._submit(hook, deadline))
            held.task_id, self._seen = task.id, task
            if held.killed:
                self.on_kill()
            with custody.while_going_on(task.id):
                context["ti"].xcom_push(TASK_ID_KEY, task.id)
                note_run(context, starter.identity, task.id)
                link = hook.settings.task_link(task_id=task.id, agent_id=target.id)
                context["ti"].xcom_push(LINK_KEY, link)
                self.log.info("%s runs as xpander task %s (%s)", target, task.id, task.status.value)
                if not self.wait_for_completion:
                    return task.id
                return self._wait(context, custody, task, deadline, starter.newer_than, stream)

    def _wait(
        self,
        context: Context,
        custody: Custody,
        task: Task,
        deadline: float | None,
        newer_than: float | None,
        stream: Streaming | None = None,
    ) -> Any:
        """Wait for the end of a turn, by its stream, here, or deferred, and return its answer."""
        watch = self._watch(task.id, self.poll_interval, deadline, newer_than)
        over = watch.after_task(task, time.time())
        if isinstance(over, Again) and stream is not None:
            over = stream.follow(watch)
        if isinstance(over, Again) and self.deferrable:
            self._defer(self._trigger(task, custody.held.target_id, deadline, newer_than))
        if isinstance(over, Again):
            steps = poll_until_done(watch, report=self._report, waiting=self._report.waiting)
            over = custody.hook.run(steps)
        return self._conclude(context, custody, watch, over, deadline)

    def execute_complete(
        self, context: Context, event: Any, newer_than: float | None = None, deadline: float | None = None
    ) -> Any:
        """Take up the task again when the trigger has fired: fetch the answer, or fail."""
        found = read_event(event)
        task_id = found.xpander_task_id
        watch = self._watch(task_id, RESUME_INTERVAL, time.time() + RESUME_PATIENCE, newer_than)
        with self._resumed(context, task_id, found.agent_id) as (hook, custody):
            over = Over(found.end)
            if found.end is End.ERROR:
                failed = f"The wait for xpander task {task_id} failed: {found.message}"
                self.log.warning(failed)
                # Tells whether a retry makes sense, or that the run has ended.
                task = hook.get_task_patiently(task_id)
                if not watch.has_ended(task):
                    raise XpanderError(failed)
                over = Over(End.FINISHED, task)
            if found.end is End.FINISHED:
                over = Over(End.FINISHED, hook.poll_until_done(watch).fetched(task_id))
            elif found.end is End.PAUSED:
                task = self._look_or_wait_on(hook, task_id, found.agent_id, deadline, newer_than)
                over = Over(End.FINISHED if watch.has_ended(task) else End.PAUSED, task)
            if over.task is not None:
                self.log.info("While deferred: xpander task %s %s", task_id, recap(over.task))
            return self._conclude(context, custody, watch, over, deadline)

    @contextmanager
    def _resumed(
        self, context: Context, task_id: str, agent_id: str | None
    ) -> Iterator[tuple[XpanderHook, Custody]]:
        """Take the run into custody again, in another process than the one that has started it."""
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        self._held = held = Held(None, agent_id, task_id)
        hook = XpanderHook(self.xpander_conn_id)
        custody = self._custody(context, hook, held)
        with hook, failing_at_once(), custody.while_going_on(task_id):
            held.settings = hook.settings
            self._report = StatusReport(self.log, hook.settings)
            yield hook, custody

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where Airflow has given up the deferral, see to the run before the task fails."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except DEFERRAL_ERRORS as error:
            ended = self._given_up(context, late=is_deferral_timeout(error))
            if ended is None:
                raise
        with failing_at_once():
            return self._finish(context, ended)

    def on_kill(self) -> None:
        """Stop the run with one short call that needs nothing of Airflow."""
        if self._held is None:
            self._late_before_resumption()
        else:
            on_kill(self._held, self.log, self.on_kill_action)

    def _late_before_resumption(self) -> None:
        """See to the run where Airflow 2 ends a resumed task for its execution_timeout before it begins."""
        context = context_of_late_resumption()
        if context is not None:
            self._given_up(context, late=True)

    def _given_up(self, context: Context, *, late: bool) -> Task | None:
        """See to the run of a task whose deferral Airflow has ended; return it if it has completed."""
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        ti = context["ti"]
        task_id = ti.xcom_pull(task_ids=ti.task_id, key=TASK_ID_KEY, map_indexes=ti.map_index)
        if not task_id:
            self.log.error("Airflow has ended the wait, and the id of the run is not in XCom")
            return None
        with XpanderHook(self.xpander_conn_id) as hook:
            custody = self._custody(context, hook, Held(None, task_id=task_id))
            last = custody.see_to_late([task_id]) if late else custody.see_to(task_id)
        return last[0] if last and last[0].status is TaskStatus.COMPLETED else None

    def _custody(self, context: Context, hook: XpanderHook, held: Held) -> Custody:
        return Custody(
            hook=hook,
            held=held,
            log=self.log,
            on_kill_action=self.on_kill_action,
            on_timeout=self.on_timeout,
            reattach=self.reattach,
            retries_left=retries_left(context["ti"]),
        )

    def _starter(
        self, context: Context, custody: Custody, target: Target, deadline: float | None
    ) -> RunStarter:
        ti = context["ti"]
        identity = identity_of(ti, retries=self.retries, anew=self.reattach is False)
        return RunStarter(
            hook=custody.hook,
            log=self.log,
            target=target,
            request=custody.hook.prepare(self._request(context)),
            identity=identity,
            try_number=ti.try_number,
            since=getattr(context.get("dag_run"), "start_date", None),
            reattach=self.reattach,
            drop=custody.drop,
            noted=noted_run(context, identity),
            deadline=deadline,
        )

    def _submit(self, hook: XpanderHook, deadline: float | None) -> Callable[[Target, InvokeRequest], Task]:
        if self.mode != "sync":
            return hook.invoke_async

        def invoke(target: Target, request: InvokeRequest) -> Task:
            left = hook.settings.timeout if deadline is None else max(1.0, deadline - time.time())
            return hook.invoke_sync(target, request, timeout=min(hook.settings.timeout, left))

        return invoke

    def _deadline(self, context: Context) -> float | None:
        started = getattr(context["ti"], "start_date", None)
        return deadline_of(
            time.time(),
            timeout=self.timeout,
            execution_timeout=self.execution_timeout.total_seconds() if self.execution_timeout else None,
            started=started.timestamp() if started else None,
        )
