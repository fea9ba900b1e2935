"""Requests: every argument at its place, rendered, with the defaults of the connection."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow_side import FakeTaskInstance, Service

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

TOKEN = "tok-9f2d-7731-ab"


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults = {"task_id": "ask", "agent_id": "echo", "input": "hello", "wait_for_completion": False}
    return XpanderInvokeAgentOperator(**defaults | kwargs)


def sent(operator: Any, service: Service, ti: FakeTaskInstance | None = None, **context: Any) -> Any:
    """Render and execute, and return the body of the one request."""
    service.configure({"strict": False})  # some fields are younger than the emulator
    known = (ti or FakeTaskInstance()).context() | context
    operator.render_template_fields(known)
    operator.execute(known)
    assert len(service.posts) == 1
    return service.posts[0].body


MARK = r" \[airflow [0-9a-f]{20} [0-9a-f]{12}\]"
"""What says whose run it is, after every title."""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"input": "hi"}, {"input": {"text": "hi"}}),
        (
            {"input": {"text": "hi", "files": ["https://example.com/a"], "user": {"email": "a@b.example"}}},
            {"input": {"text": "hi", "files": ["https://example.com/a"], "user": {"email": "a@b.example"}}},
        ),
        ({"input": None, "files": ["https://example.com/a"]}, {"input": {"files": ["https://example.com/a"]}}),
        ({"user": {"email": "a@b.example", "timezone": "UTC"}},
         {"input": {"text": "hello", "user": {"email": "a@b.example", "timezone": "UTC"}}}),
        ({"thread_id": "thread-1"}, {"id": "thread-1"}),
        ({"output_format": "markdown"}, {"output_format": "markdown"}),
        ({"output_schema": {"type": "object"}},
         {"output_schema": {"type": "object"}, "output_format": "json"}),
        ({"expected_output": "a list"}, {"expected_output": "a list"}),
        ({"instructions_override": "be brief"}, {"instructions_override": "be brief"}),
        ({"additional_context": "it is Monday"}, {"additional_context": "it is Monday"}),
        ({"think_mode": "harder"}, {"think_mode": "harder"}),
        (
            {"llm_model_provider": "openai", "llm_model_name": "m-1", "llm_reasoning_effort": "high"},
            {"llm_model_provider": "openai", "llm_model_name": "m-1", "llm_reasoning_effort": "high"},
        ),
        ({"mcp_servers": [{"name": "crm", "url": "https://mcp.example.com"}]},
         {"mcp_servers": [{"name": "crm", "url": "https://mcp.example.com"}]}),
        ({"user_tokens": {"crm": "a"}}, {"user_tokens": {"crm": "a"}}),
        ({"user_oidc_token": "jwt"}, {"user_oidc_token": "jwt"}),
        ({"payload_extension": {"k": [1]}}, {"payload_extension": {"k": [1]}}),
        ({"disable_attachment_injection": True}, {"disable_attachment_injection": True}),
        ({"return_metrics": True}, {"return_metrics": True}),
        ({"extra_body": {"brand_new": {"k": 1}}}, {"brand_new": {"k": 1}}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_each_argument_is_sent_where_the_api_wants_it(
    given: dict[str, Any], expected: dict[str, Any], service: Service
) -> None:
    body = sent(agent(**given), service)
    default = {"input": {"text": "hello"}, "title": body["title"], "source": body["source"]}
    assert body == default | expected  # and nothing else: what was not given is not sent


def test_the_version_goes_into_the_query(service: Service) -> None:
    sent(agent(version="draft"), service)
    assert service.posts[0].query == {"version": "draft"}


@pytest.mark.parametrize(("map_index", "name"), [(-1, "nightly.ask"), (4, "nightly.ask[4]")])
def test_the_title_names_the_task_instance_unless_one_is_given(
    map_index: int, name: str, service: Service
) -> None:
    ti = FakeTaskInstance(map_index=map_index)
    body = sent(agent(), service, ti)
    assert re.fullmatch(re.escape(f"{name} manual__2026-11-01") + MARK, body["title"])
    assert body["title"].endswith(body["source"].removeprefix("airflow"))


def test_a_title_of_the_author_is_kept(service: Service) -> None:
    title = sent(agent(title="Report of {{ ds }}"), service)["title"]
    assert re.fullmatch("Report of 2026-11-01" + MARK, title)


def test_the_connections_user_is_the_default(service: Service) -> None:
    service.configure({"require_user": True})
    service.connect(extra={"user_email": "ops@example.com", "user_id": "u-1"})
    assert sent(agent(), service)["input"]["user"] == {"email": "ops@example.com", "id": "u-1"}


def test_the_operators_user_goes_before_the_connections(service: Service) -> None:
    service.connect(extra={"user_email": "ops@example.com", "user_id": "u-1"})
    body = sent(agent(user={"email": "{{ 'me' }}@example.com"}), service)
    assert body["input"]["user"] == {"email": "me@example.com"}


TEMPLATED = {
    "agent_id": "{{ 'ec' ~ 'ho' }}",
    "input": {"text": "at {{ ds }}", "files": ["https://example.com/{{ ds }}.pdf"]},
    "output_schema": {"type": "object", "properties": {"{{ ds }}": {"enum": ["{{ ds }}"]}}},
    "payload_extension": {"list": [{"deep": "{{ ds }}"}]},
    "instructions_override": "{% for n in [1, 2] %}{{ n }}{% endfor %}",
    "extra_body": {"new": "{{ ds }}"},
    "thread_id": "t-{{ ds }}",
    "version": "{{ 3 }}",
}


def test_templates_are_rendered_at_any_depth(service: Service) -> None:
    body = sent(agent(**TEMPLATED), service)
    day = "2026-11-01"
    assert body["input"] == {"text": f"at {day}", "files": [f"https://example.com/{day}.pdf"]}
    assert body["output_schema"]["properties"]["{{ ds }}"] == {"enum": [day]}  # keys are not templates
    assert body["payload_extension"] == {"list": [{"deep": day}]}
    assert body["instructions_override"] == "12"
    assert (body["new"], body["id"]) == (day, f"t-{day}")
    assert service.posts[0].query == {"version": "3"}


def test_native_objects_can_be_rendered_into_any_field(service: Service) -> None:
    with DAG("flow", schedule=None, render_template_as_native_obj=True):
        operator = agent(
            input="{{ params.ask }}",
            output_schema="{{ params.schema }}",
            user_tokens="{{ params.tokens }}",
            extra_body="{{ params.extra }}",
        )
    params = {
        "ask": {"text": "hi", "files": ["https://example.com/a"]},
        "schema": {"type": "object"},
        "tokens": {"crm": TOKEN},
        "extra": {"brand_new": 1},
    }
    body = sent(operator, service, params=params)
    assert body["input"] == params["ask"]
    assert (body["output_schema"], body["user_tokens"]) == (params["schema"], params["tokens"])
    assert body["brand_new"] == 1


def test_secrets_are_rendered_for_the_request_only(service: Service) -> None:
    """Airflow stores what ``template_fields`` names; these are not in it, before or after."""
    context = {"params": {"token": TOKEN}}
    operator = agent(
        user_tokens={"crm": {"access": "{{ params.token }}"}},
        user_oidc_token="{{ params.token }}",
        mcp_servers=[{"name": "crm", "headers": {"Authorization": "Bearer {{ params.token }}"}}],
    )
    body = sent(operator, service, **context)
    assert body["user_tokens"] == {"crm": {"access": TOKEN}}
    assert body["user_oidc_token"] == TOKEN
    assert body["mcp_servers"][0]["headers"] == {"Authorization": f"Bearer {TOKEN}"}
    stored = {name: getattr(operator, name) for name in operator.template_fields}
    assert not {"user_tokens", "user_oidc_token", "mcp_servers"} & set(stored)
    assert TOKEN not in json.dumps(stored, default=str)
    assert TOKEN not in str(vars(operator))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"agent_id": "{{ '' }}"}, "agent_id must be a non-empty string"),
        ({"agent_id": "{{ none }}"}, "agent_id must be a non-empty string, got 'None'"),
        ({"input": "{{ '' }}"}, "input: text or at least one file is needed"),
        ({"input": {"text": "{{ ' ' }}"}}, "input: text or at least one file is needed"),
        ({"output_format": "{{ 'xml' }}"}, "output_format: .* got 'xml'"),
        ({"think_mode": "{{ 'hard' }}"}, "think_mode: .* got 'hard'"),
        ({"output_schema": "{{ '{}' }}"}, "output_schema: .*dictionary"),
        ({"user": {"email": "a@b.example", "id": "{{ [] }}", "nick": "{{ 1 }}"}}, "input.user.nick"),
    ],
    ids=["id", "None id", "input", "blank", "output_format", "think_mode", "schema", "user"],
)
def test_a_template_that_renders_to_nonsense_fails_before_any_request(
    given: dict[str, Any], message: str, service: Service
) -> None:
    with pytest.raises(Exception, match=message) as caught:
        sent(agent(**given), service)
    assert type(caught.value).__name__ in ("AirflowFailException", XpanderValidationError.__name__)
    assert service.requests() == []


def test_the_request_says_who_is_asking(service: Service) -> None:
    sent(agent(), service)
    headers = service.posts[0].headers
    assert headers["x-api-key"] == service.server.api_key
    assert "airflow-provider-xpander/" in headers["user-agent"]
    assert "Airflow/" in headers["user-agent"]
