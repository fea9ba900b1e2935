"""
Questions to the people who use Airflow's UI, which shows them as "Required actions" (Airflow 3.1 and newer).

Only for where ``_compat.HAS_HUMAN_IN_THE_LOOP`` says that this Airflow has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async


def ask_person(
    ti_id: Any,
    *,
    subject: str,
    body: str,
    options: Sequence[str],
    multiple: bool = False,
    fields: Mapping[str, Any] | None = None,
    users: Sequence[str] = (),
) -> None:
    """
    Put a question to the people who use Airflow's UI, from a worker.

    A choice about an earlier question of the same try is taken off; the text of that question stays.

    :param ti_id: id of the task instance.
    :param subject: one line.
    :param body: Markdown.
    :param options: what may be chosen, one of them.
    :param multiple: whether several of them may be.
    :param fields: those of the form besides, as Airflow's parameters are written.
    :param users: ids of those who may answer; empty for everybody who may edit the DAG run.
    """
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    upsert_hitl_detail(
        ti_id,
        list(options),
        subject,
        body=body,
        multiple=multiple,
        params=dict(fields or {}),
        assigned_users=[{"id": user, "name": user} for user in users],
    )


async def persons_choice(ti_id: str) -> dict[str, Any] | None:
    """
    Read from within a triggerer what a person has chosen.

    :param ti_id: id of the task instance.
    :return: as Airflow itself gives it to a task that it resumes; None as long as nobody has chosen, and if
        there is no such question, as after a clear.
    """
    return await sync_to_async(_persons_choice)(ti_id)


def _persons_choice(ti_id: str) -> dict[str, Any] | None:
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail

    in_this_process = _questions_of_dag_test()
    try:
        if in_this_process is not None:
            found = in_this_process.get_detail_response(UUID(ti_id))
        else:
            found = get_hitl_detail_content_detail(UUID(ti_id))
    except AirflowRuntimeError as error:
        if _status_code(error) == 404:
            return None
        raise
    if not found.response_received or not found.chosen_options:
        return None
    by = found.responded_by_user
    return {
        "chosen_options": list(found.chosen_options),
        "params_input": dict(found.params_input or {}),
        "responded_at": found.responded_at.isoformat() if found.responded_at else None,
        "responded_by_user": None if by is None else {"id": by.id, "name": by.name},
    }


async def close_question(ti_id: str, choice: str) -> None:
    """
    Answer a question from within a triggerer, so that nobody is asked it any more; too late is fine.

    :param ti_id: id of the task instance.
    :param choice: what to note as the choice.
    """
    await sync_to_async(_close_question)(ti_id, choice)


def _close_question(ti_id: str, choice: str) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.hitl import update_hitl_detail_response

    in_this_process = _questions_of_dag_test()
    try:
        if in_this_process is not None:
            in_this_process.update_response(ti_id=UUID(ti_id), chosen_options=[choice], params_input={})
        else:
            update_hitl_detail_response(UUID(ti_id), [choice], {})
    except AirflowRuntimeError as error:
        if _status_code(error) not in (404, 409):
            raise


def _questions_of_dag_test() -> Any:
    """
    Return Airflow's API for questions, if a trigger of ``dag.test()`` asks; None in a triggerer.

    What stands for the supervisor there can put a question, and knows neither of the two other requests.
    """
    from airflow.sdk.execution_time import task_runner

    supervisor = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "supervisor", None)
    return None if supervisor is None else supervisor.client.hitl


def _status_code(error: Any) -> Any:
    detail = getattr(getattr(error, "error", None), "detail", None)
    return detail.get("status_code") if isinstance(detail, dict) else None
