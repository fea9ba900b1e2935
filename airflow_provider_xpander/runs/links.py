"""Addresses in the web console (contract section 9)."""

from __future__ import annotations

from urllib.parse import quote

from airflow_provider_xpander.api.settings import Settings

_FIELDS = ("agent_id", "task_id", "organization_id")


def task_link(settings: Settings, *, task_id: str | None, agent_id: str | None) -> str:
    """
    Return the address at which a person finds a run.

    No address of a single task is documented, so it is the page of its agent, unless the connection has a
    ``task_link_template``. A template that needs what is not known falls back to the agent too.

    :param settings: those of the connection.
    :param task_id: the run, or None if it is not known.
    :param agent_id: the agent or workflow that runs it, or None if it is not known.
    """
    known = {"task_id": task_id, "agent_id": agent_id, "organization_id": settings.organization_id}
    link = settings.task_link_template
    if link and all(known[name] for name in _FIELDS if f"{{{name}}}" in link):
        for name in _FIELDS:
            link = link.replace(f"{{{name}}}", quote(known[name] or "", safe=""))
        return link
    console = settings.console_url.rstrip("/")
    return f"{console}/agents/{quote(agent_id, safe='')}" if agent_id else console
