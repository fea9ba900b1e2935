"""Settings of one xpander.ai service: address, credentials, limits, and the headers of a request."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote

from airflow_provider_xpander import __version__
from airflow_provider_xpander.api.text import remember

DEFAULT_BASE_URL = "https://api.xpander.ai"
DEFAULT_CONSOLE_URL = "https://app.xpander.ai"
CONNECT_TIMEOUT = 10.0
"""Seconds to establish a connection, TLS included; apart from the time to wait for a reply."""


class UnusableConnectionError(ValueError):
    """A connection that cannot be used: the message names it, the field, and what is allowed."""


def is_header_safe(text: str) -> bool:
    """
    Tell whether a text can be sent as a header as it is: printable ASCII.

    :param text: the text.
    """
    return text.isascii() and text.isprintable()


@dataclass(frozen=True)
class Settings:
    """
    The connection, checked and with its defaults filled in.

    :param base_url: scheme, host and port, with no trailing slash and no ``/v1``.
    :param api_key: the key, or the JWT with ``auth_mode="bearer"``.
    :param auth_mode: ``api_key`` sends ``x-api-key``, ``bearer`` an ``Authorization`` header (C1).
    :param organization_id: sent as ``x-organization-id`` if set.
    :param user_email: e-mail of the default ``input.user``.
    :param user_id: id of the default ``input.user``; used with ``user_email`` only.
    :param console_url: address of the web console, for links.
    :param task_link_template: link to a task, with ``{agent_id}``, ``{task_id}``, ``{organization_id}``.
    :param verify: whether TLS certificates are checked, or the path of a CA file or folder.
    :param proxy: URL of the proxy, or None for what the environment says.
    :param timeout: seconds that a whole reply may take once the request is sent.
    :param requests_per_minute: published limit of the service; 0 means none.
    :param requests_per_hour: published limit of the service; 0 means none.
    :param client_task_ids: whether invokes carry an id of our own choice (contract C5).
    :param user_agent: the ``User-Agent`` header.
    :param conn_id: id of the Airflow connection, for messages.
    """

    base_url: str = DEFAULT_BASE_URL
    api_key: str = field(default="", repr=False)
    auth_mode: Literal["api_key", "bearer"] = "api_key"
    organization_id: str | None = None
    user_email: str | None = None
    user_id: str | None = None
    console_url: str = DEFAULT_CONSOLE_URL
    task_link_template: str | None = None
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    requests_per_minute: int = 100
    requests_per_hour: int = 1000
    client_task_ids: bool = False
    user_agent: str = f"airflow-provider-xpander/{__version__} Python/{platform.python_version()}"
    conn_id: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Let no message show the key, whoever repeats it."""
        login = (self.proxy or "").partition("://")[2].rpartition("@")[0]
        password = login.partition(":")[2]
        basic = base64.b64encode(unquote(login).encode()).decode()
        remember(self.api_key, password, unquote(password), basic, credential=True)

    @property
    def name(self) -> str:
        """The connection in words, for messages."""
        return "the connection" if self.conn_id is None else f"connection {self.conn_id!r}"

    def headers(self) -> Mapping[str, str]:
        """Return the headers of every request; never to be logged, they hold the key."""
        headers = {"User-Agent": self.user_agent, "Accept": "application/json"}
        if self.organization_id:
            headers["x-organization-id"] = self.organization_id
        if self.auth_mode == "bearer":
            headers["Authorization"] = f"Bearer {self.api_key}"
        else:
            headers["x-api-key"] = self.api_key
        return headers

    def task_link(self, *, task_id: str | None, agent_id: str | None) -> str:
        """
        Return the address at which a person finds a run in the web console (contract section 9).

        No address of a single task is documented, so it is the page of its agent, unless there is a
        ``task_link_template``. A template that needs what is not known falls back to the agent too.

        :param task_id: the run, or None if it is not known.
        :param agent_id: the agent or workflow that runs it, or None if it is not known.
        """
        known = {"task_id": task_id, "agent_id": agent_id, "organization_id": self.organization_id}
        link = self.task_link_template
        if link and all(known[name] for name in known if f"{{{name}}}" in link):
            for name, value in known.items():
                link = link.replace(f"{{{name}}}", quote(value or "", safe=""))
            return link
        console = self.console_url.rstrip("/")
        return f"{console}/agents/{quote(agent_id, safe='')}" if agent_id else console

    @property
    def default_user(self) -> dict[str, str] | None:
        """The ``input.user`` for requests that name none, or None (C14)."""
        if not self.user_email:
            return None
        return {"email": self.user_email} | ({"id": self.user_id} if self.user_id else {})
