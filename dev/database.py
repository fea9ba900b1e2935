"""The database of a local Airflow for tests: a PostgreSQL database of its own, or SQLite."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from dev.postgres import NoPostgres, local_postgres

SERVER = "XPANDER_TEST_DATABASE"
"""Environment variable: URL of a PostgreSQL server to use, e.g. ``postgresql://user:password@127.0.0.1/postgres``;
``sqlite`` for none."""


@dataclass(frozen=True)
class Database:
    """
    An empty database for one local Airflow.

    :param url: SQLAlchemy URL of a PostgreSQL database; None is Airflow's own SQLite.
    :param why_sqlite: for people.
    """

    url: str | None
    why_sqlite: str = ""


@contextmanager
def airflow_database() -> Iterator[Database]:
    """Yield a database on the server that the environment names, or else on one that is started for it."""
    server = os.environ.get(SERVER)
    if server == "sqlite":
        yield Database(None, f"{SERVER}=sqlite")
        return
    with ExitStack() as stack:
        if not server:
            try:
                server = stack.enter_context(local_postgres()).url
            except NoPostgres as error:
                yield Database(None, str(error))
                return
        yield Database(stack.enter_context(scratch_database(server)))


@contextmanager
def scratch_database(server_url: str) -> Iterator[str]:
    """
    Make a database, yield its SQLAlchemy URL, and remove it.

    :param server_url: libpq URL of a PostgreSQL server.
    """
    name = f"airflow_{secrets.token_hex(4)}"
    _execute(server_url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server_url)._replace(scheme="postgresql+psycopg2", path=f"/{name}"))
    finally:
        _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server_url: str, statement: str) -> None:
    # Only the test environments have the driver.
    import psycopg2

    with closing(
        psycopg2.connect(urlunsplit(urlsplit(server_url)._replace(scheme="postgresql")))
    ) as connection:
        # CREATE DATABASE cannot run in a transaction.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
