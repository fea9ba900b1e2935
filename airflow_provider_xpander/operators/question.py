"""The question to a person in Airflow about a paused run, and what follows from the choice."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NoReturn

from airflow_provider_xpander._compat import AirflowFailException, AirflowSkipException
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.operators.attempt import Attempt
from airflow_provider_xpander.operators.ending import end_stopped
from airflow_provider_xpander.required_actions import ask_person
from airflow_provider_xpander.runs.deferral import Choice, Wait
from airflow_provider_xpander.runs.log.status_log import recap
from airflow_provider_xpander.runs.question import OPTIONS, question_about
from airflow_provider_xpander.runs.watch import Again, End, Over


def ask(attempt: Attempt, wait: Wait, task: Task) -> NoReturn:
    """
    Ask a person about a paused run, and wait for the choice and the run in the triggerer.

    So the task notices a run that goes on by itself, and all that holds for deferred tasks holds: deadline,
    kill, restart.

    :param attempt: the attempt at the run.
    :param wait: what is waited for.
    :param task: the paused run.
    :raises TaskDeferred: always.
    """
    from airflow_provider_xpander.triggers.asking import XpanderAskingTrigger
    from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

    wait = replace(wait, asked=task.pause)
    arguments = attempt.trigger_arguments(wait, task)
    if _put_question(attempt, wait, task):
        trigger: XpanderTaskTrigger = XpanderAskingTrigger(str(attempt.ti.id), **arguments)
    else:
        trigger = XpanderTaskTrigger(**arguments)
    # Also where the question seems not to have been taken: it may be there, and somebody may choose.
    attempt.defer_on(
        trigger,
        "execute_answered",
        wait,
        xpander_task_id=wait.task_id,
        agent_id=wait.agent_id,
        asked=wait.asked,
    )


def _put_question(attempt: Attempt, wait: Wait, task: Task) -> bool:
    """Ask where Airflow shows what it needs from people; False if it does not take the question."""
    link = attempt.hook.settings.task_link(task_id=wait.task_id, agent_id=wait.agent_id)
    question = question_about(task, link)
    try:
        ask_person(attempt.ti.id, subject=question.subject, body=question.body, options=OPTIONS)
    except Exception as error:  # whatever Airflow's API dies of, the run is not worth less for it
        attempt.log.warning("Nobody could be asked about the pause, so the wait goes on: %s", error)
        return False
    attempt.log.info("Asked in Airflow whether to keep waiting for xpander task %s or to stop it", task.id)
    return True


def obey(choice: Choice, attempt: Attempt, wait: Wait) -> Over:
    """
    Do what a person has chosen: stop the run, or go on waiting for it.

    :param choice: what was chosen.
    :param attempt: the attempt at the run.
    :param wait: what was waited for.
    :return: the end of the wait, if the run has ended or paused anew.
    :raises AirflowFailException: the run was stopped; no retry starts it anew.
    :raises AirflowSkipException: the same with ``on_stopped="skip"``.
    :raises TaskDeferred: the run goes on.
    """
    if choice.stop:
        return Over(End.FINISHED, _stop(choice.by or "somebody", attempt, wait))
    attempt.log.info("%s has chosen to keep waiting", choice.by or "Somebody")
    task = attempt.get_task_or_defer(wait)
    attempt.log.info("While deferred: xpander task %s %s", task.id, recap(task))
    watch = wait.watch(attempt.options.poll_interval, attempt.options.on_paused)
    over = watch.after_task(task, time.time())
    if isinstance(over, Again):
        attempt.defer(replace(wait, asked=watch.asked), task)
    return over


def disregard(attempt: Attempt, wait: Wait) -> NoReturn:
    """
    Wait on where a person has chosen about a run of before a clear, whose question was still open.

    :param attempt: the attempt at the run.
    :param wait: what is waited for.
    :raises TaskDeferred: always, unless the run cannot be read.
    """
    attempt.log.warning("A choice about a run of before a clear decides nothing. The wait goes on.")
    attempt.defer(wait, attempt.get_task_or_defer(wait))


def _stop(by: str, attempt: Attempt, wait: Wait) -> Task:
    def stopped_by(_: Task | None, stopped: bool | None) -> Exception:
        if not stopped:
            return AirflowFailException(
                f"xpander task {wait.task_id} was to be stopped by {by}, and it could not be"
            )
        said = f"xpander task {wait.task_id} was stopped by {by}, who was asked in Airflow"
        skip = attempt.options.on_stopped == "skip"
        return AirflowSkipException(said) if skip else AirflowFailException(said)

    return end_stopped(attempt, wait, stopped_by)
