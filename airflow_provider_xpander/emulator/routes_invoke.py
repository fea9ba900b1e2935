"""The six invoke routes: start a run and answer at its end, at once, or event by event (contract 2.2, 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator import stream
from airflow_provider_xpander.emulator.calls import Call
from airflow_provider_xpander.emulator.clock import timestamp
from airflow_provider_xpander.emulator.connections import Connections
from airflow_provider_xpander.emulator.dependencies import OpenConnections, Service
from airflow_provider_xpander.emulator.fault import Fault
from airflow_provider_xpander.emulator.reading import InvokeBody
from airflow_provider_xpander.emulator.schedule import next_step, reached
from airflow_provider_xpander.emulator.state import Emulator
from airflow_provider_xpander.emulator.tasks import EmulatedTask, Kind, Turn
from airflow_provider_xpander.emulator.waiting import ServerClosing, in_thread, wait

router = APIRouter()

_HEARTBEAT_SECONDS = 1.0


async def start_run(
    request: Request,
    target_id: str,
    body: InvokeBody,
    emulator: Service,
    version: str | None = None,
) -> tuple[EmulatedTask, Turn]:
    """
    Start the run that a request asks for, and note its task in the record of calls.

    :param request: the request; its path tells agents from workflows.
    :param target_id: id of the agent or workflow.
    :param body: the body.
    :param emulator: the emulator.
    :param version: version to run; None is the latest.
    """
    call: Call = request.state.call
    kind: Kind = "workflow" if request.url.path.startswith("/v1/workflows/") else "agent"
    asked = body.model_dump(mode="json")
    if _last_event(request, emulator) is not None and body.id in emulator.tasks:
        task = emulator.task(body.id or "")
        turn = task.last
    elif emulator.agents.calls_python(target_id):
        begin = partial(emulator.begin, kind, target_id, asked, version, call.size)
        try:
            task, turn = await in_thread(emulator, begin)
        except ServerClosing as error:
            raise HTTPException(503, str(error)) from error
    else:
        task, turn = emulator.begin(kind, target_id, asked, version, call.size)
    call.task_id = task.id
    return task, turn


def _last_event(request: Request, emulator: Emulator) -> int | None:
    """Return the number of the last event that a client has seen of a stream that it goes on with."""
    number = request.headers.get("last-event-id", "")
    return int(number) if emulator.settings.stream_ids and number.isdecimal() else None


Run = Annotated[tuple[EmulatedTask, Turn], Depends(start_run)]


@router.post("/agents/{target_id}/invoke")
@router.post("/workflows/{target_id}/invoke")
async def invoke_sync(run: Run, emulator: Service) -> Response:
    """
    Answer when the run is over or paused; a gateway in between may lose its patience (contract 8).

    :param run: the run, with its task.
    :param emulator: the emulator.
    """
    task, turn = run

    def settled() -> bool:
        return turn.at(emulator.now()).status not in (TaskStatus.PENDING, TaskStatus.EXECUTING)

    patience = emulator.settings.gateway_timeout_seconds
    limit = None if patience is None else emulator.settings.scaled(patience)
    if await wait(emulator, limit, settled, key=task.id, next_at=_next_of(turn, emulator)):
        return JSONResponse(emulator.body(task, turn=turn))
    page, headers = Fault.html(504).answer()
    return Response(page, status_code=504, headers=headers)


@router.post("/agents/{target_id}/invoke/async")
@router.post("/workflows/{target_id}/invoke/async")
async def invoke_async(run: Run, emulator: Service) -> Response:
    """
    Answer at once; 200 and not 202.

    :param run: the run, with its task.
    :param emulator: the emulator.
    """
    task, turn = run
    return JSONResponse(emulator.body(task, turn=turn))


@router.post("/agents/{target_id}/invoke/stream")
@router.post("/workflows/{target_id}/invoke/stream")
async def invoke_stream(
    run: Run, emulator: Service, connections: OpenConnections, request: Request
) -> Response:
    """
    Answer with Server-Sent Events; the run goes on when the client leaves.

    :param run: the run, with its task.
    :param emulator: the emulator.
    :param connections: the open connections of the server.
    :param request: the request; its connection may be broken.
    """
    task, turn = run
    events = _cut_into_frames(_events(task, turn, emulator), emulator, connections, request)
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})


async def _events(
    task: EmulatedTask, turn: Turn, emulator: Emulator
) -> AsyncIterator[tuple[stream.Event, float] | None]:
    """Give the events of a run with their time in epoch seconds as they happen; None is a heartbeat."""
    settings = emulator.settings
    for event in stream.handshake(task.id, settings):
        yield event, turn.started
    shown, worked = 0, False

    def something_new() -> bool:
        return len(reached(turn.plan, emulator.now())) > shown

    while True:
        plan = turn.plan
        steps = reached(plan, emulator.now())
        story = [step.told for step in plan if step.told]
        for step in steps[shown:]:
            shown += 1
            working = step.status is TaskStatus.EXECUTING and not worked
            worked = worked or working
            # The body as of this step, even where the next one happened at the same time.
            body = emulator.body(task, turn=replace(turn, plan=steps[:shown]), at=step.at)
            for event in stream.events_of_step(
                body, step, story, first=shown == 1, working=working, settings=settings
            ):
                yield event, step.at
        if steps[-1].status.is_terminal or emulator.closing:
            return
        heartbeat = _HEARTBEAT_SECONDS if settings.stream_comments else None
        next_at = _next_of(turn, emulator)
        if not await wait(emulator, heartbeat, something_new, key=task.id, next_at=next_at):
            yield None


def _next_of(turn: Turn, emulator: Emulator) -> Callable[[], float | None]:
    return lambda: next_step(turn.plan, emulator.now())


async def _cut_into_frames(
    events: AsyncIterator[tuple[stream.Event, float] | None],
    emulator: Emulator,
    connections: Connections,
    request: Request,
) -> AsyncIterator[bytes]:
    """Write events as the settings say, and break the connection where they say so."""
    settings, number = emulator.settings, 0
    last = _last_event(request, emulator)
    async for event_at in events:
        if event_at is None:
            yield stream.frame([stream.COMMENT], settings)
            continue
        event, at = event_at
        frame = stream.encode(event, timestamp(at) or "", number, settings)
        if frame is None:
            continue
        if last is not None and number <= last:
            number += 1
            continue
        if number == settings.stream_drop_after:
            await connections.drop(request.scope["client"])
            return
        if number == settings.stream_silent_after:
            heartbeat = _HEARTBEAT_SECONDS if settings.stream_comments else None
            while not emulator.closing:
                await wait(emulator, heartbeat)
                yield stream.frame([stream.COMMENT], settings)
            return
        number += 1
        half = len(frame) // 2 if settings.stream_split else 0
        if half:
            yield frame[:half]
        yield frame[half:]
    if settings.stream_done:
        yield stream.frame([f"data: {stream.DONE}"], settings)
