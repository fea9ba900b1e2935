from __future__ import annotations

import re
from dataclasses import replace

import pytest

from airflow_provider_xpander import __version__
from airflow_provider_xpander.api.settings import Settings

KEY = "k-0123456789"


@pytest.mark.parametrize(
    ("settings", "credentials"),
    [
        (Settings(api_key=KEY), {"x-api-key": KEY}),
        (Settings(api_key=KEY, auth_mode="bearer"), {"Authorization": f"Bearer {KEY}"}),
    ],
    ids=["key", "bearer"],
)
def test_a_key_and_a_token_are_never_sent_together(settings: Settings, credentials: dict[str, str]) -> None:
    headers = dict(settings.headers())
    del headers["User-Agent"], headers["Accept"]
    assert headers == credentials


def test_the_organization_is_sent_only_if_it_is_set() -> None:
    assert Settings(organization_id="o-1").headers()["x-organization-id"] == "o-1"
    assert "x-organization-id" not in Settings().headers()


def test_the_user_agent_names_the_versions() -> None:
    agent = Settings().headers()["User-Agent"]
    assert re.fullmatch(rf"airflow-provider-xpander/{re.escape(__version__)} Python/3\.\d+\.\d+", agent)
    assert Settings(user_agent="mine").headers()["User-Agent"] == "mine"


@pytest.mark.parametrize(
    ("settings", "user"),
    [
        (Settings(), None),
        (Settings(user_email="a@b.c"), {"email": "a@b.c"}),
        (Settings(user_email="a@b.c", user_id="u-1"), {"email": "a@b.c", "id": "u-1"}),
        (Settings(user_id="u-1"), None),
    ],
    ids=["none", "e-mail", "both", "id alone"],
)
def test_the_default_user_needs_an_email(settings: Settings, user: dict[str, str] | None) -> None:
    assert settings.default_user == user


def test_the_repr_holds_no_credentials() -> None:
    shown = repr(Settings(api_key=KEY, proxy="http://user:s3cret@proxy:3128"))
    assert KEY not in shown
    assert "s3cret" not in shown


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
def test_a_link_to_a_run(settings: Settings, task_id: str | None, agent_id: str | None, link: str) -> None:
    assert settings.task_link(task_id=task_id, agent_id=agent_id) == link
