"""A new PostgreSQL database for one local Airflow, dropped afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit, urlunsplit


@contextmanager
def scratch_database(server_url: str) -> Iterator[str]:
    """
    Make a database with a name of its own, yield its SQLAlchemy URL, and drop it.

    :param server_url: SQLAlchemy or libpq URL of a database whose user may create others
    """
    name = f"airflow_{secrets.token_hex(4)}"
    _execute(server_url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server_url)._replace(scheme="postgresql+psycopg2", path=f"/{name}"))
    finally:
        _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server_url: str, statement: str) -> None:
    # Only the runs on PostgreSQL have the driver.
    import psycopg2

    with closing(
        psycopg2.connect(urlunsplit(urlsplit(server_url)._replace(scheme="postgresql")))
    ) as connection:
        # CREATE DATABASE cannot run in a transaction.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
