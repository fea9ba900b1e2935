"""The Airflow task instance: the identity of its run, its retries, and the note that an attempt leaves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_xpander._compat import AirflowFailException, Context
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.runs.error_policy import FINAL
from airflow_provider_xpander.runs.identity import Identity

log = logging.getLogger(__name__)

STORE_KEY = "xpander_run"


def identity_of(ti: Any, *, retries: int | None, anew: bool = False) -> Identity:
    """
    Return whose run an attempt starts.

    :param ti: the task instance.
    :param retries: the task's ``retries``.
    :param anew: give each attempt an identity of its own.
    """
    first_try = ti.try_number if anew else (ti.max_tries or 0) - (retries or 0) + 1
    map_index = -1 if ti.map_index is None else ti.map_index
    return Identity(ti.dag_id, ti.run_id, ti.task_id, map_index, first_try)


def retries_left(ti: Any) -> bool:
    """
    Whether Airflow tries the task again when this attempt fails.

    :param ti: the task instance.
    """
    return bool(ti.try_number <= (ti.max_tries or 0))


@contextmanager
def failing_at_once(final: tuple[type[XpanderError], ...] = FINAL) -> Iterator[None]:
    """
    Turn errors that a retry would only repeat into a failure that uses no retry (``runs/error_policy.py``).

    :param final: those errors; by default those of operators.
    :raises AirflowFailException: with the text of the error.
    """
    try:
        yield
    except final as error:
        raise AirflowFailException(str(error)) from error


def note_run(context: Context, identity: Identity, task_id: str) -> None:
    """
    Note the run in Airflow's task state store (3.3), which saves the next attempt a look-up.

    :param context: that of the task instance.
    :param identity: whose run it is.
    :param task_id: the remote task.
    """
    store = context.get("task_state_store")
    if store is None:
        return
    try:
        store.set(STORE_KEY, {"task_id": task_id, "digest": identity.digest})
    except Exception:  # only a short cut: whatever goes wrong there may not cost the run
        log.warning("The run could not be noted in the task state store", exc_info=True)


def noted_run(context: Context, identity: Identity) -> str | None:
    """
    Return the id of the run that an earlier attempt of the same identity has noted, or None.

    :param context: that of the task instance.
    :param identity: whose run it is.
    """
    store = context.get("task_state_store")
    if store is None:
        return None
    try:
        note = store.get(STORE_KEY)
    except Exception:  # as above: the look-up finds the run
        log.warning("The task state store could not be read", exc_info=True)
        return None
    if isinstance(note, dict) and note.get("digest") == identity.digest and note.get("task_id"):
        return str(note["task_id"])
    return None
