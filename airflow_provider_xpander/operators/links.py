"""The link from an Airflow task to its run in the console of xpander.ai."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander._compat import BaseOperatorLink, xcom_of
from airflow_provider_xpander.xcom import LINK_KEY


def leave_link_as_it_is(operator: Any) -> None:
    """
    Have Airflow 3 not store the link once more at the end of a task.

    It would read our XCom to do so, log an error where there is none because no run was started, and store an
    empty link.

    :param operator: the operator that is executed.
    """
    operator.operator_extra_links = ()


class XpanderRunLink(BaseOperatorLink):
    """
    Show where a person finds the run: the page of its agent, or what ``task_link_template`` says.

    Airflow 3 reads the XCom itself and asks this class only in the worker; Airflow 2 asks it
    in the webserver.
    """

    name = "xpander.ai"
    # One key on all versions, and one that a template of another task can use.
    xcom_key = LINK_KEY

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """
        Return the link of a task instance, or an empty text while its run is not known.

        :param operator: the task; not used.
        :param ti_key: the task instance or its key.
        """
        return str(xcom_of(ti_key, self.xcom_key) or "")
