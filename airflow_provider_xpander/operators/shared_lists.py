"""
Lists of an agent's tasks that the processes of one host share, for many tasks that are tried again at once.

Each attempt has a process of its own. One of them reads the list; the others wait for it, and take from a
small file what it has seen: ids, marks and statuses, nothing secret. A run that is in the file is read before
anything follows from it. That a run is not there counts only if the list was read after the attempt has asked
for it, so nothing is ever started because of what somebody has seen before.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_xpander.api.exchange import Sleep, Steps
from airflow_provider_xpander.api.host_budget import host_folder
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.identity import read_mark
from airflow_provider_xpander.runs.lookup import Wanted, find_runs
from airflow_provider_xpander.runs.task_list import Lists, TaskList

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook

KEPT = 600.0
"""Seconds for which what was seen is kept."""
TURN = 0.2
"""Seconds between two tries to get one's turn."""
TURNS = 300
"""How often that is tried: whoever has the turn may be waiting for the service."""


def find_together(
    hook: XpanderHook, wanted: Wanted, settles_it: Callable[[Sequence[Task]], bool]
) -> Sequence[Task]:
    """
    Find runs as :func:`~airflow_provider_xpander.runs.lookup.find_runs`, by what others have seen first.

    :param hook: where to look.
    :param wanted: the run.
    :param settles_it: whether some runs are all that one needs to know, whatever else there may be.
    :raises XpanderError: the service does not answer, so nothing is known.
    """
    lists = SharedLists.of(hook.settings, wanted.target_id, wanted.since)
    found: Sequence[Task] = hook.run(find_runs(wanted, lists=lists))
    if not lists.was_old:
        return found
    found = list(filter(wanted.is_marked, found))
    if settles_it(found):
        return found
    lists.only_new = True
    return hook.run(find_runs(wanted, lists=lists))


@dataclass
class SharedLists(Lists):
    """
    The list of one agent's tasks since one time.

    :param path: the file.
    """

    path: Path

    @classmethod
    def of(cls, settings: Settings, target_id: str, since: datetime | None) -> Lists:
        """
        Return the list that is shared, or one that is not, where there is no safe place for a file.

        :param settings: those of the connection.
        :param target_id: the agent or workflow.
        :param since: the start of the DAG run.
        """
        key = [settings.base_url, settings.organization_id, target_id, str(since)]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        place = host_folder()
        return cls(place / name) if place else Lists()

    def read(self, target_id: str, since: datetime | None, enough: Callable[[Task], bool]) -> Steps[TaskList]:
        """
        List the tasks of a target, from the file if that tells as much.

        :param target_id: the agent or workflow that runs them.
        :param since: the start of the DAG run.
        :param enough: whether a task ends the reading.
        :raises XpanderError: the service does not answer.
        """
        asked = time.time()
        with self._lock() as got_turn:
            for _ in range(TURNS):
                if got_turn():
                    break
                yield Sleep(TURN)
            began, tasks = self._load()
            self.was_old = began < asked
            if not self.was_old or (not self.only_new and any(map(enough, tasks))):
                return TaskList(tasks, enough=any(map(enough, tasks)), whole=not self.was_old)
            self.was_old, began_now = False, time.time()
            listed = yield from super().read(target_id, since, enough)
            self._store(began if listed.enough else began_now, tasks, listed.tasks)
            return listed

    @contextmanager
    def _lock(self) -> Iterator[Callable[[], bool]]:
        """Give what tries to get one's turn, which ends with the block or with the process."""
        try:
            file = self.path.with_suffix(".lock").open("w")
        except OSError:
            yield lambda: True  # everybody for himself
            return
        with file:
            yield partial(_got_turn, file)

    def _load(self) -> tuple[float, list[Task]]:
        """Return when the last reading of the whole list began, and what was seen."""
        try:
            if time.time() - self.path.stat().st_mtime > KEPT:
                return 0.0, []
            kept = json.loads(self.path.read_text())
            began, tasks = float(kept["began"]), [Task.model_validate(one) for one in kept["tasks"]]
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0, []
        return (began if began <= time.time() else 0.0), tasks  # the clock was put back

    def _store(self, began: float, before: list[Task], now: list[Task]) -> None:
        tasks = {task.id: task for task in [*before, *now]}
        text = json.dumps({"began": began, "tasks": list(map(_kept, tasks.values()))})
        try:
            for file in self.path.parent.iterdir():
                if time.time() - file.stat().st_mtime > 100 * KEPT:
                    file.unlink()
            written = self.path.with_suffix(".new")
            written.write_text(text)
            written.replace(self.path)
        except OSError:
            return  # the others read the list themselves


def _got_turn(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _kept(task: Task) -> dict[str, Any]:
    mark = read_mark(task.title)
    times = {name: getattr(task, name) for name in ("created_at", "updated_at")}
    return {
        "id": task.id,
        "agent_id": task.agent_id,
        "status": task.status.value,
        "title": str(mark) if mark else None,
        **{name: time.isoformat() if time else None for name, time in times.items()},
    }
