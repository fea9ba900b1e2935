"""The flow that all invoke operators share: get hold of the run, wait, return its answer, leave no orphan."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_xpander._compat import (
    DEFERRAL_ERRORS,
    AirflowSkipException,
    Context,
    context_of_late_resumption,
    is_deferral_timeout,
)
from airflow_provider_xpander.api.errors import (
    XpanderError,
    XpanderTaskStopped,
)
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.failing import failing_at_once
from airflow_provider_xpander.operators.answering import check_result_path
from airflow_provider_xpander.operators.base import XpanderRequestOperator
from airflow_provider_xpander.operators.custody import Custody, on_kill
from airflow_provider_xpander.operators.starter import RunStarter
from airflow_provider_xpander.operators.stopping import Held
from airflow_provider_xpander.runs.answer import XpanderAnswerInvalid
from airflow_provider_xpander.runs.deadline import deadline_of
from airflow_provider_xpander.runs.event import read_event
from airflow_provider_xpander.runs.outcome import account, paused, timed_out
from airflow_provider_xpander.runs.report import StatusReport
from airflow_provider_xpander.runs.watch import (
    BACKSTOP,
    RESUME_INTERVAL,
    RESUME_PATIENCE,
    Again,
    End,
    Over,
    Watch,
)
from airflow_provider_xpander.task_instance import identity_of, note_run, noted_run, retries_left
from airflow_provider_xpander.xcom import (
    TASK_ID_KEY,
    publish,
    publish_summary,
)

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger


class XpanderInvokeOperator(XpanderRequestOperator):
    """Base of the operators that run an agent or a workflow and return its answer."""

    _held: Held | None = None
    """What a kill needs: read once, because a kill may not ask Airflow for anything."""

    def execute(self, context: Context) -> Any:
        """Start a run, or take over an earlier attempt's; wait for it here, or defer, or return its id."""
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        with XpanderHook(self.xpander_conn_id) as hook, failing_at_once():
            deadline = self._deadline(context)
            target = self.target()
            self._check_result_path()
            self._held = held = Held(hook.settings, target.id)
            custody = self._custody(context, hook, held)
            starter = self._starter(context, custody, target, deadline)
            held.sign = str(starter.mark)
            # What cannot be stored would lose the run when deferring.
            json.dumps(self._trigger("", target.id, deadline, None).serialize()[1])
            self.log.info("Starting %s", target)
            with custody.while_starting(starter):
                task = starter.obtain(self._submit(hook, deadline))
            held.task_id = task.id
            if held.killed:
                self.on_kill()
            with custody.while_going_on(task.id):
                context["ti"].xcom_push(TASK_ID_KEY, task.id)
                note_run(context, starter.identity, task.id)
                self.log.info("%s runs as xpander task %s (%s)", target, task.id, task.status.value)
                if not self.wait_for_completion:
                    return task.id
                return self._wait(context, custody, task, deadline, starter.newer_than)

    def _wait(
        self,
        context: Context,
        custody: Custody,
        task: Task,
        deadline: float | None,
        newer_than: float | None,
    ) -> Any:
        """Wait for the end of a turn, here or deferred, and return its answer."""
        watch = self._watch(task.id, self.poll_interval, deadline, newer_than)
        over = watch.after_task(task, time.time())
        if isinstance(over, Again) and self.deferrable:
            self._defer(self._trigger(task.id, custody.held.target_id, deadline, newer_than))
        if isinstance(over, Again):
            over = custody.hook.follow(watch, StatusReport(self.log))
        return self._conclude(context, custody, watch, over, deadline)

    def execute_complete(
        self, context: Context, event: Any, newer_than: float | None = None, deadline: float | None = None
    ) -> Any:
        """Take up the task again when the trigger has fired: fetch the answer, or fail."""
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        found = read_event(event)
        task_id = found.xpander_task_id
        watch = self._watch(task_id, RESUME_INTERVAL, time.time() + RESUME_PATIENCE, newer_than)
        self._held = held = Held(None, found.agent_id, task_id)
        hook = XpanderHook(self.xpander_conn_id)
        custody = self._custody(context, hook, held)
        with hook, failing_at_once(), custody.while_going_on(task_id):
            held.settings = hook.settings
            over = Over(found.end)
            if found.end is End.ERROR:
                failed = f"The wait for xpander task {task_id} failed: {found.message}"
                self.log.warning(failed)
                task = hook.look(task_id)  # tells whether a retry makes sense, or that the run has ended
                if not watch.has_ended(task):
                    raise XpanderError(failed)
                over = Over(End.FINISHED, task)
            if found.end is End.FINISHED:
                over = hook.follow(watch)
                if over.end is not End.FINISHED:
                    raise over.error or XpanderError(
                        f"xpander task {task_id} has ended, but its answer could not be fetched"
                    )
            elif found.end is End.PAUSED:
                task = hook.look(task_id)
                over = Over(End.FINISHED if watch.has_ended(task) else End.PAUSED, task)
            return self._conclude(context, custody, watch, over, deadline)

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

    def _conclude(
        self, context: Context, custody: Custody, watch: Watch, over: Over, deadline: float | None
    ) -> Any:
        if over.end is End.TIMEOUT:
            return self._late(context, custody, watch, over.task)
        if over.task is None or over.end is End.ERROR:
            raise over.error or XpanderError(
                f"The wait for xpander task {watch.task_id} ended without a reason"
            )
        if over.end is End.PAUSED:
            publish_summary(context["ti"], over.task)
            raise paused(over.task)
        return self._finish(context, over.task, custody, deadline)

    def _late(self, context: Context, custody: Custody, watch: Watch, seen: Task | None) -> Any:
        stopped: bool | None = None
        if self.on_timeout == "stop":
            last = custody.stop_late(watch)
            stopped = last is not None
            seen = last or seen
        custody.held.settled = True
        if seen is not None and watch.has_ended(seen) and seen.status is TaskStatus.COMPLETED:
            self.log.info("xpander task %s completed just before it was to be stopped", seen.id)
            return self._finish(context, seen)
        if seen is not None:
            publish_summary(context["ti"], seen)
        raise timed_out(watch.task_id, seen.status.value if seen else None, self.timeout, stopped)

    def _finish(
        self, context: Context, task: Task, custody: Custody | None = None, deadline: float | None = None
    ) -> Any:
        """
        Return the answer of a run that has ended, or fail.

        :param custody: with which the run can be waited for again; None where the wait was ended.
        :param deadline: Unix seconds at which that wait ends, or None.
        """
        if self._held is not None:
            self._held.settled = True
        self.log.info(account(task))
        try:
            return publish(context["ti"], task, self._answer_rules(), log=self.log)
        except XpanderAnswerInvalid as error:
            return self._invalid(context, task, error, custody, deadline)
        except XpanderTaskStopped as error:
            if self.on_stopped == "skip":
                raise AirflowSkipException(str(error)) from error
            raise

    def _invalid(
        self,
        context: Context,
        task: Task,
        error: XpanderAnswerInvalid,
        custody: Custody | None,
        deadline: float | None,
    ) -> Any:
        """Decide what becomes of an answer that is not what was asked for."""
        raise error

    def _check_result_path(self) -> None:
        """See that an answer has a place to go to, before it is paid for."""
        check_result_path(self.result_path)
        if self.result_path is not None and self.wait_for_completion:
            from airflow_provider_xpander.storage import check_place

            check_place(self.result_path)

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

    def _watch(
        self, task_id: str, poll_interval: float, deadline: float | None, newer_than: float | None
    ) -> Watch:
        return Watch(task_id, poll_interval, deadline, self.on_paused, newer_than)

    def _deadline(self, context: Context) -> float | None:
        started = getattr(context["ti"], "start_date", None)
        return deadline_of(
            time.time(),
            timeout=self.timeout,
            execution_timeout=self.execution_timeout.total_seconds() if self.execution_timeout else None,
            started=started.timestamp() if started else None,
        )

    def _defer(self, trigger: XpanderTaskTrigger) -> NoReturn:
        """Wait in the triggerer; Airflow's own limit lies behind the deadline, because it asks nobody."""
        left = None if trigger.deadline is None else trigger.deadline - time.time() + BACKSTOP
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            kwargs={"newer_than": trigger.newer_than, "deadline": trigger.deadline},
            timeout=None if left is None else timedelta(seconds=max(1.0, left)),
        )

    def _trigger(
        self, task_id: str, agent_id: str | None, deadline: float | None, newer_than: float | None
    ) -> XpanderTaskTrigger:
        from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

        return XpanderTaskTrigger(
            xpander_task_id=task_id,
            agent_id=agent_id,
            xpander_conn_id=self.xpander_conn_id,
            poll_interval=self.poll_interval,
            deadline=deadline,
            on_paused=self.on_paused,
            on_kill_action=self.on_kill_action,
            newer_than=newer_than,
        )
