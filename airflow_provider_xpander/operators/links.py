"""The link from an Airflow task to its run in the console of xpander.ai."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander._compat import BaseOperatorLink, xcom_of

LINK_KEY = "xpander_link"
"""The XCom of the link: pushed as soon as the run is known, and nothing else is needed to show it."""


class XpanderRunLink(BaseOperatorLink):
    """
    Show where a person finds the run: the page of its agent, or what ``task_link_template`` says.

    Airflow 2 asks this class in the webserver. Airflow 3 reads the XCom itself, and asks only in the worker,
    at the end of a task, to store the link. It is stored already, and where there is no run, asking would log
    an error and store an empty link. So operators empty their ``operator_extra_links`` when they execute.
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
