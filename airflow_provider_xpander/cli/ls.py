"""The command ``ls``: lists the runs that this Airflow has started."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import TextIO

from airflow_provider_xpander.cli.exits import DONE
from airflow_provider_xpander.cli.marked_runs import ago, marked_runs, row_of
from airflow_provider_xpander.cli.output import rendered
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.runs.adopt import LONG_AGO


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """
    Carry out the command.

    :param arguments: as they were parsed.
    :param out: where to print.
    """
    since, limit = ago(arguments.since), int(arguments.limit)
    with XpanderHook(arguments.conn_id) as hook:
        tasks = list(hook.list_tasks(agent_id=arguments.agent, status=arguments.status, from_date=since))
        tasks.sort(key=lambda task: task.created_at or LONG_AGO, reverse=True)
        if arguments.all:
            rows = [{**row_of(task), "title": task.title} for task in tasks]
        else:
            rows = [found.row() for found in marked_runs(hook, tasks, since) if found.owner]
    print(rendered(list(islice(rows, limit)), arguments.output), file=out)
    return DONE
