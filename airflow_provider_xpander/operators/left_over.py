"""Runs that attempts before a clear have left running, because they were kept for a retry that never came."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.adopt import Note, goes_on, is_usable
from airflow_provider_xpander.runs.lookup import Wanted, find_left_over, get_known

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook


def left_over(
    hook: XpanderHook, log: Any, wanted: Wanted, thread: str | None, noted: Note | None
) -> tuple[Task, ...]:
    """
    Find the runs of attempts before a clear that go on.

    :param hook: where to look.
    :param log: where to say what was found, or that nothing could be.
    :param wanted: those runs.
    :param thread: the thread that the task continues, if it does.
    :param noted: what such an attempt has noted down of its run, if there is such a note.
    """
    ids = [thread] if thread else []
    if noted:
        ids.append(noted.task_id)
        wanted = replace(wanted, digests=wanted.digests | {noted.digest})
    try:
        known = hook.run(get_known(ids))
        # After one that failed, another may have been started and not noted.
        is_all = any(noted and task.id == noted.task_id and is_usable(task) for task in known)
        listed = [] if is_all else hook.run(find_left_over(wanted))
    except XpanderError as error:
        log.warning(
            "%s A run from before the task was cleared could not be looked for and may go on. "
            "A new run is started all the same.",
            error,
        )
        return ()
    ours = [task for task in known if task.id != thread or wanted.is_marked(task)]
    found = {task.id: task for task in [*ours, *listed] if goes_on(task)}
    for task_id in found:
        log.warning("xpander task %s goes on from before the task was cleared", task_id)
    return tuple(found.values())
