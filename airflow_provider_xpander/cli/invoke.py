"""The command ``invoke``: starts a run, as a person, outside of any DAG."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import TextIO

from airflow_provider_xpander.api.models import Target
from airflow_provider_xpander.cli.exits import DONE
from airflow_provider_xpander.cli.output import rendered_one
from airflow_provider_xpander.cli.progress import Progress
from airflow_provider_xpander.cli.tail import follow
from airflow_provider_xpander.hooks.xpander import XpanderHook


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """
    Carry out the command.

    :param arguments: as they were parsed.
    :param out: where to print.
    """
    make = Target.workflow if arguments.workflow else Target.agent
    target = make(arguments.target_id, arguments.version)
    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    fields = {"input": text, "title": arguments.title, "id": arguments.thread_id}
    request = {name: value for name, value in fields.items() if value is not None}
    with XpanderHook(arguments.conn_id) as hook:
        before = _end_of_turn(hook, arguments.thread_id) if arguments.thread_id is not None else None
        task = hook.invoke_async(target, request)
        link = hook.settings.task_link(task_id=task.id, agent_id=target.id)
        if arguments.no_wait:
            started = {"xpander_task_id": task.id, "status": task.status.value, "link": link}
            plain = arguments.output == "table"
            print(task.id if plain else rendered_one(started, arguments.output), file=out)
            return DONE
        Progress().info("Started xpander task %s: %s", task.id, link)
        newer_than = before.timestamp() if before else None
        return follow(hook, task.id, target.id, arguments, out, newer_than)


def _end_of_turn(hook: XpanderHook, thread_id: str) -> datetime | None:
    """Return when the thread's last turn ended, which reads may still show after the next one was posted."""
    thread = hook.get_task(thread_id)
    if not thread.status.is_terminal:
        raise ValueError(
            f"Thread {thread_id} has a turn that {thread.status.in_words}. Wait for its end (xpander-airflow "
            f"tail {thread_id}) or stop it. Nothing was started."
        )
    return thread.finished_at
