"""The emulated service as an ASGI application."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from airflow_provider_xpander.emulator import routes_browse, routes_control, routes_invoke, routes_tasks
from airflow_provider_xpander.emulator.connections import Connections
from airflow_provider_xpander.emulator.dependencies import Service, authorize
from airflow_provider_xpander.emulator.middleware import CONTROL_PATH, InjectFaults, KeepLimits, RecordCalls
from airflow_provider_xpander.emulator.reading import known_query
from airflow_provider_xpander.emulator.state import Emulator, NotFoundError
from airflow_provider_xpander.emulator.status_page import status_page


async def health() -> str:
    """Tell that the service is up."""
    return "ok"


async def status(request: Request, emulator: Service) -> str:
    """
    Answer the page about the emulator, for a browser.

    :param request: the request.
    :param emulator: the emulator.
    """
    return status_page(emulator, str(request.base_url).rstrip("/"), f"{CONTROL_PATH}/tasks")


async def not_found(request: Request, error: Exception) -> Response:
    """
    Answer 404 with a string as detail (contract 7).

    :param request: the request.
    :param error: its message is the detail.
    """
    return JSONResponse({"detail": str(error)}, status_code=404)


def create_app(emulator: Emulator, connections: Connections | None = None) -> ASGIApp:
    """
    Build the application.

    :param emulator: the state that it serves.
    :param connections: the server's open connections; without them no connection can be broken.
    """
    connections = connections or Connections()
    api = FastAPI(title="xpander.ai emulator", docs_url=None, redoc_url=None, openapi_url=None)
    api.state.emulator = emulator
    api.state.connections = connections
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(authorize), Depends(known_query)])
    for routes in (routes_invoke, routes_tasks, routes_browse):
        v1.include_router(routes.router)
    api.include_router(v1)
    api.include_router(routes_control.router)
    api.add_api_route("/health", health)
    api.add_api_route("/", status, response_class=HTMLResponse)
    api.add_exception_handler(NotFoundError, not_found)
    return RecordCalls(InjectFaults(KeepLimits(api, emulator), emulator, connections), emulator)
