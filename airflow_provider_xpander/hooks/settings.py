"""Settings out of Airflow connections, for hook and triggers; no HTTP client is needed to read them."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from airflow_provider_xpander._compat import AIRFLOW_VERSION, connection_in_event_loop
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.connection import parse_connection, unknown_fields

log = logging.getLogger(__name__)
_warned: set[str] = set()


def settings_of(conn_id: str, connection: Any) -> Settings:
    """
    Make settings out of an Airflow connection.

    :param conn_id: its id, for messages.
    :param connection: the connection.
    :raises ValueError: names the connection, the field and what is allowed.
    """
    settings = parse_connection(
        conn_id,
        conn_type=connection.conn_type,
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        password=connection.password,
        extra=connection.extra,
    )
    unknown = unknown_fields(conn_id, connection.extra)
    if unknown is not None and unknown not in _warned:
        _warned.add(unknown)
        log.warning(unknown)
    return replace(settings, user_agent=f"{settings.user_agent} Airflow/{AIRFLOW_VERSION}")


async def read_settings(conn_id: str) -> Settings:
    """
    Read a connection in an event loop without blocking it, for triggers.

    :param conn_id: id of the Airflow connection.
    :raises ValueError: names the connection, the field and what is allowed.
    """
    return settings_of(conn_id, await connection_in_event_loop(conn_id))
