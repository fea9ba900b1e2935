"""Asking a person in Airflow what to do about a paused run (``on_paused="ask"``), and doing it."""

from __future__ import annotations

import time
from typing import Any

from airflow_provider_xpander._compat import AirflowFailException, AirflowSkipException, Context
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.operators.custody import Custody
from airflow_provider_xpander.operators.invoke import XpanderInvokeOperator
from airflow_provider_xpander.required_actions import ask_person
from airflow_provider_xpander.runs.log.status_log import recap
from airflow_provider_xpander.runs.question import OPTIONS, Choice, choice_of, question_about
from airflow_provider_xpander.runs.task_errors import pause_of
from airflow_provider_xpander.runs.watch import Again, Watch


class XpanderAskingOperator(XpanderInvokeOperator):
    """
    Base of the operators, with what ``on_paused="ask"`` adds.

    The task asks, and is deferred on a trigger that waits for the answer and watches the run. So it notices a
    run that goes on by itself, and all that holds for deferred tasks holds: deadline, kill, restart.
    """

    def execute_answered(
        self,
        context: Context,
        event: Any,
        xpander_task_id: str,
        agent_id: str | None = None,
        asked: str | None = None,
        newer_than: float | None = None,
        deadline: float | None = None,
    ) -> Any:
        """Take up the task again when somebody has answered, or when the wait is over without."""
        choice = choice_of(event)
        if choice is None:
            return self.execute_complete(context, event, newer_than, deadline)
        with self._resumed(context, xpander_task_id, agent_id) as (hook, custody):
            watch = self._watch(xpander_task_id, self.poll_interval, deadline, newer_than, asked)
            if choice.stop:
                return self._stop_as_answered(context, custody, watch, choice)
            self.log.info("%s has answered to keep waiting", choice.by or "Somebody")
            task = self._look_or_wait_on(hook, xpander_task_id, agent_id, deadline, newer_than, watch.asked)
            self.log.info("While deferred: xpander task %s %s", task.id, recap(task))
            over = watch.after_task(task, time.time())
            if isinstance(over, Again):
                self._defer(self._trigger(task, agent_id, deadline, newer_than, watch.asked))
            return self._conclude(context, custody, watch, over, deadline)

    def _paused(
        self, context: Context, custody: Custody, watch: Watch, task: Task, deadline: float | None
    ) -> Any:
        if self.on_paused != "ask":
            return super()._paused(context, custody, watch, task, deadline)
        agent_id, asked = custody.held.target_id, pause_of(task)
        wait = self._trigger(task, agent_id, deadline, watch.newer_than, asked)
        link = custody.hook.settings.task_link(task_id=task.id, agent_id=agent_id)
        # Also where the question seems not to have been taken: it may be there, and be answered.
        more = {"xpander_task_id": task.id, "agent_id": agent_id, "asked": asked}
        if not self._ask(context, task, link):
            return self._defer(wait, "execute_answered", **more)
        from airflow_provider_xpander.triggers.asking import XpanderAskingTrigger

        wait = XpanderAskingTrigger(str(context["ti"].id), **wait.serialize()[1])
        return self._defer(wait, "execute_answered", **more)

    def _ask(self, context: Context, task: Task, link: str) -> bool:
        """Ask where Airflow shows what it needs from people; False if it does not take the question."""
        question = question_about(task, link)
        try:
            ask_person(context["ti"].id, subject=question.subject, body=question.body, options=OPTIONS)
        except Exception as error:  # whatever Airflow's API dies of, the run is not worth less for it
            self.log.warning("Nobody could be asked about the pause, so the wait goes on: %s", error)
            return False
        self.log.info("Asked in Airflow whether to keep waiting for xpander task %s or to stop it", task.id)
        return True

    def _stop_as_answered(self, context: Context, custody: Custody, watch: Watch, choice: Choice) -> Any:
        """Stop the run as somebody wanted, and end the task so that no retry starts it anew."""
        by = choice.by or "somebody"
        last = custody.stop_late(watch)
        if last is None:
            raise AirflowFailException(
                f"xpander task {watch.task_id} was to be stopped by {by}, and it could not be"
            )
        if watch.has_ended(last):
            if last.status is TaskStatus.COMPLETED:
                return self._finish(context, last)
            self._observe(context, last)
        self._publish_summary(context, last)
        said = f"xpander task {watch.task_id} was stopped by {by}, who was asked in Airflow"
        raise AirflowSkipException(said) if self.on_stopped == "skip" else AirflowFailException(said)
