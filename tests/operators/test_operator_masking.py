"""What of a request's secret fields Airflow is told to mask."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.operators import masking
from airflow_provider_xpander.operators.masking import mask_request_secrets


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (None, []),
        ("a-long-oidc-token", ["a-long-oidc-token"]),
        ("Bearer a-long-token", ["a-long-token"]),
        ("short", []),
        ({"jira": "token-of-jira", "crm": {"access": "token-of-crm"}}, ["token-of-jira", "token-of-crm"]),
        (
            [
                {
                    "name": "a long name",
                    "url": "https://mcp.example.com",
                    "headers": {"x-login": "login-of-mcp"},
                }
            ],
            ["login-of-mcp"],
        ),
        ({"port": 12345678}, []),
    ],
)
def test_secrets_are_masked_and_ordinary_words_are_not(
    value: Any, masked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(masking, "mask_secret", told.append)
    mask_request_secrets(value)
    assert told == masked
