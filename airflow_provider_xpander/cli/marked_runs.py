"""The runs that carry a mark, and the task instances of this Airflow that have started them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_xpander._compat import deployment_name
from airflow_provider_xpander._compat_records import instances_since
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.cli.owners import Owner, find_owners
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.runs.adopt import goes_on
from airflow_provider_xpander.runs.identity import Mark, mark_of, read_mark
from airflow_provider_xpander.runs.lookup import MAX_RECORDS, get_known

log = logging.getLogger(__name__)

MARGIN = timedelta(days=1)
"""How long a DAG run may have been over when its run was created: clocks, and runs of no DAG run's time."""


@dataclass(frozen=True)
class MarkedRun:
    """
    A run with a mark.

    :param task: the run.
    :param mark: its mark.
    :param owner: the task instance that has started it; None if it is none of this Airflow.
    """

    task: Task
    mark: Mark
    owner: Owner | None

    def row(self) -> dict[str, Any]:
        """Return what a list shows of it."""
        instance = self.owner.instance if self.owner else None
        return {
            **row_of(self.task),
            "dag_id": instance.dag_id if instance else None,
            "task_id": instance.task_id if instance else None,
            "map_index": instance.map_index if instance else None,
            "run_id": instance.run_id if instance else None,
        }


def row_of(task: Task) -> dict[str, Any]:
    """
    Return what a list shows of any run.

    :param task: the run.
    """
    return {
        "xpander_task_id": task.id,
        "status": task.status.value,
        "agent_id": task.agent_id,
        "created_at": task.created_at,
    }


def marked_runs(hook: XpanderHook, tasks: Iterable[Task], since: datetime) -> list[MarkedRun]:
    """
    Keep the runs that carry a mark, and find out whose they are.

    :param hook: where to ask.
    :param tasks: runs, as listed.
    :param since: no run is older.
    :raises ValueError: Airflow's database cannot be read.
    """
    found = [(task, mark) for task in _with_source(hook, list(tasks)) if (mark := mark_of(task))]
    if not found:
        return []
    digests = {mark.digest for _, mark in found}
    owners = find_owners(instances_since(since - MARGIN), digests, deployment_name())
    return [MarkedRun(task, mark, owners.get(mark.digest)) for task, mark in found]


def _with_source(hook: XpanderHook, tasks: list[Task]) -> Iterable[Task]:
    """Return the runs, read one by one where the service keeps no mark in titles and lists no sources."""
    if any(read_mark(task.title) for task in tasks) or all(mark_of(task) for task in tasks):
        return tasks
    if len(tasks) > MAX_RECORDS:
        log.warning(
            "No listed run has a mark in its title. The first %d of %d are read, for their source",
            MAX_RECORDS,
            len(tasks),
        )
    return hook.run(get_known([task.id for task in tasks[:MAX_RECORDS]]))


def listed_going_on(hook: XpanderHook, since: datetime, agent_id: str | None) -> list[Task]:
    """
    List the runs that go on.

    :param hook: where to ask.
    :param since: created at or after this time.
    :param agent_id: only runs of this agent or workflow.
    """

    def listed(status: TaskStatus | None) -> Iterator[Task]:
        return hook.list_tasks(agent_id=agent_id, status=status, from_date=since)

    return _unique(_by_status(listed))


def _by_status(listed: Callable[[TaskStatus | None], Iterator[Task]]) -> Iterator[Task]:
    try:
        for status in TaskStatus:
            if not status.is_terminal:
                yield from listed(status)
    except XpanderValidationError:
        # A service that filters by no status.
        yield from listed(None)


def _unique(tasks: Iterable[Task]) -> list[Task]:
    return list({task.id: task for task in tasks if goes_on(task)}.values())


def ago(time: timedelta) -> datetime:
    """
    Return the moment that lies so far back.

    :param time: how far.
    """
    return datetime.now(UTC) - time
