from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.links import task_link

OWN = Settings(console_url="https://console.example/")
TEMPLATE = "https://console.example/{organization_id}/{agent_id}/{task_id}"


@pytest.mark.parametrize(
    ("settings", "task_id", "agent_id", "link"),
    [
        (Settings(), "t", "a", "https://app.xpander.ai/agents/a"),
        (Settings(), "t", None, "https://app.xpander.ai"),
        (OWN, "t", "a/../b?c", "https://console.example/agents/a%2F..%2Fb%3Fc"),
        (replace(OWN, task_link_template=TEMPLATE, organization_id="o"), "t&1", "a",
         "https://console.example/o/a/t%261"),
        (replace(OWN, task_link_template=TEMPLATE), "t", "a", "https://console.example/agents/a"),
        (replace(OWN, task_link_template="https://x.example/{task_id}"), "t", None, "https://x.example/t"),
        (replace(OWN, task_link_template="https://x.example/{task_id}"), None, "a",
         "https://console.example/agents/a"),
    ],
)  # fmt: skip
def test_link(settings: Settings, task_id: str | None, agent_id: str | None, link: str) -> None:
    assert task_link(settings, task_id=task_id, agent_id=agent_id) == link
