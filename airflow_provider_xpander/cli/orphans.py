"""The command ``orphans``: lists runs of this Airflow that go on and that nobody waits for; stops them."""

from __future__ import annotations

import argparse
from typing import TextIO

from airflow_provider_xpander._compat_records import retries_of
from airflow_provider_xpander.cli.exits import DONE, ORPHANS
from airflow_provider_xpander.cli.marked_runs import ago, listed_going_on, marked_runs
from airflow_provider_xpander.cli.output import rendered
from airflow_provider_xpander.cli.owners import Verdict, judge
from airflow_provider_xpander.cli.progress import Progress
from airflow_provider_xpander.cli.stop import exit_code, stop_each
from airflow_provider_xpander.hooks.xpander import XpanderHook


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """
    Carry out the command.

    :param arguments: as they were parsed.
    :param out: where to print.
    """
    log = Progress()
    wanted = {Verdict.ORPHAN, Verdict.LEFT} if arguments.left else {Verdict.ORPHAN}
    since = ago(arguments.since)
    with XpanderHook(arguments.conn_id) as hook:
        found = marked_runs(hook, listed_going_on(hook, since, arguments.agent), since)
        rows, left = [], 0
        runs: dict[str, str | None] = {}
        for one in found:
            if one.owner is None:
                continue
            verdict, why = judge(one.owner, retries_of)
            left += verdict is Verdict.LEFT
            if verdict in wanted:
                rows.append({**one.row(), "why": why})
                runs[one.task.id] = one.mark.digest
        print(rendered(rows, arguments.output), file=out, flush=True)
        if left and not arguments.left:
            log.info("Runs whose task has succeeded without waiting for them: %d. --left shows them.", left)
        if foreign := sum(one.owner is None for one in found):
            log.info(
                "Runs with a mark that is no task instance's here: %d. They are another Airflow's, a "
                "notifier's, or of a DAG run that was deleted or restarted. They are left alone.",
                foreign,
            )
        if not rows:
            return DONE
        if not arguments.stop:
            return ORPHANS
        outcomes = stop_each(hook, runs)
    for outcome in outcomes:
        log.info("%s", outcome["said"])
    return exit_code(outcomes)
