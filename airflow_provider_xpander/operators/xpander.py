"""The operators: run an xpander.ai agent or workflow as a step of a DAG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_xpander.api.models import Target
from airflow_provider_xpander.operators.arguments import check_id, naming
from airflow_provider_xpander.operators.invoke import XpanderInvokeOperator


class XpanderInvokeAgentOperator(XpanderInvokeOperator):
    """
    Run an agent and return its answer.

    All other parameters are those of
    :class:`~airflow_provider_xpander.operators.base.XpanderRequestOperator`.

    :param agent_id: id of the agent.
    :param kwargs: those that both operators share, and those of ``BaseOperator``.
    """

    template_fields: Sequence[str] = ("agent_id", *XpanderInvokeOperator.template_fields)

    def __init__(self, *, agent_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        with naming(self):
            check_id("agent_id", agent_id)
        self._note_written()

    def target(self) -> Target:
        """Return the agent."""
        check_id("agent_id", self.agent_id)
        return Target.agent(self.agent_id, self.version)


class XpanderInvokeWorkflowOperator(XpanderInvokeOperator):
    """
    Run a workflow and return its answer.

    All other parameters are those of
    :class:`~airflow_provider_xpander.operators.base.XpanderRequestOperator`.

    :param workflow_id: id of the workflow.
    :param kwargs: those that both operators share, and those of ``BaseOperator``.
    """

    template_fields: Sequence[str] = ("workflow_id", *XpanderInvokeOperator.template_fields)

    def __init__(self, *, workflow_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workflow_id = workflow_id
        with naming(self):
            check_id("workflow_id", workflow_id)
        self._note_written()

    def target(self) -> Target:
        """Return the workflow."""
        check_id("workflow_id", self.workflow_id)
        return Target.workflow(self.workflow_id, self.version)


__all__ = ["XpanderInvokeAgentOperator", "XpanderInvokeWorkflowOperator"]
