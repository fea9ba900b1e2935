"""The emulator's own routes, for tests in another process: no key, and never recorded."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field, ValidationError

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.clock import ManualClock
from airflow_provider_xpander.emulator.dependencies import Service
from airflow_provider_xpander.emulator.fault import Fault
from airflow_provider_xpander.emulator.middleware import CONTROL_PATH
from airflow_provider_xpander.emulator.page import task_page
from airflow_provider_xpander.emulator.run_fault import RunFault

router = APIRouter(prefix=CONTROL_PATH)

JsonObject = Annotated[dict[str, Any], Body()]


class Finish(BaseModel):
    """How a task is to end; default: as its agent would end it."""

    status: TaskStatus | None = None
    result: Any = None


@router.get("/calls")
async def calls(emulator: Service) -> list[dict[str, Any]]:
    """
    Answer every recorded call, oldest first.

    :param emulator: the emulator.
    """
    return [call.as_json() for call in emulator.calls]


@router.get("/runs")
async def runs(emulator: Service) -> list[dict[str, Any]]:
    """
    Answer every run that was started, oldest first.

    :param emulator: the emulator.
    """
    return [
        {
            "task_id": run.task_id,
            "kind": run.kind,
            "target_id": run.target_id,
            "title": run.body["title"],
            "started": run.started,
            "status": run.at(emulator.now()).status.value,
            "stops": emulator.stops(run.task_id),
        }
        for run in emulator.runs()
    ]


@router.post("/faults")
async def add_fault(fault: Fault, emulator: Service) -> dict[str, Any]:
    """
    Add a fault, given by the fields of :class:`Fault`.

    :param fault: what goes wrong, and where.
    :param emulator: the emulator.
    """
    return emulator.add_fault(fault).model_dump()


@router.post("/run-faults")
async def add_run_fault(fault: RunFault, emulator: Service) -> dict[str, Any]:
    """
    Add a fault of runs, given by the fields of :class:`RunFault`.

    :param fault: what goes wrong, and in which runs.
    :param emulator: the emulator.
    """
    return emulator.add_run_fault(fault).model_dump()


@router.post("/stories/{name}", status_code=204, response_model=None)
async def tell_story(
    name: str, emulator: Service, options: Annotated[dict[str, Any] | None, Body()] = None
) -> None:
    """
    Let something happen that has a name.

    :param name: name of the story.
    :param emulator: the emulator.
    :param options: arguments of the story.
    """
    try:
        emulator.story(name, **(options or {}))
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


@router.delete("/faults", status_code=204, response_model=None)
async def clear_faults(emulator: Service) -> None:
    """
    Forget all faults, those of runs too.

    :param emulator: the emulator.
    """
    emulator.faults.clear()
    emulator.run_faults.clear()


@router.post("/settings")
async def change_settings(emulator: Service, changes: JsonObject) -> dict[str, Any]:
    """
    Change some of the settings and answer all of them.

    :param emulator: the emulator.
    :param changes: fields of the settings.
    """
    try:
        return emulator.configure(changes).model_dump()
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False)) from error


class TimeGoesBy(BaseModel):
    """How much time is to go by at once, in seconds, and whether it stands still from then on."""

    advance: float = Field(default=0, ge=0)
    stand_still: bool | None = None


@router.post("/clock")
async def clock(change: TimeGoesBy, emulator: Service) -> float:
    """
    Let time go by, and answer what time it is, in epoch seconds.

    :param change: by how much; and a clock that stands still, or the real one again.
    :param emulator: the emulator.
    """
    if change.stand_still is not None:
        emulator.clock = ManualClock(emulator.clock()) if change.stand_still else time.time
    emulator.advance(change.advance)
    return emulator.now()


@router.post("/reset", status_code=204, response_model=None)
async def reset(emulator: Service) -> None:
    """
    Forget tasks, calls and faults; settings stay.

    :param emulator: the emulator.
    """
    emulator.reset(emulator.settings)


@router.get("/tasks/{task_id}", response_class=HTMLResponse)
async def show(task_id: str, emulator: Service) -> str:
    """
    Answer a page about a task, for a browser.

    :param task_id: id of the task.
    :param emulator: the emulator.
    """
    return task_page(emulator.body(emulator.task(task_id)), f"{CONTROL_PATH}/tasks/{task_id}")


@router.post("/tasks/{task_id}/resume")
async def resume(task_id: str, emulator: Service) -> dict[str, Any]:
    """
    Resume a paused task.

    :param task_id: id of the task.
    :param emulator: the emulator.
    """
    return emulator.body(emulator.resume(task_id))


@router.post("/tasks/{task_id}/finish")
async def finish(task_id: str, emulator: Service, how: Finish | None = None) -> dict[str, Any]:
    """
    Let a task end now.

    :param task_id: id of the task.
    :param emulator: the emulator.
    :param how: status and result; None for how its agent would end it.
    """
    how = how or Finish()
    return emulator.body(emulator.finish(task_id, how.status, how.result))


@router.patch("/tasks/{task_id}")
async def override(task_id: str, emulator: Service, fields: JsonObject) -> dict[str, Any]:
    """
    Answer these fields of a task instead of what they would be.

    :param task_id: id of the task.
    :param emulator: the emulator.
    :param fields: fields of the task with their values.
    """
    return emulator.body(emulator.override(task_id, fields))
