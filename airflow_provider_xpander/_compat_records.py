"""
Airflow's records of task instances, from its database: a command line has no task SDK to ask.

Apart from ``_compat.py``, because only the command line needs them. What is used here is the same on each
version so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache

_AT_A_TIME = 5000


@dataclass(frozen=True, slots=True)
class Instance:
    """
    A task instance as the database has it.

    :param dag_id: the DAG.
    :param run_id: the DAG run.
    :param task_id: the task, with its groups.
    :param map_index: -1 if the task is not mapped.
    :param try_number: of the present try.
    :param max_tries: up to which try it is repeated; a clear moves it.
    :param state: the state, None after a clear.
    :param began: the start of the DAG run.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    max_tries: int
    state: str | None
    began: datetime | None


def instances_since(since: datetime) -> Iterator[Instance]:
    """
    Yield the task instances that have been tried, of DAG runs that have not ended before a time.

    :param since: that time.
    :raises ValueError: the database cannot be read.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import and_, or_, select
    from sqlalchemy.exc import SQLAlchemyError

    asked = (
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            TaskInstance.try_number,
            TaskInstance.max_tries,
            TaskInstance.state,
            DagRun.start_date,
        )
        .join(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
        .where(or_(DagRun.end_date.is_(None), DagRun.end_date >= since))
        .execution_options(yield_per=_AT_A_TIME)
    )
    try:
        with create_session() as session:
            for row in session.execute(asked):
                dag_id, run_id, task_id, map_index, try_number, max_tries, state, began = row
                yield Instance(
                    dag_id, run_id, task_id, map_index, try_number or 0, max_tries or 0, state, began
                )
    except SQLAlchemyError as error:
        raise ValueError(
            "Airflow's database cannot be read, so it is not known which runs are this Airflow's. Run the "
            f"command where Airflow's own commands work, such as 'airflow dags list'. {error}"
        ) from error


@cache
def _task_retries(dag_id: str) -> dict[str, int]:
    from airflow.models.serialized_dag import SerializedDagModel

    dag = SerializedDagModel.get_dag(dag_id)
    return {} if dag is None else {task.task_id: task.retries for task in dag.tasks}


def retries_of(instance: Instance) -> int | None:
    """
    Return the ``retries`` of a task as its DAG is now, or None if they are not known.

    :param instance: a task instance of it.
    """
    try:
        return _task_retries(instance.dag_id).get(instance.task_id)
    except Exception:  # a DAG that cannot be read; the answer errs on the side of a run that is wanted
        return None
