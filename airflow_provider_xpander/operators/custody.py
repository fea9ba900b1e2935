"""What becomes of a run when its Airflow task ends early: stopped, kept for the retry, or left on purpose."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import (
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow_provider_xpander.api.errors import XpanderError, XpanderTaskError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.operators.starter import RunStarter
from airflow_provider_xpander.operators.stopping import Held, stop_and_tell, stop_quickly
from airflow_provider_xpander.runs.adopt import Reattach
from airflow_provider_xpander.runs.error_policy import FINAL
from airflow_provider_xpander.runs.stop_policy import Fate, OnKill, OnTimeout, fate_after_failure, goes_on
from airflow_provider_xpander.runs.watch import STOP_PATIENCE, Watch

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook


@dataclass
class Custody:
    """
    Sees to it that no run goes on that nobody wants, while an attempt has one in its hands.

    :param hook: where to stop and look.
    :param held: what a kill needs to know of the attempt.
    :param log: where to say what was done.
    :param on_kill_action: what the author wants for a run whose Airflow task is gone.
    :param on_timeout: what the author wants for a run that is late.
    :param reattach: whether the next attempt would take the run over.
    :param retries_left: whether Airflow tries the task again when this attempt fails.
    """

    hook: XpanderHook
    held: Held
    log: Any
    on_kill_action: OnKill
    on_timeout: OnTimeout
    reattach: Reattach
    retries_left: bool

    @contextmanager
    def while_starting(self, starter: RunStarter) -> Iterator[None]:
        """See to a run whose id is not known yet, if the attempt is ended while it is being started."""
        try:
            yield
        except BaseException as error:  # Airflow 2 ends a killed task with one that is no Exception
            late = isinstance(error, AirflowTaskTimeout)
            if (late or self.held.killed) and not self.held.settled:
                self.held.settled = True
                found = self._find(starter)
                if not found:
                    self.log.warning(
                        "No run with %s in its title is in sight; it may show later", self.held.sign
                    )
                elif late:
                    self.see_to_late(found)
                else:
                    self.drop(found)
            raise

    def _find(self, starter: RunStarter) -> list[str]:
        try:
            return self.hook.run(starter.going_on())
        except XpanderError as error:
            self.log.error("%s A run that may have been started could not be looked for.", error)
            return []

    @contextmanager
    def while_going_on(self, task_id: str) -> Iterator[None]:
        """See to the run if the task fails while it goes on."""
        try:
            yield
        except (TaskDeferred, XpanderTaskError, AirflowSkipException):
            raise  # the run is being waited for, or its end or fate was decided
        except AirflowTaskTimeout:
            if not self.held.settled:
                self.see_to_late([task_id])
                self.held.settled = True  # Airflow calls on_kill next
            raise
        except Exception as error:  # whatever it is, the task fails and the run goes on
            if not self.held.settled:
                final = isinstance(error, (*FINAL, AirflowFailException))
                self.see_to(task_id, final=final)
                self.held.settled = True
            raise

    def see_to(self, task_id: str, *, final: bool = False) -> list[Task]:
        """
        Decide about the run of a task that fails, and do it.

        :param task_id: the run.
        :param final: whether the failure is one that Airflow does not try again.
        :return: the run as it is after a stop; nothing if it was not stopped.
        """
        fate = fate_after_failure(
            retries_left=self.retries_left and not final,
            reattach=self.reattach is not False,
            action=self.on_kill_action,
        )
        if fate is Fate.STOP:
            return self.stop([task_id])
        self._say_goes_on(
            [task_id], "the next attempt takes it over" if fate is Fate.KEEP else "as on_kill_action says"
        )
        return []

    def see_to_late(self, task_ids: Sequence[str]) -> list[Task]:
        """Stop runs that are late, or leave them as ``on_timeout`` says; return those that were stopped."""
        if self.on_timeout == "stop":
            return self.stop(task_ids)
        self._say_goes_on(task_ids, "as on_timeout says")
        return []

    def drop(self, task_ids: Sequence[str]) -> None:
        """Stop runs that nobody waits for any more, or leave them as ``on_kill_action`` says."""
        if self.on_kill_action == "stop":
            self.stop(task_ids)
        else:
            self._say_goes_on(task_ids, "as on_kill_action says")

    def stop(self, task_ids: Sequence[str]) -> list[Task]:
        """Stop runs and say so; return those that were stopped, as they are then."""
        return stop_and_tell(self.hook, self.log, task_ids)

    def stop_late(self, watch: Watch) -> Task | None:
        """
        Stop a run that is late and see how it ends, for a moment: it may complete first.

        :return: the run as last seen, or None if it could not be stopped.
        """
        stopped = self.stop([watch.task_id])
        self.held.settled = True
        if not stopped or watch.has_ended(stopped[0]):
            return stopped[0] if stopped else None
        end = Watch(watch.task_id, 1.0, time.time() + STOP_PATIENCE, newer_than=watch.newer_than)
        return self.hook.poll_until_done(end).task or stopped[0]

    def _say_goes_on(self, task_ids: Sequence[str], why: str) -> None:
        for task_id in task_ids:
            self.log.warning("%s", goes_on(task_id, self.held.settings, self.held.target_id, why))


def on_kill(held: Held, log: Any, action: OnKill) -> None:
    """
    Answer a kill with one short stop that needs nothing of Airflow.

    :param held: what is known of the attempt.
    :param log: where to say what was done.
    :param action: what the author wants.
    """
    held.killed = True
    if held.settled:
        return
    if action == "stop":
        stop_quickly(held, log)
    elif held.task_id is None:
        log.warning("Killed while a run was being started; if there is one, its title has %s", held.sign)
    else:
        why = "the task was killed, and on_kill_action says so"
        log.info("%s", goes_on(held.task_id, held.settings, held.target_id, why))
