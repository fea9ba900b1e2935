"""Answers of the browse routes: agents, workflows and their nodes (contract 2.9), pure."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander.emulator.agents import AGENTS, NODES, WORKFLOWS
from airflow_provider_xpander.emulator.registry import Registry
from airflow_provider_xpander.emulator.settings import ORGANIZATION_ID

MODEL_PROVIDER = "openai"
MODEL_NAME = "emulated-1"
AGENT_VERSION = "3"


def agents(registry: Registry) -> list[dict[str, Any]]:
    """
    Return every agent, in short.

    :param registry: the agents and workflows that there are.
    """
    return [_short(agent_id, "regular") for agent_id in registry.ids("agent")]


def workflows(registry: Registry) -> list[dict[str, Any]]:
    """
    Return every workflow, in full: its list has no short form.

    :param registry: the agents and workflows that there are.
    """
    return [full for workflow_id in registry.ids("workflow") if (full := workflow(registry, workflow_id))]


def agent(registry: Registry, agent_id: str) -> dict[str, Any] | None:
    """
    Return one agent in full, or None if there is no such agent.

    :param registry: the agents and workflows that there are.
    :param agent_id: id of the agent.
    """
    return _full(agent_id, "regular") if registry.find("agent", agent_id) else None


def workflow(registry: Registry, workflow_id: str) -> dict[str, Any] | None:
    """
    Return one workflow in full, or None if there is no such workflow.

    :param registry: the agents and workflows that there are. What is scripted may be taken for either.
    :param workflow_id: id of the workflow.
    """
    known = workflow_id in WORKFLOWS or registry.script_for(workflow_id)
    return _full(workflow_id, "orchestration") if known else None


def nodes(registry: Registry, workflow_id: str) -> list[dict[str, Any]] | None:
    """
    Return the nodes of a workflow, or None if there is no such workflow.

    :param registry: the agents and workflows that there are.
    :param workflow_id: id of the workflow.
    """
    ids = NODES.get(workflow_id, ("start",) if workflow(registry, workflow_id) else None)
    return None if ids is None else [{"id": node, "name": node.title(), "type": "agent"} for node in ids]


def _short(agent_id: str, kind: str) -> dict[str, Any]:
    act = {**AGENTS, **WORKFLOWS}.get(agent_id)
    does = (act.__doc__ if act else None) or "An agent of this emulator."
    return {
        "id": agent_id,
        "name": agent_id.replace("-", " ").title(),
        "description": does.strip().splitlines()[0],
        "icon": "🤖",
        "status": "ACTIVE",
        "organization_id": ORGANIZATION_ID,
        "type": kind,
        "deployment_type": "serverless",
        "created_at": "2026-01-15T09:30:00.000000Z",
        "instructions": {"role": [], "goal": [], "general": ""},
        "model_provider": MODEL_PROVIDER,
        "model_name": MODEL_NAME,
        "framework": "agno",
        "llm_api_base": None,
        "has_pending_changes": False,
        "using_nemo": False,
        "is_coordinate_mode": False,
    }


def _full(agent_id: str, kind: str) -> dict[str, Any]:
    return {
        **_short(agent_id, kind),
        "version": int(AGENT_VERSION),
        "unique_name": f"{agent_id}-emulated",
        "webhook_url": None,
        "output_format": "text",
        "output_schema": None,
        "graph": [{"id": node} for node in NODES.get(agent_id, ())],
        "tools": [],
        "source_nodes": [],
        "llm_settings": [],
        # Real agents carry secrets here; a client must not log them.
        "llm_credentials": {"value": "emulated-llm-secret"},
    }
