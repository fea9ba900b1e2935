"""Submits that fail: which of them a retry may repeat, what is said, and that no second run is started."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowNotFoundException
from airflow_side import POLL, FakeTaskInstance, Service, run_through

from airflow_provider_xpander.api.errors import XpanderConnectionError, XpanderRateLimitError
from airflow_provider_xpander.emulator import RESTRICTED_API_KEY, Fault
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

MODES = pytest.mark.parametrize("mode", ["async", "sync"])
TOKEN = "tok-9f2d-7731-ab"


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults = {"task_id": "ask", "agent_id": "echo", "input": "hello", "poll_interval": POLL}
    return XpanderInvokeAgentOperator(**defaults | kwargs)


def test_a_missing_connection_is_named_with_what_to_do(service: Service) -> None:
    with pytest.raises(AirflowNotFoundException, match="no connection 'nowhere'.* type 'xpander'.*API key"):
        agent(xpander_conn_id="nowhere").execute(FakeTaskInstance().context())
    assert service.requests() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"conn_type": "http"}, "'odd' is of type 'http', not 'xpander'.*Set", id="type"),
        pytest.param({"password": ""}, "'odd' has no API key.*Set its password", id="no key"),
        pytest.param({"password": None}, "'odd' has no API key.*Set its password", id="null key"),
        pytest.param(
            {"extra": {"auth_mode": "both"}}, "'odd'.*'auth_mode'.*api_key, bearer.*'both'", id="auth_mode"
        ),
        pytest.param({"extra": {"timeout": -1}}, "'odd'.*'timeout'.*greater than 0.*-1", id="timeout"),
    ],
)
def test_an_unfit_connection_is_named_with_what_to_set(
    changes: dict[str, Any], message: str, service: Service
) -> None:
    service.connect("odd", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        agent(xpander_conn_id="odd").execute(FakeTaskInstance().context())
    assert service.requests() == []
    assert service.server.api_key not in str(caught.value)


REFUSALS = [
    pytest.param({"connect": {"password": "a-wrong-key-0815"}}, "Invalid or missing API key", id="401"),
    pytest.param({"connect": {"password": RESTRICTED_API_KEY}}, "has no access to the requested", id="403"),
    pytest.param({"agent_id": "nobody"}, "Agent nobody not found", id="404"),
    pytest.param({"settings": {"require_user": True}}, "input.user: Field required.*user_email", id="422"),
    pytest.param(
        {"fault": Fault.billing(times=None)}, "Your plan's usage limit is reached", id="429 billing"
    ),
    pytest.param({"fault": Fault.billing(status=402, times=None)}, "usage limit is reached", id="402"),
    pytest.param(
        {"fault": Fault(status=400, body={"message": "Agent is not deployed"}, times=None)},
        "Agent is not deployed",
        id="400",
    ),
]


@MODES
@pytest.mark.parametrize(("case", "words"), REFUSALS)
def test_a_refusal_fails_the_task_without_retries_in_the_services_words(
    case: dict[str, Any], words: str, mode: str, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    if "connect" in case:
        service.connect(**case["connect"])
    if "settings" in case:
        service.configure(case["settings"])
    if "fault" in case:
        service.add_fault(case["fault"].model_copy(deep=True))
    operator = agent(
        agent_id=case.get("agent_id", "echo"), mode=mode, user_tokens={"crm": TOKEN}, user_oidc_token=TOKEN
    )
    ti = FakeTaskInstance()
    with caplog.at_level(logging.DEBUG), pytest.raises(AirflowFailException, match=words) as caught:
        operator.execute(ti.context())
    assert service.runs() == []
    assert len(service.posts) == 1 if "connect" not in case else len(service.posts) <= 2
    assert ti.xcom == {}
    key = case.get("connect", {}).get("password", service.server.api_key)
    for shown in (str(caught.value), _own_lines(caplog)):
        assert key not in shown
        assert TOKEN not in shown


def test_what_a_validation_error_repeats_of_the_request_is_not_shown(service: Service) -> None:
    problem = {"loc": ["body", "user_tokens"], "msg": "Input should be a list", "input": {"crm": TOKEN}}
    service.add_fault(Fault(status=422, body={"detail": [problem]}))
    with pytest.raises(AirflowFailException, match="user_tokens: Input should be a list") as caught:
        agent(user_tokens={"crm": TOKEN}).execute(FakeTaskInstance().context())
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.html(504, act_first=True), id="504 HTML"),
        pytest.param(Fault.html(502, act_first=True), id="502 HTML"),
        pytest.param(Fault.server_error(act_first=True), id="500"),
        pytest.param(Fault.dropped(act_first=True), id="connection broken before the answer"),
        pytest.param(Fault.dropped("during"), id="connection broken in the answer"),
        pytest.param(Fault.truncated(), id="truncated"),
        pytest.param(Fault.empty(act_first=True), id="empty"),
        pytest.param(Fault(status=200, body="<html></html>", act_first=True), id="HTML"),
    ],
)
@MODES
def test_an_unclear_submit_is_looked_for_and_never_repeated(
    fault: Fault, mode: str, service: Service
) -> None:
    service.add_fault(fault.model_copy(deep=True, update={"method": "POST"}))
    assert run_through(agent(mode=mode), FakeTaskInstance().context()) == "hello"
    assert len(service.posts) == len(service.runs()) == 1


def test_a_gateway_that_gives_up_on_a_sync_run_is_unclear_too(service: Service) -> None:
    service.configure({"gateway_timeout_seconds": 0.1})
    slow = agent(mode="sync", agent_id="slow", input="take 1")
    assert run_through(slow, FakeTaskInstance().context())
    assert len(service.posts) == len(service.runs()) == 1


def test_no_answer_in_time_is_unclear_too(service: Service) -> None:
    service.connect(extra={"timeout": 0.2})
    service.add_fault(Fault.slow(1.0, method="POST", act_first=True))
    assert run_through(agent(), FakeTaskInstance().context()) == "hello"
    assert len(service.posts) == len(service.runs()) == 1


@MODES
def test_throttling_is_waited_out(mode: str, service: Service, quick_repeats: None) -> None:
    service.add_fault(Fault.throttled(retry_after=0, method="POST", times=2))
    assert run_through(agent(mode=mode), FakeTaskInstance().context()) == "hello"
    assert [call.status for call in service.posts] == [429, 429, 200]
    assert len(service.runs()) == 1


def test_a_long_throttling_is_left_to_airflows_retry(service: Service) -> None:
    service.add_fault(Fault.throttled(retry_after=3600, method="POST", times=None))
    with pytest.raises(XpanderRateLimitError) as caught:
        agent().execute(FakeTaskInstance().context())
    assert caught.value.retry_after == 3600
    assert len(service.posts) == 1


def test_a_service_that_is_not_there_is_left_to_airflows_retry(
    service: Service, quick_repeats: None, unused_tcp_port: int
) -> None:
    service.connect(host=f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(XpanderConnectionError, match=f"cannot reach http://127.0.0.1:{unused_tcp_port}"):
        agent().execute(FakeTaskInstance().context())


def test_a_key_that_was_changed_meanwhile_is_read_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait outlives a change of the key, as the connection is read anew when it is refused."""
    service.configure({"run_seconds": 0.6})

    class Rotating(FakeTaskInstance):
        def xcom_push(self, key: str, value: Any) -> None:
            if key == "xpander_task_id":
                service.configure({"api_keys": ["the-new-key-0001"]})
                service.connect(password="the-new-key-0001")

    assert agent().execute(Rotating().context()) == "hello"
    assert [call.status for call in service.requests("GET")].count(401) == 1


def _own_lines(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged in this thread; the emulator, in another one, is no part of the provider."""
    return "\n".join(
        record.getMessage() for record in caplog.records if "emulator" not in (record.threadName or "")
    )


@pytest.mark.parametrize("text", ["None", " None\n"])
def test_an_xcom_that_is_missing_is_not_asked_about(text: str, service: Service) -> None:
    """A template makes "None" of it, and the run would be paid for."""
    operator = agent(input="{{ params.text }}")
    context = FakeTaskInstance().context() | {"params": {"text": text}}
    operator.render_template_fields(context)
    with pytest.raises(AirflowFailException, match="input is the text .*None.*null"):
        operator.execute(context)
    assert service.requests() == []
