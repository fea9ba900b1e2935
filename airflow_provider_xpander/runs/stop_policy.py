"""The fate of a run whose Airflow task ends first: nothing goes on unless somebody wants it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from urllib.parse import quote

from airflow_provider_xpander.api.settings import Settings

OnKill = Literal["stop", "leave"]
OnTimeout = Literal["stop", "leave"]


class Fate(StrEnum):
    """What to do with the run."""

    STOP = "stop"
    KEEP = "keep"
    """It goes on, and the next attempt takes it over."""
    LEAVE = "leave"
    """It goes on, because the author said so."""


def fate_after_failure(*, retries_left: bool, reattach: bool, action: OnKill) -> Fate:
    """
    Decide the fate of a run that goes on when its task fails.

    :param retries_left: whether Airflow will try the task again.
    :param reattach: whether that attempt would take the run over.
    :param action: what the author wants for runs whose task is gone.
    """
    if retries_left and reattach:
        return Fate.KEEP
    return Fate.STOP if action == "stop" else Fate.LEAVE


def fate_after_cancel(*, deferred_on_this: bool | None, action: OnKill) -> Fate:
    """
    Decide the fate of a run when its trigger is cancelled.

    :param deferred_on_this: whether the task instance is still deferred on this very run, so that another
        triggerer goes on with it; None if that could not be found out. Then the run is kept: an orphan costs
        money, a wrong stop loses work that was paid for.
    :param action: what the author wants for runs whose task is gone.
    """
    if deferred_on_this is None or deferred_on_this:
        return Fate.KEEP
    return Fate.STOP if action == "stop" else Fate.LEAVE


def goes_on(task_id: str, settings: Settings | None, agent_id: str | None, why: str) -> str:
    """
    Say that a run goes on, why, and where a person finds it.

    :param task_id: the run.
    :param settings: those of the connection, None if it cannot be read.
    :param agent_id: the agent or workflow that runs it, or None if it is not known.
    :param why: the reason, as the end of a sentence.
    """
    at = "" if settings is None else f": {settings.task_link(task_id=task_id, agent_id=agent_id)}"
    return f"xpander task {task_id} goes on, {why}{at}"


def not_stopped(task_id: str, settings: Settings | None, why: object) -> str:
    """
    Say that a run could not be stopped, and by which call a person stops it.

    :param task_id: the run.
    :param settings: those of the connection, None if it cannot be read.
    :param why: what went wrong.
    """
    bearer = settings is not None and settings.auth_mode == "bearer"
    key = "Authorization: Bearer <token>" if bearer else "x-api-key: <key>"
    url = f"{settings.base_url if settings else '<base URL>'}/v1/tasks/{quote(task_id, safe='')}/stop"
    return (
        f"xpander task {task_id} could not be stopped and may go on ({why}). "
        f"Stop it with: curl -X POST -H '{key}' {url}"
    )
