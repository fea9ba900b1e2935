"""The fixture ``xpander``, as a test of a hook or a DAG uses it."""

from __future__ import annotations

import json
import os

import pytest

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderBillingError,
    XpanderNotFoundError,
)
from airflow_provider_xpander.api.models import Target, Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.emulator.steps import login
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.testing import XpanderKit

_keys: set[str] = set()


def ask(agent_id: str, text: str = "hello", conn_id: str = "xpander_default", **fields: object) -> Task:
    with XpanderHook(conn_id) as hook:
        task = hook.invoke_async(Target.agent(agent_id), {"input": text, **fields})
        return hook.wait_for_task(task.id, timeout=10)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("fine", "fine"),
        (lambda prompt: prompt.text.upper(), "HELLO"),
        (["first turn", "second turn"], "first turn"),
        ({"category": "bug"}, {"category": "bug"}),
    ],
    ids=["text", "function", "turns", "data"],
)
def test_an_agent_answers_what_it_is_told_to(xpander: XpanderKit, answer: object, result: object) -> None:
    xpander.agent("triage").answers(answer)
    said = ask("triage", output_format="json" if isinstance(answer, dict) else "text").result
    assert (json.loads(said) if isinstance(result, dict) else said) == result
    assert xpander.prompts() == xpander.prompts("triage") == ["hello"]
    assert xpander.prompts("other") == []
    run = xpander.assert_one_run("triage")
    assert (run.status, run.target_id, run.stops, run.is_over) == ("completed", "triage", 0, True)
    assert (run.request["input"]["text"], str(run)) == ("hello", f"triage completed: 'hello' (task {run.id})")
    assert [call.method for call in xpander.calls][:2] == ["POST", "GET"]


def test_an_agent_fails_or_pauses(xpander: XpanderKit) -> None:
    xpander.agent("enrich-*").fails("no tool")
    failed = ask("enrich-7")
    assert (failed.status, failed.result) == ("failed", "no tool")
    xpander.agent("triage").answers("ok").pauses(login("Jira"), resume_after=0.1)
    assert ask("triage").result == "ok"
    xpander.workflow("nightly").answers("done").takes(0.1)
    with XpanderHook() as hook:
        task = hook.invoke_async(Target.workflow("nightly"), "go")
        assert hook.wait_for_task(task.id, timeout=10).result == "done"


def test_a_test_resumes_or_stops_what_goes_on(xpander: XpanderKit) -> None:
    xpander.agent("triage").answers("ok").pauses()
    with XpanderHook() as hook:
        task = hook.invoke_async(Target.agent("triage"), "go")
        (run,) = xpander.runs()
        assert (run.status, run.is_over) == ("paused", False)
        xpander.resume(run)
        assert hook.wait_for_task(task.id, timeout=10).result == "ok"
        second = hook.invoke_async(Target.agent("triage"), "go")
        hook.stop_task(second.id)
    xpander.assert_all_stopped()
    assert [run.stops for run in xpander.runs()] == [0, 1]


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("lost_submit", {"agent": "echo"}, XpanderAmbiguousSubmitError),
        ("outage", {"times": 1}, XpanderAmbiguousSubmitError),
        ("throttled", {"retry_after": 2}, None),
        ("slow_list", {"seconds": 1}, None),
        ("wrong_json_once", {}, None),
        ("out_of_credit", {}, XpanderBillingError),
        ("login_needed", {"resume_after": 0.1}, None),
    ],
)
def test_faults_have_names(
    xpander: XpanderKit, name: str, options: dict[str, object], error: type[Exception] | None
) -> None:
    xpander.fault(name, **options)
    if error is None:
        assert ask("echo").result == "hello"
    else:
        with pytest.raises(error):
            ask("echo")


def test_a_fault_that_there_is_not_names_those_that_there_are(xpander: XpanderKit) -> None:
    with pytest.raises(ValueError, match="lost_submit"):
        xpander.fault("lost_sumbit")


@pytest.mark.parametrize("number", range(2))
def test_nothing_is_left_of_the_test_before(xpander: XpanderKit, number: int) -> None:
    assert xpander.runs() == xpander.calls == []
    assert xpander.api_key not in _keys
    _keys.add(xpander.api_key)
    if number:
        with pytest.raises(XpanderNotFoundError):
            ask("triage")
    xpander.agent("triage").answers("ok")
    xpander.connect("other", user_email="ada@example.com")
    assert ask("triage", conn_id="other").result == "ok"
    assert xpander.runs()[0].request["input"]["user"]["email"] == "ada@example.com"


def test_the_environment_is_put_back() -> None:
    assert _keys, "a test has used the fixture"
    assert "AIRFLOW_CONN_XPANDER_DEFAULT" not in os.environ
    assert "AIRFLOW_CONN_OTHER" not in os.environ
    assert not [name for name in os.environ if name.startswith("AIRFLOW__XPANDER__")]
    assert clock.CLOCK.speed == 1.0
    assert Settings(base_url="https://real.invalid", api_key="k" * 9).headers()["x-api-key"] == "k" * 9


@pytest.mark.parametrize(
    ("asked", "agent_id", "lines"),
    [
        (["one", "two"], "echo", ["Expected one run of echo, got 2:", "1. echo completed: 'one'", "'two'"]),
        (["one"], "triage", ["Expected one run of triage, got 0: none", "All runs:", "1. echo completed"]),
        ([], None, ["Expected one run, got 0: none"]),
    ],
)
def test_a_wrong_number_of_runs_is_told(
    xpander: XpanderKit, asked: list[str], agent_id: str | None, lines: list[str]
) -> None:
    for text in asked:
        ask("echo", text)
    with pytest.raises(AssertionError) as raised:
        xpander.assert_one_run(agent_id)
    assert all(line in str(raised.value) for line in lines), str(raised.value)


def test_a_run_that_goes_on_is_told(xpander: XpanderKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_xpander.testing.kit.STOP_SECONDS", 0.05)
    xpander.agent("triage").answers("late").takes(600)
    with XpanderHook() as hook:
        hook.invoke_async(Target.agent("triage"), "a long one")
    with pytest.raises(AssertionError, match=r"Runs that go on .*\n  1. triage \w+: 'a long one'"):
        xpander.assert_all_stopped()
