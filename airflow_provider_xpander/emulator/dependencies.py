"""Parameters that the routes share: the emulator behind them, and who may use them (contract 1.2)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, HTTPException, Query, Request

from airflow_provider_xpander.emulator.connections import Connections
from airflow_provider_xpander.emulator.settings import BEARER_TOKEN, RESTRICTED_API_KEY
from airflow_provider_xpander.emulator.state import Emulator


async def emulator_of(request: Request) -> Emulator:
    """
    Return the emulator that the application serves.

    :param request: the request.
    """
    emulator: Emulator = request.app.state.emulator
    return emulator


async def connections_of(request: Request) -> Connections:
    """
    Return the open connections of the server.

    :param request: the request.
    """
    connections: Connections = request.app.state.connections
    return connections


Service = Annotated[Emulator, Depends(emulator_of)]
OpenConnections = Annotated[Connections, Depends(connections_of)]
PageNumber = Annotated[int, Query(ge=1)]
PageSize = Annotated[int, Query(ge=1, le=50)]


async def authorize(
    emulator: Service,
    x_api_key: Annotated[str | None, Header()] = None,
    authorization: Annotated[str | None, Header()] = None,
) -> None:
    """
    Let a valid key or token pass.

    :param emulator: the emulator.
    :param x_api_key: the header.
    :param authorization: the header.
    :raises HTTPException: 401 for a missing or wrong key, 403 for the restricted one.
    """
    if x_api_key == RESTRICTED_API_KEY:
        raise HTTPException(403, "This API key has no access to the requested resource")
    by_key = x_api_key in emulator.settings.api_keys
    # An API key in a Bearer header is refused: only a JWT belongs there (C1).
    by_token = x_api_key is None and authorization == f"Bearer {BEARER_TOKEN}"
    if not (by_key or by_token):
        raise HTTPException(401, "Invalid or missing API key")
