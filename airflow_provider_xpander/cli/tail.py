"""The command ``tail``: follows a run until its end, and prints its answer."""

from __future__ import annotations

import argparse
import time
from typing import TextIO

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.cli.exits import DONE, GOES_ON, NOT_COMPLETED
from airflow_provider_xpander.cli.get import shown
from airflow_provider_xpander.cli.output import rendered_one
from airflow_provider_xpander.cli.progress import Progress
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.runs.log.status_log import StatusReport, account
from airflow_provider_xpander.runs.stop_policy import goes_on
from airflow_provider_xpander.runs.task_errors import pause_reason
from airflow_provider_xpander.runs.watch import End, Watch


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """
    Carry out the command.

    :param arguments: as they were parsed.
    :param out: where to print.
    """
    with XpanderHook(arguments.conn_id) as hook:
        return follow(hook, arguments.xpander_task_id, None, arguments, out)


def follow(
    hook: XpanderHook,
    task_id: str,
    agent_id: str | None,
    arguments: argparse.Namespace,
    out: TextIO,
    newer_than: float | None = None,
) -> int:
    """
    Wait for the end of a run, tell its progress, and print it.

    :param hook: where to ask.
    :param task_id: the run.
    :param agent_id: the agent or workflow that runs it, None if it is not known.
    :param arguments: those of the command: time-out, poll interval, form of the output.
    :param out: where to print.
    :param newer_than: Unix seconds; an end as old as that is of an earlier turn of the thread.
    """
    log = Progress()
    deadline = None if arguments.timeout is None else time.time() + arguments.timeout
    watch = Watch(task_id, arguments.poll_interval, deadline, newer_than=newer_than)
    try:
        over = hook.poll_until_done(watch, StatusReport(log, hook.settings))
    except KeyboardInterrupt:
        log.info("%s", goes_on(task_id, hook.settings, agent_id, "because only the wait was interrupted"))
        log.info("Stop it with: xpander-airflow stop %s", task_id)
        raise
    if over.end is End.TIMEOUT:
        waits = f" ({pause_reason(over.task)})" if over.task and over.status == "paused" else ""
        log.info("%s", goes_on(task_id, hook.settings, agent_id, f"and is {over.status}{waits}"))
        return GOES_ON
    return ended(over.fetched(task_id), arguments, out)


def ended(task: Task, arguments: argparse.Namespace, out: TextIO) -> int:
    """
    Print a run that has ended, and return the exit code.

    :param task: the run.
    :param arguments: those of the command.
    :param out: where to print.
    """
    Progress().info("%s", account(task))
    if arguments.output == "table":
        answer = shown(task)["result"]
        print(answer if isinstance(answer, str) else "", file=out)
    else:
        print(rendered_one(shown(task), arguments.output), file=out)
    return DONE if task.status is TaskStatus.COMPLETED else NOT_COMPLETED
