"""What follows from the end of a wait: the answer, a failure, a question to a person, or a further wait."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_xpander._compat import AirflowSkipException, Context
from airflow_provider_xpander.api.errors import XpanderError, XpanderTaskStopped
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.operators.custody import Custody
from airflow_provider_xpander.operators.observed import XpanderObservedOperator
from airflow_provider_xpander.runs.answer import XpanderAnswerInvalid
from airflow_provider_xpander.runs.error_policy import PASSING
from airflow_provider_xpander.runs.log.status_log import StatusReport, recap, told_of
from airflow_provider_xpander.runs.task_errors import account, paused, timed_out
from airflow_provider_xpander.runs.watch import BACKSTOP, End, Over, Watch
from airflow_provider_xpander.xcom import publish, publish_summary

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger


class XpanderConcludingOperator(XpanderObservedOperator):
    """Base of the operators, with what follows from the end of a wait."""

    _report: StatusReport
    """The log of the wait, of this process."""

    def _conclude(
        self, context: Context, custody: Custody, watch: Watch, over: Over, deadline: float | None
    ) -> Any:
        self._seen = over.task or self._seen
        if over.end is End.TIMEOUT:
            return self._late(context, custody, watch, over.task)
        if over.task is None or over.end is End.ERROR:
            raise over.error or XpanderError(
                f"The wait for xpander task {watch.task_id} ended without a reason"
            )
        if over.end is End.PAUSED:
            self._report(over.task)
            self._publish_summary(context, over.task)
            if over.task.status is not TaskStatus.PAUSED:
                self.log.info("The run has gone on meanwhile")
                agent_id = custody.held.target_id
                self._defer(self._trigger(over.task, agent_id, deadline, watch.newer_than))
            return self._paused(context, custody, watch, over.task, deadline)
        return self._finish(context, over.task, custody, deadline)

    def _paused(
        self, context: Context, custody: Custody, watch: Watch, task: Task, deadline: float | None
    ) -> Any:
        """Decide what becomes of the task of a run that is paused and not to be waited for."""
        raise paused(task)

    def _late(self, context: Context, custody: Custody, watch: Watch, seen: Task | None) -> Any:
        stopped: bool | None = None
        if self.on_timeout == "stop":
            last = custody.stop_late(watch)
            stopped = last is not None
            seen = last or seen
        custody.held.settled = True
        if seen is None:
            with suppress(XpanderError):
                seen = custody.hook.get_task(watch.task_id)
        if seen is not None and watch.has_ended(seen) and seen.status is TaskStatus.COMPLETED:
            self.log.info("xpander task %s completed just before it was to be stopped", seen.id)
            return self._finish(context, seen)
        if seen is not None:
            self._seen = seen
            self.log.info("xpander task %s %s", seen.id, recap(seen))
            self._publish_summary(context, seen)
            if watch.has_ended(seen):
                self._observe(context, seen)
        raise timed_out(watch.task_id, seen.status.value if seen else None, self.timeout, stopped)

    def _publish_summary(self, context: Context, task: Task) -> None:
        publish_summary(context["ti"], task, repaired=self.on_invalid == "repair")

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
        self._observe(context, task)
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

    def _watch(
        self,
        task_id: str,
        poll_interval: float,
        deadline: float | None,
        newer_than: float | None,
        asked: str | None = None,
    ) -> Watch:
        return Watch(task_id, poll_interval, deadline, self.on_paused, newer_than, asked=asked)

    def _look_or_wait_on(
        self,
        hook: XpanderHook,
        task_id: str,
        agent_id: str | None,
        deadline: float | None,
        newer_than: float | None,
        asked: str | None = None,
    ) -> Task:
        """Read a run that goes on; where the service is away for the moment, defer again."""
        try:
            return hook.get_task_patiently(task_id)
        except PASSING as error:
            self.log.warning("%s The wait goes on.", error)
            self._defer(self._trigger(Task(id=task_id), agent_id, deadline, newer_than, asked))

    def _defer(
        self, trigger: XpanderTaskTrigger, method: str = "execute_complete", **kwargs: Any
    ) -> NoReturn:
        """Wait in the triggerer; Airflow's own limit lies behind the deadline, because it asks nobody."""
        left = None if trigger.deadline is None else trigger.deadline - time.time() + BACKSTOP
        self.defer(
            trigger=trigger,
            method_name=method,
            kwargs={"newer_than": trigger.newer_than, "deadline": trigger.deadline, **kwargs},
            timeout=None if left is None else timedelta(seconds=max(1.0, left)),
        )

    def _trigger(
        self,
        task: Task,
        agent_id: str | None,
        deadline: float | None,
        newer_than: float | None,
        asked: str | None = None,
    ) -> XpanderTaskTrigger:
        from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

        return XpanderTaskTrigger(
            xpander_task_id=task.id,
            agent_id=agent_id,
            xpander_conn_id=self.xpander_conn_id,
            poll_interval=self.poll_interval,
            deadline=deadline,
            on_paused=self.on_paused,
            on_kill_action=self.on_kill_action,
            newer_than=newer_than,
            created=task.created_at.timestamp() if task.created_at else None,
            asked=asked,
            told=told_of(task),
        )
