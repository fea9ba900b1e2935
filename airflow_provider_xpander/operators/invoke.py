"""The flow that all invoke operators share: get hold of the run, wait, return its answer, leave no orphan."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import (
    DEFERRAL_ERRORS,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    Context,
    TaskDeferred,
    context_of_late_resumption,
    is_deferral_timeout,
)
from airflow_provider_xpander.api.errors import XpanderError, XpanderTaskError, XpanderTaskStopped
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.failing import FINAL, failing_at_once
from airflow_provider_xpander.operators.base import XpanderRequestOperator
from airflow_provider_xpander.operators.starter import RunStarter
from airflow_provider_xpander.operators.stopping import Held, stop_and_tell, stop_quickly
from airflow_provider_xpander.runs.deadline import deadline_of
from airflow_provider_xpander.runs.event import read_event
from airflow_provider_xpander.runs.exit import Fate, fate_after_failure
from airflow_provider_xpander.runs.outcome import account, paused, timed_out
from airflow_provider_xpander.runs.report import StatusReport
from airflow_provider_xpander.runs.watch import (
    BACKSTOP,
    RESUME_INTERVAL,
    RESUME_PATIENCE,
    STOP_PATIENCE,
    Again,
    End,
    Over,
    Watch,
)
from airflow_provider_xpander.task_instance import identity_of, note_run, noted_run, retries_left
from airflow_provider_xpander.xcom import TASK_ID_KEY, publish, publish_summary

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook


class XpanderInvokeOperator(XpanderRequestOperator):
    """Base of the operators that run an agent or a workflow and return its answer."""

    _held: Held | None = None
    """What a kill needs: read once, because a kill may not ask Airflow for anything."""

    def execute(self, context: Context) -> Any:
        """Start a run, or take over an earlier attempt's; wait for it here, or defer, or return its id."""
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        with XpanderHook(self.xpander_conn_id) as hook, failing_at_once():
            deadline = self._deadline(context)
            starter = self._starter(context, hook, deadline)
            target = starter.target
            # What cannot be stored would lose the run when deferring.
            json.dumps(self._trigger(None, starter, deadline).serialize()[1])
            self._held = held = Held(hook.settings, sign=str(starter.mark))
            self.log.info("Starting %s", target)
            with self._no_lost_submit(hook, held, starter):
                task = starter.obtain(self._submit(hook, deadline))
            held.task_id = task.id
            if held.killed:
                self.on_kill()
            with self._no_orphan(context, hook, task.id):
                context["ti"].xcom_push(TASK_ID_KEY, task.id)
                note_run(context, starter.identity, task.id)
                self.log.info("%s runs as xpander task %s (%s)", target, task.id, task.status.value)
                if not self.wait_for_completion:
                    return task.id
                watch = self._watch(task.id, self.poll_interval, deadline, starter.newer_than)
                over = watch.after_task(task, time.time())
                if isinstance(over, Again) and self.deferrable:
                    self.defer(
                        trigger=self._trigger(task, starter, deadline),
                        method_name="execute_complete",
                        kwargs={"newer_than": starter.newer_than},
                        timeout=None
                        if deadline is None
                        else timedelta(seconds=deadline - time.time() + BACKSTOP),
                    )
                if isinstance(over, Again):
                    over = hook.follow(watch, StatusReport(self.log))
                return self._conclude(context, hook, watch, over)

    def execute_complete(self, context: Context, event: Any, newer_than: float | None = None) -> Any:
        """Take up the task again when the trigger has fired: fetch the answer, or fail."""
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        found = read_event(event)
        task_id = found.xpander_task_id
        watch = self._watch(task_id, RESUME_INTERVAL, time.time() + RESUME_PATIENCE, newer_than)
        hook = XpanderHook(self.xpander_conn_id)
        with hook, failing_at_once(), self._no_orphan(context, hook, task_id):
            self._held = Held(hook.settings, task_id=task_id)
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
            return self._conclude(context, hook, watch, over)

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
        held = self._held
        if held is None:
            self._late_before_resumption()
            return
        held.killed = True
        if held.settled:
            return
        if held.task_id is None:
            self.log.warning(
                "Killed while a run was being started; if there is one, its title has %s", held.sign
            )
        elif self.on_kill_action == "leave":
            self.log.info("Killed; xpander task %s goes on, as on_kill_action says", held.task_id)
        else:
            stop_quickly(held, self.log)

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
            if not late:
                last = self._see_to(context, hook, task_id)
            elif self.on_timeout == "stop":
                last = stop_and_tell(hook, self.log, [task_id])
            else:
                last = []
                self.log.warning(
                    "Airflow has ended the wait; xpander task %s goes on, as on_timeout says", task_id
                )
        return last[0] if last and last[0].status is TaskStatus.COMPLETED else None

    @contextmanager
    def _no_lost_submit(self, hook: XpanderHook, held: Held, starter: RunStarter) -> Iterator[None]:
        """See to a run whose id is not known yet if the attempt is ended while it is being started."""
        try:
            yield
        except BaseException as error:  # Airflow 2 ends a killed task with one that is no Exception
            late = isinstance(error, AirflowTaskTimeout)
            if late or held.killed:
                held.settled = True
                action = self.on_timeout if late else self.on_kill_action
                found = starter.find_quickly()
                if not found:
                    self.log.warning("No run with %s in its title is in sight; it may show later", held.sign)
                elif action == "stop":
                    stop_and_tell(hook, self.log, found)
                else:
                    self.log.warning("xpander task %s goes on, as it was asked to", ", ".join(found))
            raise

    @contextmanager
    def _no_orphan(self, context: Context, hook: XpanderHook, task_id: str) -> Iterator[None]:
        """See to the run if the task fails while it goes on."""
        try:
            yield
        except (TaskDeferred, XpanderTaskError, AirflowSkipException):
            raise  # the run is being waited for, or its end or fate was decided
        except AirflowTaskTimeout:
            if not self._is_settled():
                if self.on_timeout == "stop":
                    stop_and_tell(hook, self.log, [task_id])
                else:
                    self.log.warning("xpander task %s goes on, as on_timeout says", task_id)
                self._settle()  # Airflow calls on_kill next
            raise
        except Exception as error:  # whatever it is, the task fails and the run goes on
            if not self._is_settled():
                final = isinstance(error, (*FINAL, AirflowFailException))
                self._see_to(context, hook, task_id, final=final)
                self._settle()
            raise

    def _is_settled(self) -> bool:
        return self._held is not None and self._held.settled

    def _settle(self) -> None:
        if self._held is not None:
            self._held.settled = True

    def _see_to(
        self, context: Context, hook: XpanderHook, task_id: str, *, final: bool = False
    ) -> list[Task]:
        fate = fate_after_failure(
            retries_left=retries_left(context["ti"]) and not final,
            reattach=self.reattach is not False,
            action=self.on_kill_action,  # type: ignore[arg-type]
        )
        if fate is Fate.STOP:
            return stop_and_tell(hook, self.log, [task_id])
        if fate is Fate.KEEP:
            self.log.warning("xpander task %s goes on; the next attempt takes it over", task_id)
        else:
            self.log.warning("xpander task %s goes on, as on_kill_action says", task_id)
        return []

    def _conclude(self, context: Context, hook: XpanderHook, watch: Watch, over: Over) -> Any:
        if over.end is End.TIMEOUT:
            return self._late(context, hook, watch, over.task)
        if over.task is None or over.end is End.ERROR:
            raise over.error or XpanderError(
                f"The wait for xpander task {watch.task_id} ended without a reason"
            )
        if over.end is End.PAUSED:
            publish_summary(context["ti"], over.task)
            raise paused(over.task)
        return self._finish(context, over.task)

    def _late(self, context: Context, hook: XpanderHook, watch: Watch, seen: Task | None) -> Any:
        stopped: bool | None = None
        if self.on_timeout == "stop":
            last = stop_and_tell(hook, self.log, [watch.task_id])
            self._settle()
            stopped = bool(last)
            seen = self._last_of(hook, watch, last[0]) if last else seen
        self._settle()
        if seen is not None and watch.has_ended(seen) and seen.status is TaskStatus.COMPLETED:
            self.log.info("xpander task %s completed just before it was to be stopped", seen.id)
            return self._finish(context, seen)
        if seen is not None:
            publish_summary(context["ti"], seen)
        raise timed_out(watch.task_id, seen.status.value if seen else None, self.timeout, stopped)

    def _last_of(self, hook: XpanderHook, watch: Watch, stopped: Task) -> Task:
        """See how a run ends that was stopped, for a moment: it may complete first."""
        if watch.has_ended(stopped):
            return stopped
        end = self._watch(watch.task_id, 1.0, time.time() + STOP_PATIENCE, watch.newer_than)
        return hook.follow(end).task or stopped

    def _finish(self, context: Context, task: Task) -> Any:
        self._settle()
        wants_json = self.output_format == "json" or self.output_schema is not None
        self.log.info(account(task))
        try:
            return publish(context["ti"], task, wants_json=wants_json)
        except XpanderTaskStopped as error:
            if self.on_stopped == "skip":
                raise AirflowSkipException(str(error)) from error
            raise

    def _starter(self, context: Context, hook: XpanderHook, deadline: float | None) -> RunStarter:
        ti = context["ti"]
        identity = identity_of(ti, retries=self.retries, anew=self.reattach is False)
        return RunStarter(
            hook=hook,
            log=self.log,
            target=self.target(),
            request=hook.prepare(self._request(context)),
            identity=identity,
            try_number=ti.try_number,
            since=getattr(context.get("dag_run"), "start_date", None),
            reattach=self.reattach,
            drop=lambda ids: self._drop(hook, ids),
            noted=noted_run(context, identity),
            deadline=deadline,
        )

    def _drop(self, hook: XpanderHook, task_ids: Sequence[str]) -> None:
        if self.on_kill_action == "stop":
            stop_and_tell(hook, self.log, task_ids)
        else:
            self.log.warning("xpander task %s goes on, as on_kill_action says", ", ".join(task_ids))

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
        return Watch(task_id, poll_interval, deadline, self.on_paused, newer_than)  # type: ignore[arg-type]

    def _deadline(self, context: Context) -> float | None:
        started = getattr(context["ti"], "start_date", None)
        return deadline_of(
            time.time(),
            timeout=self.timeout,
            execution_timeout=self.execution_timeout.total_seconds() if self.execution_timeout else None,
            started=started.timestamp() if started else None,
        )

    def _trigger(self, task: Task | None, starter: RunStarter, deadline: float | None) -> Any:
        from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

        return XpanderTaskTrigger(
            xpander_task_id=task.id if task else "",
            agent_id=starter.target.id,
            xpander_conn_id=self.xpander_conn_id,
            poll_interval=self.poll_interval,
            deadline=deadline,
            on_paused=self.on_paused,  # type: ignore[arg-type]
            on_kill_action=self.on_kill_action,  # type: ignore[arg-type]
            newer_than=starter.newer_than,
            created=task.created_at.timestamp() if task and task.created_at else None,
        )
