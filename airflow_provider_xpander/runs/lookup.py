"""Finding a run whose id was lost, by the mark that it carries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_xpander.api.errors import XpanderNotFoundError
from airflow_provider_xpander.api.exchange import Sleep, Steps, exchange
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.routes import get_task, list_tasks
from airflow_provider_xpander.runs.adopt import is_usable
from airflow_provider_xpander.runs.identity import read_mark

log = logging.getLogger(__name__)

MARGIN = timedelta(minutes=10)
"""How far the clocks of Airflow and of the service may be apart."""
MAX_PAGES = 40
"""Pages of 50 tasks that a look-up reads at the most."""
MAX_RECORDS = 100
"""Full records that a look-up reads at the most, where titles were rewritten."""
LOOKUP_ATTEMPTS = 20
"""How often one request of a look-up is made, over some two minutes: what it finds is worth a run."""
LAG = (0.0, 5.0, 10.0)
"""Seconds before each look: a list may lag behind the submit."""

_ASKED = ("text", "files")
_UNSPECIFIC = frozenset({None, "", "api"})
"""What ``source`` is where a service does not keep the one that it was sent (samples have ``api``)."""

_POLICY = RetryPolicy(attempts=LOOKUP_ATTEMPTS)


@dataclass(frozen=True)
class Wanted:
    """
    The run that is looked for.

    :param target_id: the agent or workflow that runs it.
    :param digest: of the identity that it was started for.
    :param since: the earliest time at which it can have been created, or None if that is unknown.
    :param known: ids of runs of the same identity that are not meant, because they ended before.
    :param input: what was asked, by which a run is known where the service keeps no mark at all; None if
        that could be an older run of the same task.
    """

    target_id: str
    digest: str
    since: datetime | None = None
    known: frozenset[str] = frozenset()
    input: Mapping[str, Any] | None = None

    def is_in(self, text: str | None) -> bool:
        """Whether a title or source carries the mark."""
        mark = read_mark(text)
        return mark is not None and mark.digest == self.digest

    def is_marked(self, task: Task) -> bool:
        """Whether the title of a listed task says that it is the run."""
        return self.is_in(task.title) and task.id not in self.known

    def may_be(self, task: Task) -> bool:
        """Whether a listed task may be it although its title does not say so: in time, and nobody else's."""
        if task.id in self.known or task.agent_id not in (None, self.target_id):
            return False
        in_time = self.since is None or task.created_at is None or task.created_at >= self.since - MARGIN
        return in_time and read_mark(task.title) is None

    def looks_like(self, record: Task) -> bool:
        """Whether a full record without any mark is of the same input, and of that time."""
        if self.input is None or record.input is None or self.since is None or record.created_at is None:
            return False
        return (
            record.source in _UNSPECIFIC
            and record.created_at >= self.since - MARGIN
            and all((record.input.get(part) or None) == (self.input.get(part) or None) for part in _ASKED)
        )


def find_runs(wanted: Wanted, *, lag: Sequence[float] = LAG) -> Steps[list[Task]]:
    """
    Find the runs that carry the mark, by title, or by source where the service has rewritten the titles.

    Where it has kept neither, the one run of that time with the very input is taken, if there is just one.

    A run that goes on or has completed ends the search. One that failed does not: a later attempt may have
    started another.

    :param wanted: the run.
    :param lag: seconds before each look; the last look that finds something is the last.
    :return: full records, as the service sent them; empty if there is no such run.
    :raises XpanderError: the service does not answer, so nothing is known.
    """
    others: dict[str, Task] = {}
    for seconds in lag:
        if seconds:
            yield Sleep(seconds)
        listed = yield from _listed(wanted)
        found = yield from get_known([task.id for task in listed if wanted.is_marked(task)])
        if not any(map(is_usable, found)):
            after = max((task.created_at for task in found if task.created_at), default=None)
            hidden = [task for task in listed if wanted.may_be(task) and _is_from(task, after)]
            found += yield from _by_source(wanted, hidden, others)
        if found:
            return found
    return _only_look_alike(wanted, others.values())


def _only_look_alike(wanted: Wanted, records: Collection[Task]) -> list[Task]:
    alike = [record for record in records if wanted.looks_like(record)]
    if not alike:
        return []
    if len(alike) > 1:
        log.warning(
            "%d tasks of %s have the input of the run that is looked for and no mark, so none is taken: %s",
            len(alike),
            wanted.target_id,
            ", ".join(task.id for task in alike),
        )
        return []
    log.warning(
        "xpander task %s has lost its mark, but it is the only one of %s in that time with the same input: "
        "it is taken for the run",
        alike[0].id,
        wanted.target_id,
    )
    return alike


def _by_source(wanted: Wanted, listed: Sequence[Task], others: dict[str, Task]) -> Steps[list[Task]]:
    """Read the full records of tasks until one is the run; ``others`` remembers those that are not."""
    found: list[Task] = []
    unread = [task for task in listed if task.id not in others]
    if len(unread) > MAX_RECORDS:
        log.warning(
            "%d tasks of %s may be the run that is looked for; the first %d of them are read",
            len(unread),
            wanted.target_id,
            MAX_RECORDS,
        )
    for task in unread[:MAX_RECORDS]:
        for record in (yield from get_known([task.id])):
            if wanted.is_in(record.source):
                found.append(record)
            else:
                others[record.id] = record
        if any(map(is_usable, found)):
            break
    return found


def _is_from(task: Task, moment: datetime | None) -> bool:
    return moment is None or task.created_at is None or task.created_at >= moment


def _listed(wanted: Wanted) -> Steps[list[Task]]:
    """List the target's tasks, as far back as the run can be; filters may be ignored, any order."""
    since = None if wanted.since is None else wanted.since - MARGIN
    tasks: dict[str, Task] = {}
    for number in range(1, MAX_PAGES + 1):
        page = yield from exchange(
            list_tasks(agent_id=wanted.target_id, from_date=since, page=number), _POLICY
        )
        tasks.update((task.id, task) for task in page.items)
        if any(wanted.is_marked(task) and is_usable(task) for task in page.items):
            break
        if not page.items or (page.total_pages is not None and number >= page.total_pages):
            break
        if since is not None and _is_past(page.items, since):
            break
    else:
        log.warning(
            "The look-up has read %d pages of the tasks of %s and ends there", MAX_PAGES, wanted.target_id
        )
    return list(tasks.values())


def _is_past(items: Sequence[Task], since: datetime) -> bool:
    """
    Whether a page shows newest changes first, and its last is older than what is looked for.

    Creation alone does not tell: behind old tasks that have changed lately a younger one may stand.
    """
    times = [task.updated_at or task.created_at for task in items]
    known = [time for time in times if time is not None]
    return len(known) == len(times) and known == sorted(known, reverse=True) and known[-1] < since


def get_known(ids: Sequence[str]) -> Steps[list[Task]]:
    """Read the runs with these ids; those that the service does not know are left out."""
    records = []
    for task_id in dict.fromkeys(ids):
        try:
            records.append((yield from exchange(get_task(task_id), _POLICY)))
        except XpanderNotFoundError:
            continue
    return records


def find_by_id(
    task_id: str, is_it: Callable[[Task], bool], *, lag: Sequence[float] = LAG
) -> Steps[list[Task]]:
    """
    Find a run whose id is known, but which reads may not show yet.

    :param task_id: the id.
    :param is_it: whether a record is of the run, rather than of the thread's previous turn.
    :param lag: seconds before each look.
    """
    for seconds in lag:
        if seconds:
            yield Sleep(seconds)
        found = [task for task in (yield from get_known([task_id])) if is_it(task)]
        if found:
            return found
    return []
