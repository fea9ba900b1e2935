"""The command ``stop``: stops runs, and tells what became of each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, TextIO

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.cli.exits import DONE, NOT_COMPLETED
from airflow_provider_xpander.cli.output import rendered
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.runs.stop_policy import not_stopped
from airflow_provider_xpander.runs.stopping import stop_run


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """
    Carry out the command.

    :param arguments: as they were parsed.
    :param out: where to print.
    """
    with XpanderHook(arguments.conn_id) as hook:
        outcomes = stop_each(hook, dict.fromkeys(arguments.xpander_task_ids, None))
    print(rendered(outcomes, arguments.output), file=out)
    return exit_code(outcomes)


def stop_each(hook: XpanderHook, runs: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """
    Stop runs, one after the other; the failure of one keeps no other from being stopped.

    :param hook: where to ask.
    :param runs: ids of the runs, with the digest of the mark that is meant; None for whatever goes on.
    """
    outcomes = []
    for task_id, digest in runs.items():
        digests = None if digest is None else {digest}
        steps = stop_run(task_id, hook.get_conn().policy, digests=digests, look_first=digest is not None)
        try:
            stopped = hook.run(steps)
        except XpanderError as error:
            said, status = not_stopped(task_id, hook.settings, error), None
        else:
            said, status = str(stopped), stopped.task.status.value
        outcomes.append({"xpander_task_id": task_id, "status": status, "said": said})
    return outcomes


def exit_code(outcomes: list[dict[str, Any]]) -> int:
    """
    Return the exit code that tells whether all runs were stopped.

    :param outcomes: of :func:`stop_each`.
    """
    return DONE if all(outcome["status"] is not None for outcome in outcomes) else NOT_COMPLETED
