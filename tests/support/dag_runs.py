"""DAG runs that ``dag.test()`` has made, as the database has them."""

from __future__ import annotations

from typing import Any

from airflow import __version__ as airflow_version
from airflow.utils.session import create_session


class Result:
    """One DAG run, as the database has it afterwards."""

    def __init__(self, dag_run: Any) -> None:
        self.dag_run = dag_run

    def state(self, task_id: str) -> str | None:
        """Return the state of a task that is not mapped."""
        instances = {instance.task_id: instance for instance in self.dag_run.get_task_instances()}
        return instances[task_id].state

    @property
    def states(self) -> dict[str, set[str]]:
        """All states by task."""
        found: dict[str, set[str]] = {}
        for instance in self.dag_run.get_task_instances():
            found.setdefault(instance.task_id, set()).add(str(instance.state))
        return found

    def xcoms(self, task_id: str, key: str = "return_value") -> list[Any]:
        """Return the values of a key by map index, as a reader gets them."""
        return [_decoded(row) for row in self.rows() if (row.task_id, row.key) == (task_id, key)]

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """Return the value of a key of a task that is not mapped."""
        (value,) = self.xcoms(task_id, key)
        return value

    def rows(self) -> list[Any]:
        """Return everything of this run in the table of XComs."""
        model = _xcom_model()
        with create_session() as session:
            query = session.query(model).filter_by(dag_id=self.dag_run.dag_id, run_id=self.dag_run.run_id)
            rows = query.order_by(model.task_id, model.map_index, model.key).all()
            session.expunge_all()
        return list(rows)


def _xcom_model() -> Any:
    if airflow_version.startswith("2."):
        from airflow.models.xcom import XCom

        return XCom
    from airflow.models.xcom import XComModel

    return XComModel


def _decoded(row: Any) -> Any:
    if airflow_version.startswith("2."):
        return row.value
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.deserialize_value(row)
