"""Lists of a target's tasks, read as far back as needed; the service may ignore filters, and sort anyhow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_xpander.api.exchange import Steps, exchange
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.routes import list_tasks
from airflow_provider_xpander.api.status import TaskStatus

log = logging.getLogger(__name__)

MARGIN = timedelta(minutes=10)
"""How long before the start of the DAG run a marked run is looked for: clocks may differ."""
MAX_PAGES = 40
"""Pages of one list that are read at the most, of 50 tasks each."""
LOOKUP_ATTEMPTS = 20
"""How often one request of a look-up is made, over some two minutes: what it finds is worth a run."""

LOOKUP_POLICY = RetryPolicy(attempts=LOOKUP_ATTEMPTS)


@dataclass(frozen=True)
class TaskList:
    """
    The tasks on the pages that were read.

    :param tasks: each once.
    :param enough: whether the reading has ended at a task that was enough.
    :param whole: whether it has come to the end of the list.
    """

    tasks: list[Task]
    enough: bool
    whole: bool


def read_task_list(
    target_id: str,
    since: datetime | None,
    enough: Callable[[Task], bool],
    *,
    status: TaskStatus | None = None,
    pages: int = MAX_PAGES,
) -> Steps[TaskList]:
    """
    List the tasks of a target.

    :param target_id: the agent or workflow that runs them.
    :param since: the start of the DAG run, or None for all that there are.
    :param enough: whether a task ends the reading.
    :param status: list only tasks in this status.
    :param pages: how many to read at the most.
    :raises XpanderError: the service does not answer.
    """
    from_date = None if since is None else since - MARGIN
    tasks: dict[str, Task] = {}
    for number in range(1, pages + 1):
        call = list_tasks(agent_id=target_id, status=status, from_date=from_date, page=number)
        page = yield from exchange(call, LOOKUP_POLICY)
        tasks.update((task.id, task) for task in page.items)
        if any(map(enough, page.items)):
            return TaskList(list(tasks.values()), enough=True, whole=False)
        if not page.items or (page.total_pages is not None and number >= page.total_pages):
            break
        if from_date is not None and _is_past(page.items, from_date):
            break
    else:
        if pages == MAX_PAGES:
            log.warning("The look-up has read %d pages of the tasks of %s and ends there", pages, target_id)
        return TaskList(list(tasks.values()), enough=False, whole=False)
    return TaskList(list(tasks.values()), enough=False, whole=True)


def _is_past(items: Sequence[Task], since: datetime) -> bool:
    """
    Whether a page shows newest changes first, and its last is older than what is looked for.

    Creation alone does not tell: behind old tasks that have changed lately a younger one may stand.
    """
    times = [task.updated_at or task.created_at for task in items]
    known = [time for time in times if time is not None]
    return len(known) == len(times) and known == sorted(known, reverse=True) and known[-1] < since


class Lists:
    """The lists of a look-up, which reads them itself here."""

    was_old = False
    """Whether the last one was read before it was asked for: it shows enough, but may not show all."""
    only_new = False
    """Whether to take none that was read before it was asked for, even if it shows enough."""

    def read(self, target_id: str, since: datetime | None, enough: Callable[[Task], bool]) -> Steps[TaskList]:
        """
        List the tasks of a target.

        :param target_id: the agent or workflow that runs them.
        :param since: the start of the DAG run, or None for all that there are.
        :param enough: whether a task ends the reading.
        :raises XpanderError: the service does not answer.
        """
        return (yield from read_task_list(target_id, since, enough))
