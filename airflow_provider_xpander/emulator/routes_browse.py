"""The browse routes: which agents and workflows there are (contract 2.9)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from airflow_provider_xpander.emulator import catalogue
from airflow_provider_xpander.emulator.bodies import page_body
from airflow_provider_xpander.emulator.dependencies import PageNumber, PageSize, Service
from airflow_provider_xpander.emulator.state import NotFoundError

router = APIRouter()


@router.get("/agents")
async def list_agents(emulator: Service, page: PageNumber = 1, per_page: PageSize = 20) -> Response:
    """
    List agents, in short.

    :param emulator: the emulator.
    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    return JSONResponse(page_body(catalogue.agents(emulator.agents), page, per_page))


@router.get("/agents/full")
async def list_full_agents(emulator: Service, page: PageNumber = 1, per_page: PageSize = 20) -> Response:
    """
    List agents, in full.

    :param emulator: the emulator.
    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    full = [
        catalogue.agent(emulator.agents, agent["id"]) or {} for agent in catalogue.agents(emulator.agents)
    ]
    return JSONResponse(page_body(full, page, per_page))


@router.get("/agents/{agent_id}")
async def get_agent(agent_id: str, emulator: Service) -> Response:
    """
    Answer one agent.

    :param agent_id: id of the agent.
    :param emulator: the emulator.
    """
    return _answer(catalogue.agent(emulator.agents, agent_id), f"Agent {agent_id} not found")


@router.get("/workflows")
async def list_workflows(emulator: Service, page: PageNumber = 1, per_page: PageSize = 20) -> Response:
    """
    List workflows.

    :param emulator: the emulator.
    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    return JSONResponse(page_body(catalogue.workflows(emulator.agents), page, per_page))


@router.get("/workflows/{workflow_id}")
async def get_workflow(workflow_id: str, emulator: Service) -> Response:
    """
    Answer one workflow.

    :param workflow_id: id of the workflow.
    :param emulator: the emulator.
    """
    return _answer(catalogue.workflow(emulator.agents, workflow_id), f"Workflow {workflow_id} not found")


@router.get("/workflows/{workflow_id}/nodes")
async def list_nodes(workflow_id: str, emulator: Service) -> Response:
    """
    List the nodes of a workflow.

    :param workflow_id: id of the workflow.
    :param emulator: the emulator.
    """
    return _answer(catalogue.nodes(emulator.agents, workflow_id), f"Workflow {workflow_id} not found")


def _answer(body: Any, otherwise: str) -> Response:
    if body is None:
        raise NotFoundError(otherwise)
    return JSONResponse(body)
