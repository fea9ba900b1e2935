"""Arguments that are refused when the DAG is parsed, and those that are accepted."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import traceback
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, BaseOperator

from airflow_provider_xpander._compat import AIRFLOW_VERSION, HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.request import PARAMETERS
from airflow_provider_xpander.operators.base import XpanderRequestOperator
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    return XpanderInvokeAgentOperator(**{"task_id": "ask", "agent_id": "echo", "input": "hello"} | kwargs)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        pytest.param({"input": None}, ["input", "text", "file", "empty"], id="no input and no files"),
        pytest.param({"input": ""}, ["input", "text", "file", "empty"], id="empty input"),
        pytest.param({"input": "  "}, ["input", "empty"], id="blank input"),
        pytest.param(
            {"input": {"user": {"email": "a@example.com"}}}, ["input", "file", "empty"], id="only a user"
        ),
        pytest.param({"input": {"text": None, "files": []}}, ["input", "file", "empty"], id="empty parts"),
        pytest.param({"input": {"txt": "hello"}}, ["input.txt", "no such field"], id="typo in input"),
        pytest.param({"input": {"text": 5}}, ["input.text", "5", "string"], id="input is no text"),
        pytest.param({"files": "a.pdf"}, ["input.files", "'a.pdf'", "list"], id="files is no list"),
        pytest.param({"files": ["/data/a.pdf"]}, ["input.files", "'/data/a.pdf'", "http"], id="local file"),
        pytest.param(
            {"input": {"text": "x", "files": ["file:///data/a.pdf"]}},
            ["input.files", "'file:///data/a.pdf'", "presigned"],
            id="local file as URL",
        ),
        pytest.param({"output_schema": {"type": "text"}}, ["output_schema", "$.type", "'text'"], id="schema"),
        pytest.param({"output_schema": dict}, ["output_schema", "dict", "pydantic"], id="another class"),
        pytest.param({"output_schema": 7}, ["output_schema", "7", "pydantic"], id="schema is a number"),
        pytest.param(
            {"on_invalid": "fix"}, ["on_invalid", "'fix'", "fail", "raw", "repair"], id="on_invalid"
        ),
        pytest.param(
            {"on_invalid": "repair"},
            ["on_invalid='repair'", "output_schema", "output_format='json'", "'raw'"],
            id="nothing to repair by",
        ),
        pytest.param(
            {"on_invalid": "repair", "output_format": "markdown"},
            ["output_format='json'"],
            id="repair of text",
        ),
        pytest.param({"repair_attempts": 0}, ["repair_attempts", "0", "1 to 10"], id="no repair"),
        pytest.param({"repair_attempts": 11}, ["repair_attempts", "11", "1 to 10"], id="too many repairs"),
        pytest.param({"max_xcom_bytes": True}, ["max_xcom_bytes", "True", "at least 1"], id="max_xcom_bytes"),
        pytest.param(
            {"result_path": "/tmp/a"}, ["result_path", "'/tmp/a'", "file:///"], id="path without URL"
        ),
        pytest.param({"result_path": 7}, ["result_path", "7", "s3://"], id="path is a number"),
        pytest.param(
            {"result_path": "ftp://me:pw@host/a"}, ["result_path", "no password", "connection"], id="password"
        ),
        pytest.param({"user": {"mail": "a@example.com"}}, ["input.user.mail", "no such"], id="typo in user"),
        pytest.param({"user": {"id": "7"}}, ["input.user.email", "required"], id="user without e-mail"),
        pytest.param(
            {"output_format": "xml"},
            ["output_format", "'xml'", "text", "markdown", "json", "voice"],
            id="output_format",
        ),
        pytest.param({"think_mode": "hard"}, ["think_mode", "'hard'", "default", "harder"], id="think_mode"),
        pytest.param(
            {"llm_reasoning_effort": "max"},
            ["llm_reasoning_effort", "'max'", "low", "medium", "high", "xhigh"],
            id="llm_reasoning_effort",
        ),
        pytest.param(
            {"output_format": "text", "output_schema": {"type": "object"}},
            ["output_format", "'text'", "output_schema"],
            id="schema without json",
        ),
        pytest.param({"output_schema": "object"}, ["output_schema", "'object'", "dict"], id="output_schema"),
        pytest.param({"mode": "stream!"}, ["mode", "'stream!'", "async", "sync"], id="mode"),
        pytest.param({"on_timeout": "kill"}, ["on_timeout", "'kill'", "stop", "leave"], id="on_timeout"),
        pytest.param({"on_paused": "skip"}, ["on_paused", "'skip'", "wait", "fail"], id="on_paused"),
        pytest.param({"on_stopped": "retry"}, ["on_stopped", "'retry'", "fail", "skip"], id="on_stopped"),
        pytest.param({"poll_interval": -1}, ["poll_interval", "-1", "greater than 0"], id="poll_interval<0"),
        pytest.param({"poll_interval": 0}, ["poll_interval", "0", "greater than 0"], id="poll_interval=0"),
        pytest.param({"poll_interval": "30"}, ["poll_interval", "'30'", "seconds"], id="poll_interval text"),
        pytest.param({"timeout": -5}, ["timeout", "-5", "greater than 0"], id="timeout<0"),
        pytest.param({"timeout": timedelta(0)}, ["timeout", "greater than 0"], id="timeout=0"),
        pytest.param({"timeout": 1e300}, ["timeout", "1e+300", "1e10 at the most"], id="timeout=1e300"),
        pytest.param({"timeout": timedelta.max}, ["timeout", "1e10 at the most"], id="timeout=max"),
        pytest.param({"poll_interval": 10**400}, ["poll_interval", "1e10 at the most"], id="poll_interval"),
        pytest.param({"timeout": float("nan")}, ["timeout", "nan", "seconds"], id="timeout=nan"),
        pytest.param({"agent_id": ""}, ["agent_id", "''", "non-empty"], id="empty id"),
        pytest.param({"agent_id": None}, ["agent_id", "None", "non-empty"], id="no id"),
        pytest.param(
            {"mode": "sync", "wait_for_completion": False},
            ["wait_for_completion", "False", 'mode="async"'],
            id="sync without waiting",
        ),
        pytest.param({"extra_body": {"title": "x"}}, ["extra_body", "title"], id="known field in extra_body"),
        pytest.param({"user_tokens": "top-secret-token"}, ["user_tokens", "dict"], id="user_tokens"),
    ],
)
def test_a_wrong_argument_fails_the_parse_and_is_explained(wrong: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(XpanderValidationError) as caught:
        agent(**wrong)
    missing = [word for word in named if word not in str(caught.value)]
    assert not missing, f"not in the message: {missing}; it says: {caught.value}"
    assert "top-secret" not in str(caught.value)


def test_an_empty_workflow_id_fails_the_parse() -> None:
    with pytest.raises(XpanderValidationError, match="workflow_id must be a non-empty string, got ''"):
        XpanderInvokeWorkflowOperator(task_id="ask", workflow_id="", input="hello")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"xpander_task_id": ""}, "xpander_task_id must be a non-empty string, got ''"),
        ({"on_paused": "skip"}, "on_paused must be one of 'wait', 'fail', got 'skip'"),
        ({"output_format": "xml"}, "output_format must be one of 'text', 'markdown', 'json', 'voice'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_of_the_sensor_fails_the_parse(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(XpanderValidationError) as caught:
        XpanderTaskSensor(**{"task_id": "wait", "xpander_task_id": "7"} | wrong)
    assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore:Task .* was never mapped")  # that is what the refusal leads to
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: agent(inputs="hello"), id="agent"),
        pytest.param(
            lambda: XpanderInvokeWorkflowOperator(task_id="a", workflow_id="w", input="x", inputs="hello"),
            id="workflow",
        ),
        pytest.param(
            lambda: XpanderTaskSensor(task_id="a", xpander_task_id="7", inputs="hello"), id="sensor"
        ),
        pytest.param(
            lambda: XpanderInvokeAgentOperator.partial(task_id="a", agent_id="echo", inputs="hello"),
            id="partial",
        ),
        pytest.param(
            lambda: XpanderInvokeAgentOperator.partial(task_id="a", agent_id="echo").expand(inputs=["a"]),
            id="expand",
        ),
    ],
)
def test_a_typo_in_a_keyword_is_refused(make: Any) -> None:
    with pytest.raises((TypeError, AirflowException), match="inputs"):
        make()


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"input": "{{ params.text }}"}, id="text"),
        pytest.param({"input": {"text": "{% if true %}a{% endif %}"}}, id="text in a mapping"),
        pytest.param({"input": None, "files": "{{ params.files }}"}, id="files as one template"),
        pytest.param({"output_format": "{{ params.format }}"}, id="a choice"),
        pytest.param({"output_schema": "{{ params.schema }}"}, id="a mapping"),
        pytest.param({"output_schema": {"type": "{{ params.type }}"}}, id="a part of a schema"),
        pytest.param({"output_schema": "not.imported.yet.Model"}, id="an import path"),
        pytest.param({"result_path": "{{ params.place }}"}, id="a place"),
        pytest.param({"agent_id": "{{ params.agent }}"}, id="the id"),
        pytest.param({"user_tokens": "{{ params.tokens }}"}, id="a secret mapping"),
        pytest.param({"user": "{{ params.user }}"}, id="the user"),
    ],
)
def test_a_template_is_not_judged_before_it_is_rendered(given: dict[str, Any]) -> None:
    agent(**given)


def test_the_output_of_another_task_is_accepted_for_any_field_and_ordered_after_it() -> None:
    with DAG("flow", schedule=None):
        earlier = BaseOperator(task_id="earlier")
        later = agent(agent_id=earlier.output, input={"text": earlier.output}, output_schema=earlier.output)
        sensor = XpanderTaskSensor(task_id="wait", xpander_task_id=earlier.output)
    assert later.upstream_task_ids == sensor.upstream_task_ids == {"earlier"}


@pytest.mark.parametrize(
    "mapped",
    [
        pytest.param({"input": ["a", "b"]}, id="input"),
        pytest.param({"input": [{"text": "a"}, {"text": "b"}]}, id="input as mappings"),
        pytest.param({"input": ["a"], "user": [{"email": "a@example.com"}]}, id="two fields"),
        pytest.param({"input": ["a"], "output_schema": [{"type": "object"}]}, id="schema"),
        pytest.param({"input": ["a"], "title": ["first"]}, id="title"),
        pytest.param({"files": [["https://example.com/a.pdf"]]}, id="files only"),
    ],
)
def test_every_field_can_be_mapped(mapped: dict[str, Any]) -> None:
    with DAG("flow", schedule=None) as dag:
        XpanderInvokeAgentOperator.partial(task_id="ask", agent_id="echo", deferrable=True).expand(**mapped)
    assert type(dag.get_task("ask")).__name__ == "MappedOperator"


def test_the_id_can_be_mapped() -> None:
    with DAG("flow", schedule=None) as dag:
        XpanderInvokeAgentOperator.partial(task_id="a", input="x").expand(agent_id=["echo", "classifier"])
        XpanderInvokeWorkflowOperator.partial(task_id="w", input="x").expand(workflow_id=["triage"])
        XpanderTaskSensor.partial(task_id="s").expand(xpander_task_id=["1", "2"])
    assert {type(task).__name__ for task in dag.tasks} == {"MappedOperator"}


def test_durations_may_be_timedeltas() -> None:
    operator = agent(poll_interval=timedelta(seconds=5), timeout=timedelta(minutes=2))
    assert (operator.poll_interval, operator.timeout) == (5.0, 120.0)


@pytest.mark.parametrize("value", ["True", "False"])
def test_deferrable_follows_airflows_default(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", value)
    expected = value == "True"
    assert agent().deferrable is expected
    assert XpanderTaskSensor(task_id="wait", xpander_task_id="7").deferrable is expected
    assert agent(deferrable=not expected).deferrable is not expected


def test_parsing_imports_no_http_client_and_reads_no_connection() -> None:
    """In a process of its own, because the tests have imported everything long ago."""
    script = """
import json, sys
from airflow.providers.common.compat.sdk import BaseHook, DAG
before = set(sys.modules)
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor
BaseHook.get_connection = None
with DAG("flow", schedule=None):
    run = XpanderInvokeAgentOperator(task_id="a", agent_id="echo", input="x", wait_for_completion=False)
    XpanderTaskSensor(task_id="s", xpander_task_id=run.output)
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    imported = json.loads(done.stdout.splitlines()[-1])
    assert "airflow_provider_xpander.operators.xpander" in imported
    clients = {"requests", "httpx", "sseclient", "airflow_provider_xpander.api.client"}
    assert not clients.intersection(imported)
    assert not [name for name in imported if name.startswith("airflow_provider_xpander.hooks")]


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        pytest.param("user_oidc_token", lambda output: output, id="itself"),
        pytest.param("user_tokens", lambda output: {"crm": output}, id="in a dict"),
        pytest.param("mcp_servers", lambda output: [{"headers": {"x": output}}], id="deep in a list"),
    ],
)
def test_secret_from_another_task_is_refused(name: str, wrap: Any) -> None:
    source = XpanderInvokeAgentOperator(task_id="source", agent_id="echo", input="hi")
    with pytest.raises(XpanderValidationError, match=f"{name} must not be another task's output"):
        XpanderInvokeAgentOperator(task_id="run", agent_id="echo", input="hi", **{name: wrap(source.output)})


def test_asking_needs_an_airflow_that_can() -> None:
    """Refused where the DAG is parsed, not in the night when the run pauses."""
    if HAS_HUMAN_IN_THE_LOOP:
        assert agent(on_paused="ask").on_paused == "ask"
        return
    with pytest.raises(XpanderValidationError) as refused:
        agent(on_paused="ask")
    for word in ("on_paused", "'ask'", "3.1", AIRFLOW_VERSION, "'wait'", "'fail'"):
        assert word in str(refused.value)


def test_a_sensor_cannot_ask_because_it_stops_nothing() -> None:
    with pytest.raises(XpanderValidationError, match=r"on_paused must be one of 'wait', 'fail', got 'ask'"):
        XpanderTaskSensor(task_id="wait", xpander_task_id="7", on_paused="ask")


def test_an_error_names_its_task_and_shows_nothing_of_how_it_was_found() -> None:
    with pytest.raises(XpanderValidationError) as caught:
        XpanderInvokeAgentOperator(task_id="triage", agent_id="a", input={"text": "x", "files": ["no-url"]})
    message = "".join(traceback.format_exception(caught.value))
    assert str(caught.value).startswith("task 'triage' (XpanderInvokeAgentOperator): input.files")
    assert "pydantic" not in message
    assert "During handling" not in message


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (XpanderInvokeAgentOperator, {"agent_id": " "}),
        (XpanderInvokeWorkflowOperator, {"workflow_id": "None"}),
        (XpanderTaskSensor, {"xpander_task_id": ""}),
        (XpanderTaskSensor, {"xpander_task_id": "t-1", "on_paused": "ask"}),
        (XpanderInvokeAgentOperator, {"agent_id": "a", "output_schema": {"type": 5}}),
    ],
)
def test_each_class_names_its_task(kind: Any, wrong: dict[str, Any]) -> None:
    given = {} if kind is XpanderTaskSensor else {"input": "x"}
    with pytest.raises(XpanderValidationError, match=f"^task 'triage' .{kind.__name__}.: "):
        kind(task_id="triage", **given | wrong)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"order": 5}, r"input\.order: no such field, got .*tojson"),
        (["a", "b"], r"input: no text, got .*tojson"),
        (7, r"input: no text, got 7.*tojson"),
    ],
)
def test_data_for_an_input_is_told_how_to_become_a_text(given: Any, message: str) -> None:
    with pytest.raises(XpanderValidationError, match=message):
        XpanderInvokeAgentOperator(task_id="triage", agent_id="a", input=given)


def test_the_other_kinds_id_is_refused() -> None:
    with pytest.raises(XpanderValidationError, match="workflow_id is not taken here, got 'w': give agent_id"):
        XpanderInvokeAgentOperator(task_id="triage", workflow_id="w", input="x")


@pytest.mark.parametrize(
    "asked", [{"output_format": "json"}, {"output_format": "{{ 'json' }}"}, {"output_schema": {}}]
)
def test_what_can_be_invalid_can_be_repaired(asked: dict[str, Any]) -> None:
    assert agent(on_invalid="repair", **asked).on_invalid == "repair"


def test_the_signature_has_the_fields_of_the_request_and_nothing_that_is_dropped() -> None:
    signature = inspect.signature(XpanderRequestOperator.__init__).parameters
    named = [name for name, one in signature.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    assert set(PARAMETERS) <= set(named)
    assert {name: signature[name].default for name in PARAMETERS} == dict.fromkeys(PARAMETERS)
    operator = agent()
    assert [name for name in named if not hasattr(operator, name)] == []


def test_default_args_give_parameters_of_the_request() -> None:
    with DAG("flow", schedule=None, default_args={"think_mode": "harder", "user_oidc_token": "{{ ds }}"}):
        operator = agent(think_mode="default")
    assert (operator.think_mode, operator.user_oidc_token) == ("default", "{{ ds }}")


def test_a_class_of_ones_own_may_add_template_fields() -> None:
    class Own(XpanderInvokeAgentOperator):
        template_fields = (*XpanderInvokeAgentOperator.template_fields, "table")

        def __init__(self, *, table: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.table = table

    assert Own(task_id="own", agent_id="a", input="x", table="{{ ds }}").table == "{{ ds }}"
