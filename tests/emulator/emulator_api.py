"""A client for the tests of the emulator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

from airflow_provider_xpander.emulator import EmulatorServer

LIMIT_SECONDS = 10.0


class Api:
    """Requests to the emulator with its key and a limit on every wait."""

    def __init__(self, server: EmulatorServer) -> None:
        self.server = server

    def __call__(
        self, method: str, path: str, *, key: str | None = None, **options: Any
    ) -> requests.Response:
        headers = {"x-api-key": key or self.server.api_key, **options.pop("headers", {})}
        options = {"timeout": LIMIT_SECONDS, **options}
        return requests.request(method, self.server.url + path, headers=headers, **options)

    def start(self, agent_id: str = "echo", text: str = "hello", **fields: Any) -> dict[str, Any]:
        answer = self("POST", f"/v1/agents/{agent_id}/invoke/async", json={"input": {"text": text}, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, task_id: str) -> dict[str, Any]:
        return self("GET", f"/v1/tasks/{task_id}").json()

    def until(self, task_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < deadline:
            task = self.get(task_id)
            if wanted(task):
                return task
            time.sleep(0.01)
        raise AssertionError(f"not in time: {task}")

    def until_status(self, task_id: str, *statuses: str) -> dict[str, Any]:
        return self.until(task_id, lambda task: task["status"] in statuses)
