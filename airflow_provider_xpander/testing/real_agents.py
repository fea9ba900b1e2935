"""The real agents behind a recording: the prompts that the emulator gets are asked of the service."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import XpanderNotFoundError
from airflow_provider_xpander.api.models import Target
from airflow_provider_xpander.api.request import parse_request
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.emulator import Prompt
from airflow_provider_xpander.runs.watch import Watch, poll_until_done

_WORKFLOW = "orchestration"
_POLL = 2.0


class RealAgents:
    """
    Asks the service.

    :param settings: those of the real connection.
    :param threads: ids of the threads so far, by agent and what was asked in them; it grows.
    """

    def __init__(self, settings: Settings, threads: dict[tuple[str, ...], str]) -> None:
        self._settings = settings
        self._threads = threads

    def ask(self, prompt: Prompt) -> tuple[str, Any]:
        """
        Make a run, wait for its end, and return its status and result.

        :param prompt: what is asked.
        :raises XpanderError: the service refuses, or does not answer.
        """
        body = {name: value for name, value in prompt.body.items() if value is not None and name != "id"}
        thread = self._threads.get((prompt.target_id, *prompt.earlier)) if prompt.earlier else None
        if thread is not None:
            body["id"] = thread
        with Client(self._settings) as client:
            before = None
            if thread is not None:
                before = client.call(routes.get_task(thread)).finished_at
            target = self._target(client, prompt.target_id)
            task = client.call(routes.invoke_async(target, parse_request(body)))
            watch = Watch(task.id, _POLL, newer_than=before.timestamp() if before else None)
            ended = client.run(poll_until_done(watch)).fetched(task.id)
        self._threads[(prompt.target_id, *prompt.earlier, prompt.text)] = task.id
        return ended.status.value, ended.result

    def _target(self, client: Client, target_id: str) -> Target:
        try:
            agent = client.call(routes.get_agent(target_id))
        except XpanderNotFoundError:
            return Target.workflow(target_id)
        return Target.workflow(target_id) if agent.type == _WORKFLOW else Target.agent(target_id)
