"""Databases, through whatever ``DbApiHook`` a connection has."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.bulk.rows import BulkInputError

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook


def database_hook(conn_id: str, parameter: str) -> DbApiHook:
    """
    Return the hook of a connection to a database.

    :param conn_id: the connection.
    :param parameter: the argument that named it, for errors.
    :raises BulkInputError: its hook is not one of a database, or the provider for SQL is not installed.
    :raises AirflowNotFoundException: there is no such connection.
    """
    from airflow_provider_xpander._compat import AirflowNotFoundException, BaseHook

    try:
        from airflow.providers.common.sql.hooks.sql import DbApiHook
    except ImportError as error:
        raise BulkInputError(
            f"{parameter} needs Airflow's provider for SQL: pip install 'airflow-provider-xpander[sql]'"
        ) from error
    try:
        hook: Any = BaseHook.get_hook(conn_id)
    except AirflowNotFoundException:
        raise AirflowNotFoundException(f"{parameter}: there is no connection {conn_id!r}") from None
    if not isinstance(hook, DbApiHook):
        raise BulkInputError(
            f"{parameter}: the connection {conn_id!r} is none to a database that Airflow reads by SQL: its "
            f"hook is {type(hook).__name__}, not a DbApiHook"
        )
    return hook


def streaming_cursor(connection: Any) -> Any:
    """
    Return a cursor that leaves the rows on the server until they are fetched, where the driver has one.

    By default psycopg and the drivers of MySQL load the whole result. SQLite and most others do not.

    :param connection: of a driver (DB-API 2).
    """
    driver = type(connection).__module__.partition(".")[0]
    if driver in ("psycopg2", "psycopg"):
        return connection.cursor(name="xpander_rows")
    if driver in ("MySQLdb", "pymysql"):
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()
