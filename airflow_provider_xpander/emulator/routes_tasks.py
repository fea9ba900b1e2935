"""The task routes: look at tasks, list, stop and delete them (contract 2.4 to 2.8)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import JSONResponse, Response
from pydantic import BeforeValidator

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.dependencies import PageNumber, PageSize, Service
from airflow_provider_xpander.emulator.state import NotFoundError

router = APIRouter()

Filters = dict[str, str | None]


def _iso(value: str) -> str:
    # A number would be taken for seconds since 1970.
    if not re.match(r"\d{4}-\d\d-\d\d", value):
        raise ValueError("a date by ISO 8601 is needed")
    return value


Moment = Annotated[datetime, BeforeValidator(_iso)]


async def filters(
    user_id: str | None = None,
    parent_task_id: str | None = None,
    triggering_agent_id: str | None = None,
    status: TaskStatus | None = None,
    internal_status: str | None = None,
) -> Filters:
    """
    Read the filters that both lists have.

    :param user_id: only tasks of this user.
    :param parent_task_id: only sub-tasks of this task.
    :param triggering_agent_id: only tasks that this agent triggered.
    :param status: only tasks in this status.
    :param internal_status: only tasks with this internal status.
    """
    return {
        "user_id": user_id,
        "parent_task_id": parent_task_id,
        "triggering_agent_id": triggering_agent_id,
        "status": status.value if status else None,
        "internal_status": internal_status,
    }


CommonFilters = Annotated[Filters, Depends(filters)]


@router.get("/tasks")
async def list_tasks(
    emulator: Service,
    common: CommonFilters,
    agent_id: str | None = None,
    from_date: Moment | None = None,
    to_date: Moment | None = None,
    page: PageNumber = 1,
    per_page: PageSize = 20,
) -> Response:
    """
    List tasks, latest update first.

    :param emulator: the emulator.
    :param common: the filters that both lists have.
    :param agent_id: only tasks of this agent or workflow.
    :param from_date: only tasks created at or after this time.
    :param to_date: only tasks created at or before this time.
    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    if common["status"] is not None and emulator.settings.list_status_filter == "refused":
        raise HTTPException(422, "status is no filter")
    equal = {**common, "agent_id": agent_id}
    return JSONResponse(
        emulator.list_tasks(equal, _aware(from_date), _aware(to_date), page=page, per_page=per_page)
    )


@router.get("/agents/{agent_id}/tasks")
async def list_agent_tasks(
    agent_id: str, emulator: Service, common: CommonFilters, page: PageNumber = 1, per_page: PageSize = 20
) -> Response:
    """
    List the tasks of one agent or workflow; without dates, as the service has it.

    :param agent_id: only tasks of this agent or workflow.
    :param emulator: the emulator.
    :param common: the filters that both lists have.
    :param page: from 1.
    :param per_page: items on a page, 1 to 50.
    """
    if emulator.agents.find("workflow", agent_id) is None:
        raise NotFoundError(f"Agent {agent_id} not found")
    return JSONResponse(emulator.list_tasks({**common, "agent_id": agent_id}, page=page, per_page=per_page))


@router.get("/tasks/{task_id}")
async def get_task(task_id: str, emulator: Service) -> Response:
    """
    Answer one task.

    :param task_id: id of the task.
    :param emulator: the emulator.
    """
    return JSONResponse(emulator.body(emulator.visible_task(task_id)))


@router.post("/tasks/{task_id}/stop")
async def stop_task(task_id: str, emulator: Service) -> Response:
    """
    Cancel a task; as often as one likes.

    :param task_id: id of the task.
    :param emulator: the emulator.
    """
    return JSONResponse(emulator.body(emulator.stop(task_id)))


@router.delete("/tasks/{task_id}", status_code=204)
async def delete_task(task_id: str, emulator: Service) -> Response:
    """
    Erase a task.

    :param task_id: id of the task.
    :param emulator: the emulator.
    """
    emulator.delete(task_id)
    status = emulator.settings.delete_status
    if status == 200:
        return JSONResponse({"message": "Task deleted successfully"})
    return Response(status_code=status)


@router.get("/tasks/{task_id}/thread")
async def get_thread(task_id: str, emulator: Service) -> Response:
    """
    Answer the messages of a task.

    :param task_id: id of the task.
    :param emulator: the emulator.
    """
    return JSONResponse(emulator.thread(task_id))


@router.get("/tasks/{task_id}/thread/full")
async def get_full_thread(task_id: str, emulator: Service) -> Response:
    """
    Answer the messages of a task and of its sub-tasks, of which the emulator has none.

    :param task_id: id of the task.
    :param emulator: the emulator.
    """
    messages = emulator.thread(task_id)
    return JSONResponse(messages if emulator.settings.full_thread == "array" else {"root": messages})


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
