"""The browse routes: which agents and workflows there are (contract 2.9)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from airflow_provider_xpander.emulator import catalogue
from airflow_provider_xpander.emulator.bodies import page_body
from airflow_provider_xpander.emulator.dependencies import PageNumber, PageSize
from airflow_provider_xpander.emulator.state import NotFoundError

router = APIRouter()


@router.get("/agents")
async def list_agents(page: PageNumber = 1, per_page: PageSize = 20) -> Response:
    """
    List agents, in short.

    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    return JSONResponse(page_body(catalogue.agents(), page, per_page))


@router.get("/agents/full")
async def list_full_agents(page: PageNumber = 1, per_page: PageSize = 20) -> Response:
    """
    List agents, in full.

    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    full = [catalogue.agent(agent["id"]) or {} for agent in catalogue.agents()]
    return JSONResponse(page_body(full, page, per_page))


@router.get("/agents/{agent_id}")
async def get_agent(agent_id: str) -> Response:
    """
    Answer one agent.

    :param agent_id: id of the agent.
    """
    return _answer(catalogue.agent(agent_id), f"Agent {agent_id} not found")


@router.get("/workflows")
async def list_workflows(page: PageNumber = 1, per_page: PageSize = 20) -> Response:
    """
    List workflows.

    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    return JSONResponse(page_body(catalogue.workflows(), page, per_page))


@router.get("/workflows/{workflow_id}")
async def get_workflow(workflow_id: str) -> Response:
    """
    Answer one workflow.

    :param workflow_id: id of the workflow.
    """
    return _answer(catalogue.workflow(workflow_id), f"Workflow {workflow_id} not found")


@router.get("/workflows/{workflow_id}/nodes")
async def list_nodes(workflow_id: str) -> Response:
    """
    List the nodes of a workflow.

    :param workflow_id: id of the workflow.
    """
    return _answer(catalogue.nodes(workflow_id), f"Workflow {workflow_id} not found")


def _answer(body: Any, otherwise: str) -> Response:
    if body is None:
        raise NotFoundError(otherwise)
    return JSONResponse(body)
