"""The facts of a failure, out of the contexts that Airflow gives its callbacks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from airflow_provider_xpander._compat import deployment_name
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.identity import Identity
from airflow_provider_xpander.runs.notice import Mask, Notice, errors_of
from airflow_provider_xpander.task_instance import region_of


def read_notice(context: Mapping[str, Any], *, purpose: tuple[str, ...], mask: Mask) -> Notice:
    """
    Return what there is to say.

    A task's context has its task instance; that of a DAG run has a reason; that of a deadline alert has the
    deadline, and the DAG run as plain data.

    :param context: of the callback.
    :param purpose: what tells this notifier from another of the same task.
    :param mask: hides what is known to be secret.
    """
    ti: Any = context.get("ti")
    run, dag = context.get("dag_run"), context.get("dag")
    deadline, reason = context.get("deadline"), context.get("reason")
    of_task = ti is not None and deadline is None and reason is None
    dag_id = str(_read(run, "dag_id") or _read(ti, "dag_id") or _read(dag, "dag_id") or "")
    run_id = str(_read(run, "run_id") or _read(run, "dag_run_id") or context.get("run_id") or "")
    identity = Identity(
        dag_id=dag_id,
        run_id=run_id,
        # A blank, which no id of a task has: the runs of the task itself are not to be taken for this one.
        task_id=f"{ti.task_id if of_task else ''} {_digest(purpose)} {_read(deadline, 'id') or ''}",
        map_index=ti.map_index if of_task and ti.map_index is not None else -1,
        first_try=ti.try_number if of_task else 1,
        began=_moment(_read(run, "start_date")),
        region=region_of(ti) if of_task else "",
        deployment=deployment_name(),
    )
    facts = {"DAG": dag_id, "DAG run": run_id, "Logical date": _text(_read(run, "logical_date"))}
    subject = f"{dag_id} {run_id}"
    if of_task:
        name = ti.task_id if identity.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
        subject = f"{dag_id}.{name} {run_id}, try {ti.try_number}"
        tries = (getattr(ti, "max_tries", 0) or 0) + 1
        facts |= {"Task": name, "Try": f"{ti.try_number} of {max(tries, ti.try_number)}"}
    elif deadline is not None:
        facts["Deadline that was missed"] = _text(_read(deadline, "deadline_time"))
    elif ti is not None:
        facts["Task that Airflow names"] = f"{ti.task_id} ({_text(_read(ti, 'state')) or 'state unknown'})"
    if ti is not None and deadline is None:
        with suppress(Exception):  # made of many things that a context of Airflow may lack
            facts["Log"] = ti.log_url
    facts |= {"Reason": printable(mask(str(reason)), 500) if reason else ""}
    facts |= {"Error": errors_of(context.get("exception"), mask)}
    return Notice(identity, subject, facts)


def _digest(purpose: tuple[str, ...]) -> str:
    return hashlib.sha256(repr(purpose).encode()).hexdigest()[:8]


def _read(source: Any, name: str) -> Any:
    """Return a value of an object, or of the plain data that stands for it."""
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
        return None
    return value if isinstance(value, datetime) else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(getattr(value, "value", value))
