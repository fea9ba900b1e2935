"""The operators: run an xpander.ai agent or workflow as a step of a DAG."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_xpander.operators.invoke import XpanderInvokeOperator


class XpanderInvokeAgentOperator(XpanderInvokeOperator):
    """
    Run an agent and return its answer.

    ``agent_id`` is the id of the agent. The other parameters are those of
    :class:`~airflow_provider_xpander.operators.base.XpanderRequestOperator`.
    """

    target_field = "agent_id"
    template_fields: Sequence[str] = ("agent_id", *XpanderInvokeOperator.template_fields)


class XpanderInvokeWorkflowOperator(XpanderInvokeOperator):
    """
    Run a workflow and return its answer.

    ``workflow_id`` is the id of the workflow. The other parameters are those of
    :class:`~airflow_provider_xpander.operators.base.XpanderRequestOperator`.
    """

    target_field = "workflow_id"
    template_fields: Sequence[str] = ("workflow_id", *XpanderInvokeOperator.template_fields)


__all__ = ["XpanderInvokeAgentOperator", "XpanderInvokeWorkflowOperator"]
