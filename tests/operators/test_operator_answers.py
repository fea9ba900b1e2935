"""Answers as data: parsed where JSON was asked for, kept where that fails, harmless for XCom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow_side import POLL, FakeTaskInstance, Service, run_through
from attempts import Lines, lines

from airflow_provider_xpander import xcom as xcom_module
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

__all__ = ["lines"]

SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "enum": ["billing", "bug"]}},
    "required": ["category"],
}
WAYS = pytest.mark.parametrize(
    "way",
    [
        pytest.param({"deferrable": False}, id="worker"),
        pytest.param({"deferrable": True}, id="deferred"),
        pytest.param({"mode": "sync"}, id="sync"),
    ],
)


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults = {"task_id": "ask", "agent_id": "echo", "input": "hello", "poll_interval": POLL}
    return XpanderInvokeAgentOperator(**defaults | kwargs)


def answered(result: Any, ti: FakeTaskInstance, service: Service, **kwargs: Any) -> Any:
    """Let the service answer a sync invoke with this result."""
    service.add_fault(Fault(status=200, body={"id": "task-7", "status": "completed", "result": result}))
    return agent(mode="sync", **kwargs).execute(ti.context())


@WAYS
@pytest.mark.parametrize("carried", ["string", "fenced", "object"])
def test_a_schema_gives_parsed_data_however_the_service_carries_it(
    carried: str, way: dict[str, Any], service: Service
) -> None:
    service.configure({"json_results": carried})
    operator = agent(agent_id="classifier", input="I was charged twice", output_schema=SCHEMA, **way)
    assert run_through(operator, FakeTaskInstance().context()) == {"category": "billing"}
    assert service.runs()[0].body["output_schema"] == SCHEMA
    assert service.runs()[0].body["output_format"] == "json"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("[1, 2]", [1, 2]),
        ("17", 17),
        ('"plain"', "plain"),
        ("null", None),
        ("false", False),
    ],
)
def test_any_json_is_an_answer(text: str, expected: Any, service: Service) -> None:
    answer = answered(text, FakeTaskInstance(), service, output_format="json")
    assert answer == expected
    assert type(answer) is type(expected)


@pytest.mark.parametrize("output_format", [None, "text", "markdown"])
def test_without_json_the_answer_stays_the_text_that_it_is(
    output_format: str | None, service: Service
) -> None:
    text = '```json\n{"a": 1}\n```'
    assert answered(text, FakeTaskInstance(), service, output_format=output_format) == text


@WAYS
def test_an_answer_that_is_not_json_fails_at_once_and_is_kept(way: dict[str, Any], service: Service) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match=r"not the JSON that was asked for.*Sure! Here is what"):
        run_through(agent(agent_id="not-json", output_schema=SCHEMA, **way), ti.context())
    assert ti.xcom["xpander_raw_result"].startswith("Sure! Here is what I found: hello.")
    assert list(ti.xcom) == ["xpander_task_id", "xpander_link", "xpander_task", "xpander_raw_result"]


def test_the_message_shows_the_first_500_characters_and_xcom_holds_all(service: Service) -> None:
    text = "".join(f"<{number:04d}>" for number in range(300))
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException) as caught:
        answered(text, ti, service, output_format="json")
    assert text[:500] in str(caught.value)
    assert text[:501] not in str(caught.value)
    assert ti.xcom["xpander_raw_result"] == text


@pytest.mark.parametrize("text", ["", None, '{"a": 1', "NaN", '{"a": Infinity}', "{} {}"])
def test_what_only_looks_like_json_is_refused(text: str | None, service: Service) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match="not the JSON that was asked for"):
        answered(text, ti, service, output_format="json")
    assert ti.xcom["xpander_raw_result"] == text


@pytest.mark.parametrize("number", ["1e999", str(10**400)])
@pytest.mark.parametrize("on_invalid", ["fail", "raw"])
def test_a_number_that_breaks_the_check_is_an_invalid_answer(
    on_invalid: str, number: str, service: Service
) -> None:
    ti, text = FakeTaskInstance(), f'{{"price": {number}}}'
    asked = {"output_schema": {"properties": {"price": {"multipleOf": 0.01}}}, "on_invalid": on_invalid}
    if on_invalid == "raw":
        assert answered(text, ti, service, **asked) == text
        return
    with pytest.raises(AirflowFailException, match="could not check it: OverflowError"):
        answered(text, ti, service, **asked)
    assert ti.xcom["xpander_raw_result"] == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", r"expected an object, got a value of type list"),
        ('"text"', "expected an object, got a value of type str"),
        ('{"": 1}', "the key '' cannot be"),
        ('{"..": 1}', r"the key '\.\.' cannot be"),
        ('{"../other/return_value": 1}', "the key '../other/return_value' cannot be"),
        ('{"xpander_link?map_index=0": 1}', "cannot be that of an XCom"),
        ('{"xpander%5Flink": 1}', "cannot be that of an XCom"),
        ('{"xpander_link ": 1}', "cannot be that of an XCom"),
        ('{"xpander_link\\n": 1}', "cannot be that of an XCom"),
        ('{"xpander_link#": 1}', "cannot be that of an XCom"),
        (json.dumps({"k" * 512: 1}), "cannot be that of an XCom"),
    ],
)
def test_what_cannot_be_several_xcoms_is_no_answer(text: str, said: str, service: Service) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match=said):
        answered(text, ti, service, output_format="json", multiple_outputs=True)
    assert ti.xcom["xpander_raw_result"] == text


@pytest.mark.parametrize("key", ["a", "first name", "price (EUR)", "größe", "~x", "a.b", "-", "k" * 511])
def test_usual_keys_can_be_xcoms(key: str, service: Service) -> None:
    answer = answered(
        json.dumps({key: 1}), FakeTaskInstance(), service, output_format="json", multiple_outputs=True
    )
    assert answer == {key: 1}


def test_a_raw_answer_cannot_be_several_xcoms(service: Service) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match="nothing for multiple_outputs=True"):
        answered("no", ti, service, output_format="json", multiple_outputs=True, on_invalid="raw")
    assert ti.xcom["xpander_raw_result"] == "no"


@WAYS
def test_keys_and_numbers_that_airflow_reads_as_something_else_are_made_harmless(
    way: dict[str, Any], service: Service
) -> None:
    hostile = {
        "__classname__": "os.system",
        "__version__": 1,
        "deep": [{"__type": "datetime", "__var": 5}],
        "big": 2**70,
        "nul": "a\x00b",
    }
    operator = agent(input=json.dumps(hostile), output_format="json", **way)
    assert run_through(operator, FakeTaskInstance().context()) == {
        "~__classname__": "os.system",
        "~__version__": 1,
        "deep": [{"~__type": "datetime", "~__var": 5}],
        "big": f"~{2**70}",
        "nul": "a\ufffdb",
    }


def test_control_characters_of_a_run_do_not_reach_the_message(service: Service) -> None:
    body = {"id": "task-7", "status": "failed", "result": "bad\x1b[31m\r\nINFO - all is well"}
    service.add_fault(Fault(status=200, body=body))
    with pytest.raises(Exception, match="task-7 failed: bad INFO - all is well") as caught:
        agent(mode="sync").execute(FakeTaskInstance().context())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("result", "asked", "line"),
    [
        ("It is fine.", {}, "It is fine."),
        ("It is fine.\nAll of it.", {}, "It is fine. ..."),
        ('{"category": "billing"}', {"output_format": "json"}, '{"category": "billing"}'),
        ('{"password": "hunter2"}', {"output_format": "json"}, '{"password": "***"}'),
        ("the key is known-to-airflow", {}, "the key is ***"),
        ("\x1b[31mred\x1b[0m ::group::x", {}, "red : :group::x"),
        ("x" * 5_000_000, {}, "x" * 160 + " ..."),
        ("", {}, "(empty)"),
        ("null", {"output_format": "json"}, "(empty)"),
    ],
    ids=["text", "lines", "data", "a password", "a secret", "control", "long", "empty", "null"],
)
def test_the_log_ends_with_the_first_line_of_the_answer_and_where_it_went(
    result: str, asked: dict[str, Any], line: str, service: Service, lines: Lines, told_to_airflow: None
) -> None:
    answered(result, FakeTaskInstance(), service, **asked)
    assert lines[-1] == ("info", f"The answer goes into XCom: {line} (xpander task task-7)")


@pytest.fixture
def told_to_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's masker, as if it had been told a secret: in tests it masks nothing."""
    monkeypatch.setattr(xcom_module, "masked", lambda text: text.replace("known-to-airflow", "***"))
