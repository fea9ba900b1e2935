"""The command ``get``: shows a run, without what it may repeat of secrets."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any, TextIO

from airflow_provider_xpander.api.models import Task, ThreadMessage
from airflow_provider_xpander.api.text import hidden
from airflow_provider_xpander.cli.exits import DONE
from airflow_provider_xpander.cli.output import rendered, rendered_one
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.runs.task_errors import pause_reason


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """
    Carry out the command.

    :param arguments: as they were parsed.
    :param out: where to print.
    """
    with XpanderHook(arguments.conn_id) as hook:
        if arguments.thread:
            messages = [_message(message) for message in hook.get_thread(arguments.xpander_task_id)]
            print(rendered(messages, arguments.output), file=out)
        else:
            task = hook.get_task(arguments.xpander_task_id)
            link = hook.settings.task_link(task_id=task.id, agent_id=task.agent_id)
            print(rendered_one({**shown(task), "link": link}, arguments.output), file=out)
    return DONE


def shown(task: Task) -> dict[str, Any]:
    """
    Return what may be shown of a run: the service repeats tokens and keys of tools in other fields.

    :param task: the run.
    """
    return {
        "xpander_task_id": task.id,
        "status": task.status.value,
        "agent_id": task.agent_id,
        "title": _text(task.title),
        "source": _text(task.source),
        "created_at": task.created_at,
        "finished_at": task.finished_at,
        "seconds": task.duration,
        "tokens": task.tokens.total_tokens if task.tokens else None,
        "paused_for": None if task.pause is None else pause_reason(task),
        "result": _text(task.result),
    }


def _text(value: Any) -> Any:
    return hidden(value) if isinstance(value, str) else value


def _message(message: ThreadMessage) -> dict[str, Any]:
    at = message.created_at
    return {
        "created_at": None if at is None else datetime.fromtimestamp(at, UTC),
        "role": message.role,
        "content": _text(message.content),
    }
