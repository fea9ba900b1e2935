"""The entry points of Airflow into the operators: run, resume, give up, kill; and what lineage asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow_provider_xpander._compat import (
    DEFERRAL_ERRORS,
    Context,
    is_deferral_timeout,
    masked,
)
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.operators.arguments import check_rendered_result_path
from airflow_provider_xpander.operators.base import XpanderRequestOperator
from airflow_provider_xpander.operators.early_end import give_up, kill

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.operators.approval import Approval
    from airflow_provider_xpander.operators.attempt import Attempt
    from airflow_provider_xpander.operators.run_guard import RunGuard
    from airflow_provider_xpander.operators.streaming import Streaming
    from airflow_provider_xpander.runs.deferral import Wait
    from airflow_provider_xpander.runs.identity import Identity
    from airflow_provider_xpander.runs.thread import ThreadBusy
    from airflow_provider_xpander.task_instance import failing_at_once


class XpanderInvokeOperator(XpanderRequestOperator):
    """Base of the operators that run an agent or a workflow and return its answer."""

    _attempt: Attempt | None = None
    """The attempt of this process, for a kill and for lineage."""

    def execute(self, context: Context) -> Any:
        """
        Start a run, or take over an earlier attempt's; wait for it here, or defer, or return its id.

        :param context: that of the task instance.
        """
        return self._execute(context, None)

    def execute_on_thread(
        self, context: Context, event: Any, newer_than: float | None = None, deadline: float | None = None
    ) -> Any:
        """
        Take up the task again when the turn before its own has ended, and start that.

        :param context: that of the task instance.
        :param event: that of the trigger; the thread is read again in any case.
        :param newer_than: not used.
        :param deadline: Unix seconds up to which a busy thread is waited for.
        """
        return self._execute(context, deadline)

    def _execute(self, context: Context, busy_until: float | None) -> Any:
        from airflow_provider_xpander.api.models import Task
        from airflow_provider_xpander.hooks.xpander import XpanderHook
        from airflow_provider_xpander.operators.starter import RunStarter
        from airflow_provider_xpander.runs.deferral import Wait
        from airflow_provider_xpander.runs.thread import ThreadBusy
        from airflow_provider_xpander.task_instance import check_own_task, note_run, note_turn
        from airflow_provider_xpander.xcom import TASK_ID_KEY, push_link

        self.operator_extra_links = ()  # the link is stored once the run is known, see links.py
        with XpanderHook(self.xpander_conn_id) as hook, self._failing():
            check_own_task(context["ti"], self.task_id)
            self._keep_texts(context)
            target = self.target()
            if self.wait_for_completion:
                check_rendered_result_path(self.result_path)
            self._attempt = attempt = self._attempt_with(context, self._guard_at(context, hook, target.id))
            attempt.connect()
            if self.deferrable:
                # What cannot be stored would lose the run when deferring.
                unknown = Wait("none yet", target.id)
                json.dumps(attempt.trigger_arguments(unknown, Task(id=unknown.task_id)))
            starter = RunStarter.of(self, context, attempt, busy_until)
            self.log.info("Starting %s", target)
            stream = self._stream(attempt)
            try:
                task = attempt.start(starter, stream.submit if stream else starter.invoke)
            except ThreadBusy as busy:
                self._defer_on_thread(attempt, busy)
            with attempt.guard.while_going_on():
                context["ti"].xcom_push(TASK_ID_KEY, task.id)
                note_run(context, starter.identity, task.id)
                push_link(context["ti"], hook.settings.task_link(task_id=task.id, agent_id=target.id))
                self.log.info("%s runs as xpander task %s (%s)", target, task.id, task.status.value)
                if not self.wait_for_completion:
                    if self.thread_id:
                        note_turn(context["ti"], starter.turn(task))
                    return task.id
                wait = Wait(task.id, target.id, starter.run_deadline, starter.newer_than)
                return attempt.finish(wait, attempt.wait(wait, task, stream))

    def execute_complete(
        self, context: Context, event: Any, newer_than: float | None = None, deadline: float | None = None
    ) -> Any:
        """
        Take up the task again when the trigger has fired: fetch the answer, or fail.

        :param context: that of the task instance.
        :param event: that of the trigger.
        :param newer_than: Unix seconds at which the thread's turn before ended.
        :param deadline: Unix seconds at which the run has to have ended.
        """
        from airflow_provider_xpander.runs.deferral import decision_of, read_event, wait_of

        kept = {"newer_than": newer_than, "deadline": deadline}
        if decision_of(event) is not None:
            from airflow_provider_xpander.operators.question import disregard

            run = {"xpander_task_id": self._id_in_xcom(context), "agent_id": self.target().id}
            wait = wait_of(event, **kept, **run)
            with self._failing(), self._resumed(context, wait) as attempt:
                return disregard(attempt, wait)
        found, wait = read_event(event), wait_of(event, **kept)
        with self._failing(), self._resumed(context, wait) as attempt:
            return attempt.finish(wait, attempt.resume(wait, found))

    def execute_answered(
        self,
        context: Context,
        event: Any,
        xpander_task_id: str | None = None,
        agent_id: str | None = None,
        asked: str | None = None,
        newer_than: float | None = None,
        deadline: float | None = None,
    ) -> Any:
        """
        Take up the task again when a person has chosen, or when the wait is over without.

        :param context: that of the task instance.
        :param event: that of the trigger, or what a person has chosen.
        :param xpander_task_id: the run.
        :param agent_id: the agent or workflow that runs it.
        :param asked: the pause that the question was about.
        :param newer_than: as for :meth:`execute_complete`.
        :param deadline: as for :meth:`execute_complete`.
        """
        from airflow_provider_xpander.runs.deferral import choice_of, wait_of

        choice = choice_of(event)
        if choice is None:
            return self.execute_complete(context, event, newer_than, deadline)
        from airflow_provider_xpander.operators.question import obey

        wait = wait_of(
            event,
            xpander_task_id=xpander_task_id or self._id_in_xcom(context),
            agent_id=agent_id,
            deadline=deadline,
            newer_than=newer_than,
            asked=asked,
        )
        with self._failing(), self._resumed(context, wait) as attempt:
            return attempt.finish(wait, obey(choice, attempt, wait))

    def execute_decided(
        self,
        context: Context,
        event: Any,
        xpander_task_id: str | None = None,
        agent_id: str | None = None,
        newer_than: float | None = None,
        deadline: float | None = None,
    ) -> Any:
        """
        Take up the task again when a person has decided about the answer, or when the time for that is up.

        :param context: that of the task instance.
        :param event: what was decided, or that the time is up.
        :param xpander_task_id: the run.
        :param agent_id: the agent or workflow that runs it.
        :param newer_than: as for :meth:`execute_complete`.
        :param deadline: Unix seconds up to which somebody had to decide.
        """
        from airflow_provider_xpander.operators.approval import deadline_of_next_turn
        from airflow_provider_xpander.runs.deferral import Wait, decision_of

        task_id, agent_id = xpander_task_id or self._id_in_xcom(context), agent_id or self.target().id
        wait = Wait(str(task_id), agent_id, deadline_of_next_turn(self, context), newer_than)
        with self._failing(), self._resumed(context, wait) as attempt:
            cast("Approval", attempt.approval).take(decision_of(event), deadline)
            task = attempt.hook.get_task_patiently(wait.task_id)
            return attempt.finish(wait, attempt.wait(wait, task))

    @contextmanager
    def _resumed(self, context: Context, wait: Wait) -> Iterator[Attempt]:
        """Take responsibility for the run again, in another process than the one that has started it."""
        from airflow_provider_xpander.hooks.xpander import XpanderHook
        from airflow_provider_xpander.xcom import pull_approval

        with XpanderHook(self.xpander_conn_id) as hook:
            guard = self._guard_at(context, hook, wait.agent_id)
            guard.state.started(wait.task_id, wait.newer_than)
            with guard.while_going_on():  # whatever goes wrong from here on, the run is there
                self._keep_texts(context)
                self._attempt = attempt = self._attempt_with(context, guard)
                if attempt.approval is not None:
                    attempt.approval.kept = pull_approval(context["ti"])
                attempt.connect()
                yield attempt

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Resume; where Airflow has given up the deferral, see to the run before the task fails.

        :param next_method: name of the method that resumes, or Airflow's word for a failure.
        :param next_kwargs: its arguments.
        :param context: that of the task instance.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except DEFERRAL_ERRORS as error:
            given_up = give_up(self, context, late=is_deferral_timeout(error))
            completed = [run for run in given_up[1] if run.status is TaskStatus.COMPLETED] if given_up else []
            if not given_up or not completed:
                raise
        from airflow_provider_xpander.runs.deferral import Wait
        from airflow_provider_xpander.runs.watch import End, Over

        with self._failing():
            attempt = self._attempt_with(context, given_up[0])
            return attempt.finish(Wait(completed[0].id), Over(End.FINISHED, completed[0]))

    def on_kill(self) -> None:
        """Stop the run with one short call that needs nothing of Airflow."""
        kill(self, None if self._attempt is None else self._attempt.guard)

    def guard_again(self, context: Context, hook: XpanderHook) -> RunGuard | None:
        """
        Return the guard of the run that an earlier process has started, None if there is none.

        :param context: that of the task instance.
        :param hook: where to stop and look.
        """
        task_id = self._id_in_xcom(context)
        if not task_id and self.thread_id:
            self.log.warning("Thread %s was busy for too long. Nothing was started.", self.thread_id)
        elif not task_id:
            self.log.error("Airflow has ended the wait, and the id of the run is not in XCom")
        return self._guard_at(context, hook, None, task_id) if task_id else None

    def _stream(self, attempt: Attempt) -> Streaming | None:
        if self.mode != "stream":
            return None
        from airflow_provider_xpander.operators.streaming import Streaming

        return Streaming(attempt, masked)

    def _failing(self) -> failing_at_once:
        from airflow_provider_xpander.task_instance import failing_at_once

        return failing_at_once(log=self.log, link=self._link)

    def _link(self) -> str | None:
        return None if self._attempt is None else self._attempt.link

    def _id_in_xcom(self, context: Context) -> str | None:
        from airflow_provider_xpander.xcom import TASK_ID_KEY

        ti = context["ti"]
        found = ti.xcom_pull(task_ids=ti.task_id, key=TASK_ID_KEY, map_indexes=ti.map_index)
        return str(found) if found else None

    def _identity(self, context: Context) -> Identity:
        from airflow_provider_xpander.task_instance import identity_of

        return identity_of(context["ti"], retries=self.retries, anew=self.reattach is False)

    def _guard_at(
        self, context: Context, hook: XpanderHook, agent_id: str | None, task_id: str | None = None
    ) -> RunGuard:
        from airflow_provider_xpander.operators.run_guard import KillState, RunGuard

        state = KillState(agent_id, task_id)
        if self.killed:
            state.kill()
        return RunGuard.of(self, context, hook, self._identity(context), state)

    def _attempt_with(self, context: Context, guard: RunGuard) -> Attempt:
        from airflow_provider_xpander.operators.attempt import Attempt
        from airflow_provider_xpander.operators.repair import Repairs

        identity, hook = self._identity(context), guard.hook
        approval = None
        if self.approval_rules is not None:
            from airflow_provider_xpander.operators.approval import Approval

            approval = Approval.of(self.approval_rules, self, context)
        more_turns = self.on_invalid == "repair" or approval is not None
        repairs = Repairs.of(self, context, hook, identity) if more_turns else None
        return Attempt(context["ti"], hook, self.log, self._options(), guard, repairs, identity, approval)

    def _defer_on_thread(self, attempt: Attempt, busy: ThreadBusy) -> NoReturn:
        """Wait in the triggerer for the end of somebody else's turn, which is not ours to stop."""
        from airflow_provider_xpander.runs.deferral import Wait
        from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

        self.log.info("%s The triggerer waits for the end of its turn.", busy)
        wait = Wait(busy.task.id, busy.task.agent_id, busy.until)
        other = {"on_kill_action": "leave", "on_paused": "fail" if self.on_paused == "fail" else "wait"}
        trigger = XpanderTaskTrigger(**attempt.trigger_arguments(wait, busy.task) | other)
        attempt.defer_on(trigger, "execute_on_thread", wait)

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what is invoked."""
        from airflow_provider_xpander.operators.lineage import lineage_of

        return lineage_of(self.target(), None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """
        Tell OpenLineage what was invoked, and what is known of the run.

        :param task_instance: not used: what is known is known to this process.
        """
        from airflow_provider_xpander.operators.lineage import lineage_of

        seen = None if self._attempt is None else self._attempt.seen
        return lineage_of(self.target(), seen, self._link() if seen is not None else None)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """
        Tell OpenLineage the same of a task that failed.

        :param task_instance: not used.
        """
        return self.get_openlineage_facets_on_complete(task_instance)
