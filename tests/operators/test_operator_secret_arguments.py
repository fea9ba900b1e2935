"""Secrets of a request are masked, and those that the service repeats are nowhere shown."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import Any

import pytest
from airflow_side import FakeTaskInstance, Service, fire
from pytest_mock import MockerFixture
from scripted_server import ScriptedServer, http

from airflow_provider_xpander.api.text import hidden
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.operators import secret_arguments
from airflow_provider_xpander.operators.secret_arguments import mask_request_secrets
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger


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
        (
            [{"url": "https://me:pass%20word@mcp.example.com/sse?api_key=key-in-query&page=12345678"}],
            ["pass word", "key-in-query"],
        ),
        ({"Authorization": "ApiKey a-long-token"}, ["ApiKey a-long-token", "a-long-token"]),
        ({"database": "postgresql://me:p4ssw0rd@db"}, ["postgresql://me:p4ssw0rd@db", "p4ssw0rd"]),
        ({"port": 12345678}, []),
    ],
)
def test_secrets_are_masked_and_ordinary_words_are_not(
    value: Any, masked: list[str], mocker: MockerFixture
) -> None:
    mask_secret = mocker.spy(secret_arguments, "mask_secret")
    mask_request_secrets(value)
    assert mask_secret.call_args_list == [mocker.call(secret) for secret in masked]
    assert all(secret not in hidden(f"<{secret}>") for secret in masked)


KEY = "xp-key-0123456789"


def test_a_key_that_the_service_repeats_is_in_no_event_exception_or_log(
    service: Service, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = [http(401, json.dumps({"detail": f"Invalid API key {KEY}"}).encode())]
    with ScriptedServer(*[refusal] * 8) as server, caplog.at_level("DEBUG"):
        service.set_env(
            "AIRFLOW_CONN_XPANDER_DEFAULT",
            json.dumps({"conn_type": "xpander", "host": server.url, "password": KEY}),
        )
        event = asyncio.run(fire(XpanderTaskTrigger("t-1", "a-1", poll_interval=0.1)))
        with pytest.raises(Exception, match=r"Invalid API key \*\*\*") as caught:
            XpanderInvokeAgentOperator(task_id="ask", agent_id="a-1", input="hi").execute(
                FakeTaskInstance().context()
            )
        _, said = XpanderHook().test_connection()
    assert "Invalid API key ***" in event["message"]
    chain: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(repr(error))
        error = error.__cause__ or error.__context__
    logged = caplog.text + capsys.readouterr().out
    assert "Starting agent a-1" in logged
    assert KEY not in " ".join([json.dumps(event), said, logged, *chain])


@pytest.mark.parametrize(
    ("secrets", "warned"),
    [
        ({"user_tokens": {"crm": "tok-9f2d-7731-ab"}}, True),
        ({"user_oidc_token": "tok-9f2d-7731-ab"}, True),
        ({"user_tokens": {"crm": "{{ conn.crm.password }}"}}, False),
        ({}, False),
    ],
    ids=["literal", "literal text", "template", "none"],
)
def test_a_literal_secret_that_airflow_would_store_is_warned_of(secrets: Any, warned: bool) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        XpanderInvokeAgentOperator.partial(task_id="ask", agent_id="a", **secrets).expand(input=["x"])
    assert [str(one.message) for one in seen if "holds a secret" in str(one.message)] == [
        f"XpanderInvokeAgentOperator.partial({name}=...) holds a secret as it is, and Airflow stores the "
        f"arguments of partial() with the DAG: use a template such as {{{{ conn.my_connection.password }}}}"
        for name in secrets
        if warned
    ]
    assert all("tok-9f2d" not in str(one.message) for one in seen)
