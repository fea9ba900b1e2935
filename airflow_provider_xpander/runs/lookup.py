"""The look-up of a run whose id was lost, by the mark that it carries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from airflow_provider_xpander.api.errors import XpanderNotFoundError
from airflow_provider_xpander.api.exchange import Sleep, Steps, exchange
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.routes import get_task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.adopt import goes_on, is_usable
from airflow_provider_xpander.runs.identity import Identity, read_mark
from airflow_provider_xpander.runs.task_list import LOOKUP_POLICY, MARGIN, Lists, read_task_list

log = logging.getLogger(__name__)

CLOCK_MARGIN = timedelta(seconds=10)
"""A run whose mark does not tell the start of the DAG run may have been created so long before it."""
LEFT_OVER_PAGES = 2
"""Pages of the list of all tasks that are read for runs from before a clear; then come lists by status."""
MAX_RECORDS = 100
"""Full records that a look-up reads at the most, where titles were rewritten."""
LAG = (0.0, 5.0, 10.0)
"""Seconds before each look: a list may lag behind the submit."""

_ASKED = ("text", "files")
_UNSPECIFIC = frozenset({None, "", "api"})
"""What ``source`` is where a service does not keep the one that it was sent (some samples have ``api``)."""

_GOING_ON = (TaskStatus.PENDING, TaskStatus.EXECUTING, TaskStatus.PAUSED)
"""In the order in which a run passes them, so that none is missed that passes from one to the next."""


@dataclass(frozen=True)
class Wanted:
    """
    The run that is looked for.

    :param target_id: the agent or workflow that runs it.
    :param digests: of the identities that it can have been started for.
    :param since: the start of the DAG run, or None if that is unknown.
    :param old_digests: digests that do not tell the start of the DAG run; they count for runs since it.
    :param known: ids of runs of the same identity that are not meant, because they ended before.
    :param input: what was asked, by which a run is known where the service keeps no mark at all; None if
        that could be an older run of the same task.
    :param pack: the pack of rows that the run is asked about; 0 for the only run of a task, None for any.
    """

    target_id: str
    digests: frozenset[str]
    since: datetime | None = None
    old_digests: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    input: Mapping[str, Any] | None = None
    pack: int | None = 0

    def is_in(self, text: str | None, task: Task) -> bool:
        """
        Whether a title or source carries the mark.

        :param text: the title or source.
        :param task: the task that it belongs to.
        """
        mark = read_mark(text)
        if mark is None or task.id in self.known or self.pack not in (None, mark.pack):
            return False
        return mark.digest in self.digests or (mark.digest in self.old_digests and self._is_since(task))

    def that_is(self, enough: Callable[[Task], bool]) -> Callable[[Task], bool]:
        """
        Return what tells of a listed task whether it carries the mark and is enough.

        :param enough: tells the second.
        """
        return lambda task: self.is_in(task.title, task) and enough(task)

    def is_marked(self, task: Task) -> bool:
        """
        Whether a full record carries the mark, in its title or its source.

        :param task: the record.
        """
        return self.is_in(task.title, task) or self.is_in(task.source, task)

    def may_be(self, task: Task) -> bool:
        """
        Whether a listed task without a mark may be the run: it is of that target and time.

        :param task: as listed.
        """
        if task.id in self.known or task.agent_id not in (None, self.target_id):
            return False
        return self.since is None or task.created_at is None or task.created_at >= self.since - MARGIN

    def looks_like(self, record: Task) -> bool:
        """
        Whether a task without any mark is of the same input, and of that time.

        :param record: the full record.
        """
        if self.input is None or record.input is None or not self._is_since(record):
            return False
        return record.source in _UNSPECIFIC and all(
            (record.input.get(part) or None) == (self.input.get(part) or None) for part in _ASKED
        )

    def _is_since(self, task: Task) -> bool:
        """Whether a task is known to have been created after the DAG run began."""
        if self.since is None or task.created_at is None:
            return False
        return task.created_at >= self.since - CLOCK_MARGIN


def wanted_of(
    identities: Iterable[Identity], target_id: str, since: datetime | None, pack: int | None = 0
) -> Wanted:
    """
    Return what to look for to find the runs of identities, by the marks of this release and of older ones.

    :param identities: whose runs are meant.
    :param target_id: the agent or workflow that runs them.
    :param since: the start of the DAG run, or None if that is unknown.
    :param pack: the pack of rows that is meant; None for any.
    """
    known = list(identities)
    return Wanted(
        target_id,
        frozenset(identity.digest for identity in known),
        since,
        frozenset(filter(None, (identity.old_digest for identity in known))),
        pack=pack,
    )


def find_runs(
    wanted: Wanted, *, lag: Sequence[float] = LAG, alive: bool = False, lists: Lists | None = None
) -> Steps[list[Task]]:
    """
    Find the runs that carry the mark, by title, or by source where the service keeps no mark in titles.

    Where it has kept neither, the one run of that time with the very input is taken, if there is just one.

    A run that goes on or has completed ends the search. One that failed does not: a later attempt may have
    started another.

    :param wanted: the run.
    :param lag: seconds before each look; the first look that finds something is the last.
    :param alive: look for runs that go on only.
    :param lists: how to get at the list; by default it is read.
    :return: full records, as the service sent them; empty if there is no such run.
    :raises XpanderError: the service does not answer, so nothing is known.
    """
    enough = goes_on if alive else is_usable
    lists = lists or Lists()
    others: dict[str, Task] = {}
    for seconds in lag:
        if seconds:
            yield Sleep(seconds)
        listed = (yield from lists.read(wanted.target_id, wanted.since, wanted.that_is(enough))).tasks
        found = [task for task in listed if not alive or goes_on(task)]
        if any(read_mark(task.title) for task in listed):
            # The service keeps titles, so a task without a mark in it is somebody else's.
            others.clear()
            found = yield from get_known([task.id for task in found if wanted.is_in(task.title, task)])
        else:
            found = yield from _by_source(wanted, filter(wanted.may_be, found), enough, others)
        if found:
            return found
    return _only_look_alike(wanted, others.values())


def find_all(wanted: Wanted) -> Steps[list[Task]]:
    """
    Find all runs that carry the mark, in whatever status: those of a task that starts many.

    :param wanted: the runs.
    :return: the runs, as listed, or read where the service keeps no mark in titles.
    :raises XpanderError: the service does not answer, so nothing is known.
    """
    listed = (yield from read_task_list(wanted.target_id, wanted.since, lambda task: False)).tasks
    if any(read_mark(task.title) for task in listed):
        return [task for task in listed if wanted.is_in(task.title, task)]
    return (yield from _by_source(wanted, filter(wanted.may_be, listed), lambda task: False, {}))


def find_left_over(wanted: Wanted) -> Steps[list[Task]]:
    """
    Find runs that carry one of the marks and go on, among the tasks listed first, else among all that go on.

    One that has ended ends the search too: a later one would most likely stand before it.

    :param wanted: runs from before a clear.
    :return: the runs, as listed or read.
    :raises XpanderError: the service does not answer, so nothing is known.
    """
    is_ours = wanted.that_is(lambda task: True)
    first = yield from read_task_list(wanted.target_id, wanted.since, is_ours, pages=LEFT_OVER_PAGES)
    listed = {task.id: task for task in first.tasks}
    if not first.enough and not first.whole:
        for status in _GOING_ON:
            filter_is_ignored = partial(_is_not, status)
            more = yield from read_task_list(wanted.target_id, wanted.since, filter_is_ignored, status=status)
            listed |= {task.id: task for task in more.tasks}
            if more.enough:
                break
    alive = list(filter(goes_on, listed.values()))
    if any(read_mark(task.title) for task in listed.values()):
        return [task for task in alive if wanted.is_in(task.title, task)]
    return (yield from _by_source(wanted, filter(wanted.may_be, alive), goes_on, {}))


def _is_not(status: TaskStatus, task: Task) -> bool:
    return task.status is not status


def _only_look_alike(wanted: Wanted, records: Collection[Task]) -> list[Task]:
    if any(read_mark(record.source) for record in records):
        return []  # the service keeps marks, so a task without one is somebody else's
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


def _by_source(
    wanted: Wanted, listed: Iterable[Task], enough: Callable[[Task], bool], others: dict[str, Task]
) -> Steps[list[Task]]:
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
            if wanted.is_in(record.source, record):
                found.append(record)
            else:
                others[record.id] = record
        if any(map(enough, found)):
            break
    return found


def get_known(ids: Sequence[str]) -> Steps[list[Task]]:
    """
    Read runs.

    :param ids: their ids; those that the service does not know are left out.
    """
    records = []
    for task_id in dict.fromkeys(ids):
        try:
            records.append((yield from exchange(get_task(task_id), LOOKUP_POLICY)))
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
