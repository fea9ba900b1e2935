"""One attempt at a run: starting it, waiting for it, and what follows from the end of the wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_xpander._compat import AirflowSkipException, TaskDeferred
from airflow_provider_xpander.api.errors import XpanderError, XpanderTaskStopped
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.operators.arguments import Options
from airflow_provider_xpander.operators.ending import end_late
from airflow_provider_xpander.operators.run_guard import KillState, RunGuard
from airflow_provider_xpander.runs.answer import XpanderAnswerInvalid
from airflow_provider_xpander.runs.deferral import Wait, WaitEvent
from airflow_provider_xpander.runs.error_policy import PASSING
from airflow_provider_xpander.runs.identity import Identity
from airflow_provider_xpander.runs.log.status_log import StatusReport, account, recap
from airflow_provider_xpander.runs.task_errors import paused
from airflow_provider_xpander.runs.timing import backstop
from airflow_provider_xpander.runs.watch import (
    RESUME_INTERVAL,
    RESUME_PATIENCE,
    Again,
    End,
    Over,
    Watch,
    end_of,
    poll_until_done,
)
from airflow_provider_xpander.telemetry import record_end
from airflow_provider_xpander.xcom import publish, publish_summary

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.operators.approval import Approval
    from airflow_provider_xpander.operators.repair import Repairs
    from airflow_provider_xpander.operators.starter import RunStarter
    from airflow_provider_xpander.operators.streaming import Streaming


@dataclass
class Attempt:
    """
    One try of a task instance at its run, in one process.

    :param ti: the task instance.
    :param hook: where to start the run and to look at it.
    :param log: the log of the task.
    :param options: what the author wants.
    :param guard: sees to the run where the attempt ends early.
    :param repairs: has an invalid answer repaired; None where that was not asked for.
    :param identity: whose run it is; None where it is not of this task.
    :param approval: has a person decide on the answer; None where that was not asked for.
    """

    ti: Any
    hook: XpanderHook
    log: Any
    options: Options
    guard: RunGuard
    repairs: Repairs | None = None
    identity: Identity | None = None
    approval: Approval | None = None
    seen: Task | None = field(default=None, init=False)
    """The run as this process has seen it last."""

    def __post_init__(self) -> None:
        self.report = StatusReport(self.log, self.state.settings)

    @property
    def state(self) -> KillState:
        """What a kill needs to know."""
        return self.guard.state

    @property
    def link(self) -> str | None:
        """The address of the run in the console, None if it is not known."""
        state = self.state
        if state.settings is None or state.task_id is None:
            return None
        return state.settings.task_link(task_id=state.task_id, agent_id=state.agent_id)

    def connect(self) -> None:
        """
        Read the connection, for a kill, links and what is told of the run.

        :raises ValueError: the connection has a wrong value; ``AirflowNotFoundException`` if there is none.
        """
        self.state.connected(self.hook.get_conn())
        self.report = StatusReport(self.log, self.state.settings)

    def start(self, starter: RunStarter, submit: Callable[[Target, InvokeRequest], Task]) -> Task:
        """
        Get hold of the run: one of an earlier attempt, or a new one.

        :param starter: finds or starts it.
        :param submit: starts a run and returns it.
        :raises XpanderError: there is none, or none that is known of.
        """
        if self.repairs is not None:
            self.repairs.repaired = []
        with self.guard.while_starting(starter):
            task = starter.obtain(submit)
        self.started(task, starter.newer_than)
        return task

    def started(self, task: Task, newer_than: float | None = None) -> None:
        """
        Take responsibility for a run, or for a turn of it, that was started; a kill may have come meanwhile.

        :param task: the run.
        :param newer_than: Unix seconds at which the turn of the thread before it ended, if there was one.
        """
        self.seen = task
        self.state.started(task.id, newer_than)
        if self.state.killed:
            self.guard.on_kill()

    def wait(self, wait: Wait, task: Task, stream: Streaming | None = None) -> Over:
        """
        Wait for the end of a run, by its stream or here.

        :param wait: what is waited for.
        :param task: the run as it was when it was started or found.
        :param stream: its stream, if there is one.
        :return: the end of the wait; a wait in the triggerer is begun by ``TaskDeferred``.
        """
        watch = wait.watch(self.options.poll_interval, self.options.on_paused)
        over = watch.after_task(task, time.time())
        if stream is not None:
            over = stream.follow(watch) if isinstance(over, Again) else stream.leave(over)
        if isinstance(over, Again) and self.options.deferrable:
            self.defer(wait, task)
        if isinstance(over, Again):
            steps = poll_until_done(watch, report=self.report, waiting=self.report.waiting)
            over = self.hook.run(steps)
        return over

    def resume(self, wait: Wait, event: WaitEvent) -> Over:
        """
        Read the run that the trigger has seen end, pause or fail.

        :param wait: what was waited for.
        :param event: what the trigger found.
        :return: the end of the wait, with the run as it is now.
        :raises XpanderError: the run cannot be read, or the trigger could not, and the run goes on.
        :raises TaskDeferred: the service is away for the moment.
        """
        self.guard.check_thread(wait.task_id, wait.newer_than)
        resume_deadline = time.time() + RESUME_PATIENCE
        watch = Watch(wait.task_id, RESUME_INTERVAL, resume_deadline, self.options.on_paused, wait.newer_than)
        over = Over(event.end, seen=normalize_status(event.status) if event.status else None)
        if event.end is End.ERROR:
            failed = f"The wait for xpander task {wait.task_id} failed: {event.message}"
            self.log.warning(failed)
            # Tells whether a retry makes sense, or that the run has ended.
            task = self.hook.get_task_patiently(wait.task_id)
            if not watch.has_ended(task):
                raise XpanderError(failed)
            over = Over(End.FINISHED, task)
        elif event.end is End.FINISHED:
            over = Over(End.FINISHED, self.hook.poll_until_done(watch).fetched(wait.task_id))
        elif event.end is End.PAUSED:
            task = self.get_task_or_defer(wait)
            over = Over(End.FINISHED if watch.has_ended(task) else End.PAUSED, task)
        if over.task is not None:
            self.log.info("While deferred: xpander task %s %s", wait.task_id, recap(over.task))
        return over

    def finish(self, wait: Wait, over: Over) -> Any:
        """
        Return what the task returns, of a run whose wait is over, or fail.

        :param wait: what was waited for.
        :param over: how the wait ended.
        """
        conclude = self.options.conclude or Attempt.valid_answer
        return conclude(self, wait, over)

    def valid_answer(self, wait: Wait, over: Over) -> Any:
        """
        Return the answer of a run whose wait is over, after as many repair turns as it takes, or fail.

        :param wait: what was waited for.
        :param over: how the wait ended.
        :raises XpanderTaskError: the run did not complete, or not in time.
        :raises XpanderAnswerError: its answer cannot be handed on.
        :raises XpanderError: the run cannot be read any more.
        :raises TaskDeferred: the run, or a repair turn of it, is waited for in the triggerer.
        """
        while True:
            task = self._ended(wait, over)
            may_go_on = not self.state.handled  # what was stopped, or given up, is not continued
            try:
                return self.answer(task)
            except XpanderAnswerInvalid as error:
                invalid = error
            if self.repairs is None:
                raise invalid
            turn = self.repairs.start(self, task, invalid, deadline=wait.run_deadline, possible=may_go_on)
            newer_than = end_of(task) if turn.id == task.id else None
            wait = replace(wait, task_id=turn.id, newer_than=newer_than, asked=None)
            over = self.wait(wait, turn)

    def _ended(self, wait: Wait, over: Over) -> Task:
        """Return the run if it has ended; see to one that is late or paused."""
        self.seen = over.task or self.seen
        self.guard.check_turn(over.task, wait.newer_than)
        if over.end is End.TIMEOUT:
            return end_late(self, wait, over)
        if over.task is None or over.end is End.ERROR:
            raise over.error or XpanderError(f"The wait for xpander task {wait.task_id} ended without reason")
        if over.end is End.PAUSED:
            self.report(over.task)
            self.publish_summary(over.task)
            if over.task.status is not TaskStatus.PAUSED:
                self.log.info("The run has gone on meanwhile")
                self.defer(replace(wait, asked=None), over.task)
            if self.options.on_paused == "ask":
                from airflow_provider_xpander.operators.question import ask

                ask(self, wait, over.task)
            raise paused(over.task)
        return over.task

    def answer(self, task: Task) -> Any:
        """
        Return the answer of a run that has ended, or fail.

        :param task: the run, in a terminal status.
        :raises XpanderTaskError: it did not complete.
        :raises XpanderAnswerError: its answer is not what was asked for, or is too large.
        """
        self.guard.check_turn(task)
        self.state.handle()
        earlier = self.earlier_turns(task)
        turn = self.repairs.count(task) if self.repairs else 0
        self.log.info(account(task, repair_turn=turn))
        self.seen = task
        record_end(task, self.ti, self.options.invocation(task), self.state.settings, self.log)
        try:
            return publish(
                self.ti,
                task,
                self.options.rules(task),
                log=self.log,
                earlier=earlier,
                repair_turn=turn,
                approve=partial(self.approval, self, task) if self.approval else None,
            )
        except XpanderTaskStopped as error:
            if self.options.on_stopped == "skip":
                raise AirflowSkipException(str(error)) from error
            raise

    def get_task_or_defer(self, wait: Wait) -> Task:
        """
        Read a run that goes on.

        :param wait: what is waited for.
        :raises TaskDeferred: the service is away for the moment, so the wait goes on.
        :raises XpanderError: the run cannot be read any more.
        """
        try:
            return self.hook.get_task_patiently(wait.task_id)
        except PASSING as error:
            self.log.warning("%s The wait goes on.", error)
            self.defer(wait, Task(id=wait.task_id))

    def defer(self, wait: Wait, task: Task) -> NoReturn:
        """
        Wait in the triggerer.

        :param wait: what is waited for.
        :param task: the run as it was seen last.
        :raises TaskDeferred: always.
        """
        from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

        self.hand_over()
        self.defer_on(XpanderTaskTrigger(**self.trigger_arguments(wait, task)), "execute_complete", wait)

    def hand_over(self) -> None:
        """Let whoever resumes find what this try knows; Airflow logs an error where there is nothing."""
        for part in (self.repairs, self.approval):
            if part is not None:
                part.hand_over()

    def defer_on(self, trigger: Any, method: str, wait: Wait, **more: Any) -> NoReturn:
        """
        Defer; Airflow's own limit lies behind the deadline, because it asks nobody.

        :param trigger: what waits in the triggerer.
        :param method: name of the method that resumes.
        :param wait: what is waited for.
        :param more: what that method is given besides.
        :raises TaskDeferred: always.
        """
        deadline = wait.run_deadline
        raise TaskDeferred(
            trigger=trigger,
            method_name=method,
            kwargs={"newer_than": wait.newer_than, "deadline": deadline, **more},
            timeout=backstop(deadline, time.time()),
        )

    def trigger_arguments(self, wait: Wait, task: Task) -> dict[str, Any]:
        """
        Return the arguments of the trigger, plain JSON.

        :param wait: what is waited for.
        :param task: the run as it was seen last.
        """
        return wait.trigger_arguments(
            task,
            xpander_conn_id=self.options.xpander_conn_id,
            poll_interval=self.options.poll_interval,
            on_paused=self.options.on_paused,
            on_kill_action=self.options.on_kill_action,
            now=time.time(),
            digests=self.guard.digests,
            may_ask=self.options.may_ask,
        )

    def publish_summary(self, task: Task) -> None:
        """
        Put the summary of the run into XCom, whatever its status.

        :param task: the run.
        """
        publish_summary(self.ti, task, self.earlier_turns(task))

    def earlier_turns(self, task: Task) -> list[dict[str, Any]]:
        """
        Return the turns of a run before the one that its record shows, as far as this try has seen them.

        :param task: the run as it was read now.
        """
        return [] if self.repairs is None else self.repairs.before(task)
