"""The guard of a run and the state of a kill: no run goes on that nobody wants, however its attempt ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import (
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow_provider_xpander.api.errors import XpanderError, XpanderTaskError
from airflow_provider_xpander.api.exchange import Steps
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.operators.stopping import KILL_LAG, stop_quickly, stop_runs
from airflow_provider_xpander.runs.adopt import Reattach
from airflow_provider_xpander.runs.error_policy import FINAL
from airflow_provider_xpander.runs.stop_policy import Fate, OnKill, OnTimeout, fate_after_failure, goes_on
from airflow_provider_xpander.runs.thread import foreign_turn, is_foreign_turn
from airflow_provider_xpander.task_instance import is_tried_again, retries_left

if TYPE_CHECKING:
    from airflow_provider_xpander._compat import Context
    from airflow_provider_xpander.api.client import Client
    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.operators.base import XpanderRequestOperator
    from airflow_provider_xpander.operators.starter import RunStarter
    from airflow_provider_xpander.runs.identity import Identity


Search = Callable[[], Steps[list[str]]]


@dataclass
class KillState:
    """
    What a kill needs to know of an attempt, changed by its own methods only.

    It is read once, because a kill may not ask Airflow for anything.

        starting --started--> going on --handle--> handled
                                 ^                    |
                                 '------next_turn-----'

    ``kill`` may come at any time. It is noted, whatever the state; a run that is started or continued after
    it is stopped as soon as its id is known. ``handled`` means that the run has ended or that its fate was
    decided, so that neither a kill nor a failure has anything to do any more.

    :param agent_id: the agent or workflow, for links; None if it is not known.
    :param task_id: the run; None while it is being started.
    """

    agent_id: str | None = None
    task_id: str | None = None
    newer_than: float | None = None
    """Unix seconds at which the turn of the thread before it ended, if there was one."""
    client: Client | None = field(default=None, init=False)
    """That of the attempt, as soon as the connection is read; it knows the key as it is now."""
    sign: str = field(default="", init=False)
    """What the title of a run that is being started contains."""
    search: Search | None = field(default=None, init=False)
    """Looks for the ids of runs that are being started."""
    killed: bool = field(default=False, init=False)
    """Whether the kill has come."""
    handled: bool = field(default=False, init=False)
    """Whether the run has ended, or it was decided what becomes of it."""

    @property
    def settings(self) -> Settings | None:
        """Those of the connection as it was read last, None if it was not."""
        return None if self.client is None else self.client.settings

    def connected(self, client: Client) -> None:
        """
        Note how the service is reached.

        :param client: that of the attempt.
        """
        self.client = client

    def starting(self, sign: str, search: Search) -> None:
        """
        Note how a run is found that is being started.

        :param sign: what its title contains.
        :param search: looks for the ids of such runs.
        """
        self.sign, self.search = sign, search

    def started(self, task_id: str, newer_than: float | None = None) -> None:
        """
        Note the id of the run.

        :param task_id: the run, or the turn of it that was started.
        :param newer_than: Unix seconds at which the turn of the thread before it ended, if there was one.
        """
        self.task_id, self.newer_than = task_id, newer_than

    def next_turn(self) -> None:
        """Note that the run goes on: a further turn of it may have been started."""
        self.handled = False

    def handle(self) -> None:
        """Note that the run has ended, or that it was decided what becomes of it."""
        self.handled = True

    def kill(self) -> bool:
        """Note the kill; return whether there is a run to see to."""
        self.killed = True
        return not self.handled


@dataclass
class RunGuard:
    """
    Sees to it that no run goes on that nobody wants, while an attempt is responsible for one.

    :param hook: where to stop and look.
    :param state: what a kill needs to know of the attempt.
    :param log: where to say what was done.
    :param on_kill_action: what the author wants for a run whose Airflow task is gone.
    :param on_timeout: what the author wants for a run that is late.
    :param reattach: whether the next attempt would take the run over.
    :param retries_left: whether Airflow tries the task again when this attempt fails.
    :param is_tried_again: tells that of an error, after which a retry policy may decide otherwise; None if
        only the retries decide.
    :param digests: marks that the run may carry, where its thread may be continued by somebody else; None
        where its id is its own.
    """

    hook: XpanderHook
    state: KillState
    log: Any
    on_kill_action: OnKill = "leave"
    on_timeout: OnTimeout = "leave"
    reattach: Reattach = True
    retries_left: bool = False
    # It holds the context, and with it what templates were filled with.
    is_tried_again: Callable[[Exception], bool] | None = field(default=None, repr=False)
    digests: Collection[str] | None = None

    @classmethod
    def of(
        cls,
        task: XpanderRequestOperator,
        context: Context,
        hook: XpanderHook,
        identity: Identity,
        state: KillState,
    ) -> RunGuard:
        """
        Return the guard of an attempt of a task.

        :param task: the operator, with its parameters.
        :param context: that of the task instance.
        :param hook: where to stop and look.
        :param identity: whose run it is.
        :param state: what a kill needs to know of the attempt.
        """
        return cls(
            hook=hook,
            state=state,
            log=task.log,
            on_kill_action=task.on_kill_action,
            on_timeout=task.on_timeout,
            reattach=task.reattach,
            retries_left=retries_left(context["ti"]),
            is_tried_again=lambda error: is_tried_again(task, context, error),
            digests=identity.digests if task.thread_id else None,
        )

    @contextmanager
    def while_starting(self, starter: RunStarter) -> Iterator[None]:
        """
        See to a run whose id is not known yet, if the attempt is ended while it is being started.

        :param starter: starts it, and can look for it.
        """
        self.state.starting(str(starter.mark), partial(starter.going_on, lag=KILL_LAG))
        try:
            yield
        except BaseException as error:  # Airflow 2 ends a killed task with one that is no Exception
            late = isinstance(error, AirflowTaskTimeout)
            if (late or self.state.killed) and not self.state.handled:
                self.state.handle()
                found = self._find(starter)
                if not found:
                    self.log.warning("No run with %s in its title is in sight yet", self.state.sign)
                elif late:
                    self.stop_late(found)
                else:
                    self.stop_unwanted(found)
            raise

    def _find(self, starter: RunStarter) -> list[str]:
        try:
            return self.hook.run(starter.going_on())
        except XpanderError as error:
            self.log.error("%s A run that may have been started could not be looked for.", error)
            return []

    @contextmanager
    def while_going_on(self) -> Iterator[None]:
        """See to the run if the task fails while it goes on."""
        try:
            yield
        except (TaskDeferred, XpanderTaskError, AirflowSkipException):
            raise  # the run is being waited for, or its end or fate was decided
        except AirflowTaskTimeout:
            if not self.state.handled:
                self.stop_late()
                self.state.handle()  # Airflow calls on_kill next
            raise
        except Exception as error:  # whatever it is, the task fails and the run goes on
            if not self.state.handled:
                final = isinstance(error, (*FINAL, AirflowFailException))
                self.stop_or_keep(again=not final and self._is_tried_again(error))
                self.state.handle()
            raise

    def _is_tried_again(self, error: Exception) -> bool:
        return self.retries_left if self.is_tried_again is None else self.is_tried_again(error)

    def expect(self, digests: Collection[str]) -> None:
        """
        Note whose turn of a thread is meant.

        :param digests: marks that it may carry.
        """
        self.digests = digests

    def check_turn(self, task: Task | None, newer_than: float | None = None) -> None:
        """
        See that a thread still shows the turn of this attempt; another's is neither returned nor stopped.

        :param task: the run as it was read, if it was.
        :param newer_than: Unix seconds at which the turn before ended, if it is known.
        :raises XpanderError: somebody else has continued the thread.
        """
        if task is None or self.digests is None:
            return
        if is_foreign_turn(task, self.digests, newer_than):
            self.state.handle()
            raise foreign_turn(task)

    def check_thread(self, task_id: str, newer_than: float | None) -> None:
        """
        Read a thread that somebody else may continue, and see that it still shows the own turn.

        :param task_id: the thread.
        :param newer_than: Unix seconds at which the turn before ended, if it is known.
        :raises XpanderError: somebody else has continued it.
        """
        if self.digests is None:
            return
        try:
            task = self.hook.get_task(task_id)
        except XpanderError:
            return  # whoever reads it next has to say so
        self.check_turn(task, newer_than)

    def stop_or_keep(self, *, again: bool | None = None) -> list[Task]:
        """
        Decide about the run of a task that fails, and do it.

        :param again: whether Airflow tries the task again after this failure; by default if it has retries.
        :return: the run as it is after a stop; nothing if it was not stopped.
        """
        fate = fate_after_failure(
            retries_left=self.retries_left if again is None else again,
            reattach=self.reattach is not False,
            action=self.on_kill_action,
        )
        if fate is Fate.STOP:
            return self.stop(self._own())
        why = "the next attempt takes it over" if fate is Fate.KEEP else "as on_kill_action says"
        self._say_goes_on(self._own(), why)
        return []

    def stop_late(self, task_ids: Sequence[str] = ()) -> list[Task]:
        """
        Stop runs that are late, or leave them as ``on_timeout`` says.

        :param task_ids: the runs; by default the own one.
        :return: those that were stopped, as they are then.
        """
        if self.on_timeout == "stop":
            return self.stop(task_ids or self._own())
        self._say_goes_on(task_ids or self._own(), "as on_timeout says")
        return []

    def stop_unwanted(self, task_ids: Sequence[str], digests: Collection[str] | None = None) -> None:
        """
        Stop runs that nobody waits for any more, or leave them as ``on_kill_action`` says.

        :param task_ids: the runs.
        :param digests: marks that they carry, where somebody else may continue a thread that is one of them.
        """
        if self.on_kill_action == "stop":
            self.stop(task_ids, digests)
        else:
            self._say_goes_on(task_ids, "as on_kill_action says")

    def stop(self, task_ids: Sequence[str], digests: Collection[str] | None = None) -> list[Task]:
        """
        Stop runs and say so; a thread that somebody else has continued is left to them.

        :param task_ids: the runs.
        :param digests: as for :meth:`stop_unwanted`; by default those of this attempt, for its own run.
        :return: those that were stopped, as they are then.
        """
        if digests is None and list(task_ids) == self._own():
            digests = self.digests
        return stop_runs(self.hook, self.log, task_ids, digests=digests, newer_than=self.state.newer_than)

    def _own(self) -> list[str]:
        return [self.state.task_id] if self.state.task_id else []

    def _say_goes_on(self, task_ids: Sequence[str], why: str) -> None:
        for task_id in task_ids:
            self.log.warning("%s", goes_on(task_id, self.state.settings, self.state.agent_id, why))

    def on_kill(self) -> None:
        """Answer a kill with one short stop, which needs nothing of Airflow and spares another's turn."""
        state = self.state
        if not state.kill():
            return
        if self.on_kill_action == "stop":
            if stop_quickly(state, self.log, digests=self.digests):
                state.handle()
        elif state.task_id is None:
            self.log.warning("Killed while a run was being started; its title has %s", state.sign)
        else:
            why = "the task was killed, and on_kill_action says so"
            self.log.info("%s", goes_on(state.task_id, state.settings, state.agent_id, why))
