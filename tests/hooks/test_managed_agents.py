"""The hook for Airflow's contract of managed agents, with the real classes of ``common-ai``."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import threading
from typing import Any

import pytest
from airflow_side import Service, eventually

from airflow_provider_xpander import managed_agents
from airflow_provider_xpander.api.errors import (
    XpanderConnectionError,
    XpanderRateLimitError,
    XpanderServiceError,
    XpanderTaskFailed,
    XpanderTaskTimeout,
    XpanderValidationError,
)
from airflow_provider_xpander.emulator import Fault, Settings
from airflow_provider_xpander.managed_agents import HAS_COMMON_AI, XpanderManagedAgentHook

pytestmark = [
    pytest.mark.skipif(not HAS_COMMON_AI, reason="apache-airflow-providers-common-ai is not installed"),
    pytest.mark.usefixtures("quick_repeats"),
]
if HAS_COMMON_AI:
    from airflow.providers.common.ai.exceptions import ManagedAgentInvocationError, ManagedAgentRejected
    from airflow.providers.common.ai.managed_agents import (
        FailoverManagedAgentClient,
        ManagedAgentCapabilities,
        ManagedAgentRef,
        ManagedAgentRequest,
        ManagedAgentUsage,
    )

SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "enum": ["billing", "bug", "access"]}},
    "required": ["category"],
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed_agents, "POLL_INTERVAL", 0.05)


def ask(agent: str = "echo", **fields: Any) -> Any:
    asked = fields if "messages" in fields else {"prompt": "hello"} | fields
    with XpanderManagedAgentHook() as hook:
        return hook.agent(agent).invoke(ManagedAgentRequest(**asked))


def test_identity_and_capabilities_need_no_network_and_no_connection() -> None:
    agent = XpanderManagedAgentHook("there_is_no_such_connection").agent("02843b37@draft")
    assert agent.ref == ManagedAgentRef("xpander.agents", "02843b37", "draft")
    assert agent.capabilities == ManagedAgentCapabilities(
        sessions=True, structured_output=True, usage=True, trace=True
    )


def test_an_answer_comes_with_usage_and_a_reference_of_its_run(service: Service) -> None:
    answer = ask()
    (run,) = service.runs()
    assert (answer.text, answer.structured) == ("hello", None)
    assert answer.trace_ref == answer.session_id == run.task_id
    assert isinstance(answer.usage, ManagedAgentUsage)
    assert answer.usage.input_tokens
    assert answer.usage.output_tokens
    assert answer.raw["status"] == "completed"
    assert answer.raw["result"] == "hello"
    json.dumps(answer.raw)


def test_the_run_carries_the_mark_of_the_task_and_each_call_another(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DAG_ID": "nightly", "DAG_RUN_ID": "scheduled__1", "TASK_ID": "analyst"}.items():
        monkeypatch.setenv(f"AIRFLOW_CTX_{name}", value)
    ask()
    ask()
    titles = [run.body["title"] for run in service.runs()]
    assert all(
        title.startswith("nightly.analyst call ") and " scheduled__1 [airflow " in title for title in titles
    )
    assert len(set(titles)) == 2


def test_a_session_is_a_thread(service: Service) -> None:
    first = ask()
    second = ask(prompt="and now?", session_id=first.session_id)
    assert second.session_id == first.session_id
    assert second.text == "and now?"
    assert len(service.posts) == 2


def test_two_turns_never_run_on_one_thread(service: Service) -> None:
    service.reset(Settings(run_seconds=0.6))
    thread = service.start()
    answer = ask(prompt="second", session_id=thread)
    posted = next(call for call in service.requests("POST") if "/invoke" in call.path)
    assert answer.text == "second"
    before = [call for call in service.requests("GET", f"/{thread}") if call.at < posted.at]
    assert len(before) > 1, "the first turn was waited for"


@pytest.mark.parametrize("given", ["schema", "format"])
def test_an_answer_by_a_schema_is_data(given: str, service: Service) -> None:
    options: dict[str, Any] = {"output_schema": SCHEMA} if given == "schema" else {"output_format": "json"}
    answer = ask("classifier", prompt="I was charged twice", vendor_options=options)
    assert answer.structured["category"] == "billing"
    assert json.loads(answer.text) == answer.structured


def test_messages_are_sent_as_text(service: Service) -> None:
    ask(messages=[{"role": "user", "content": [{"type": "text", "text": "one"}]}])
    ask(messages=[{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}])
    assert [run.body["input"]["text"] for run in service.runs()] == ["one", "user: one\n\nassistant: two"]


def test_options_reach_the_request(service: Service) -> None:
    ask(vendor_options={"files": ["https://x.example.com/a.pdf"], "think_mode": "harder"})
    body = service.posts[0].body
    assert body["input"]["files"] == ["https://x.example.com/a.pdf"]
    assert body["think_mode"] == "harder"


@pytest.mark.parametrize(
    "name",
    ["agent_id", "id", "version", "xpander_conn_id", "title", "source", "extra_body", "worker_id", "x"],
)
def test_an_option_that_leads_elsewhere_is_refused(name: str, service: Service) -> None:
    with pytest.raises(ManagedAgentInvocationError, match=f"vendor_options: {name} cannot be given"):
        ask(vendor_options={name: "x"})
    assert service.posts == []


@pytest.mark.parametrize(
    ("agent", "fields", "fault", "expected"),
    [
        ("failing", {}, None, "ManagedAgentRejected"),
        ("not-json", {"vendor_options": {"output_schema": SCHEMA}}, None, "ManagedAgentRejected"),
        ("echo", {}, {"status": 422}, "ManagedAgentRejected"),
        ("nobody", {}, None, "ManagedAgentInvocationError"),
        ("failing", {"prompt": "stopped"}, None, "ManagedAgentInvocationError"),
        ("echo", {"prompt": " "}, None, "ManagedAgentRejected"),
        ("echo", {"vendor_options": {"output_schema": 5}}, None, "ManagedAgentInvocationError"),
        ("echo", {"messages": [{"content": [{"type": "image"}]}]}, None, "ManagedAgentInvocationError"),
        ("echo", {}, {"status": 401, "times": 9}, "ManagedAgentInvocationError"),
        ("echo", {}, {"status": 402}, "ManagedAgentInvocationError"),
        ("failing", {"prompt": "error"}, None, XpanderTaskFailed),
        ("echo", {}, {"status": 429, "times": 99}, XpanderRateLimitError),
    ],
)
def test_errors_are_of_three_classes(
    agent: str, fields: Any, fault: Any, expected: Any, service: Service
) -> None:
    if fault:
        service.add_fault(Fault(method="POST", **fault))
    kind = globals()[expected] if isinstance(expected, str) else expected
    with pytest.raises(kind):
        ask(agent, **fields)


def test_a_service_that_is_away_is_left_to_the_retry_of_the_task(service: Service) -> None:
    service.connect(host="http://127.0.0.1", port=9)
    with pytest.raises((XpanderConnectionError, XpanderServiceError)):
        ask()


def test_a_time_out_stops_the_run(service: Service) -> None:
    with pytest.raises(XpanderTaskTimeout, match="The run was stopped"):
        ask("slow", prompt="take 60", timeout=1)
    assert [service.status(run.task_id) for run in service.runs()] == ["stopped"]


def test_an_interruption_stops_the_run(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(XpanderManagedAgentHook, "poll_until_done", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask("slow", prompt="take 60")
    assert [service.status(run.task_id) for run in service.runs()] == ["stopped"]


def test_an_interruption_of_the_submit_stops_the_run(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = XpanderManagedAgentHook.call

    def interrupted(self: Any, made: Any, **kwargs: Any) -> Any:
        call(self, made, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(XpanderManagedAgentHook, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask("slow", prompt="take 60")
    assert [service.status(run.task_id) for run in service.runs()] == ["stopped"]


def test_a_lost_submit_is_found_and_not_repeated(service: Service) -> None:
    service.add_fault(Fault(status=504, method="POST", act_first=True))
    assert ask().text == "hello"
    assert len(service.runs()) == 1


def test_a_thread_that_somebody_else_continues_gives_no_answer_of_theirs(service: Service) -> None:
    service.reset(Settings(run_seconds=0.4))
    failed: list[BaseException] = []
    first = ask()

    def second() -> None:
        try:
            ask(prompt="mine", session_id=first.session_id)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    eventually(lambda: len(service.posts) == 2, "the second turn")
    service.start(text="theirs", id=first.session_id, title="x [airflow ffffffffffffffffffff]")
    thread.join(15)
    assert "was continued by somebody else" in str(failed[0])


def test_a_standby_answers_where_the_first_one_cannot(service: Service) -> None:
    with XpanderManagedAgentHook() as hook:
        group = FailoverManagedAgentClient([hook.agent("nobody"), hook.agent("echo")])
        assert group.invoke(ManagedAgentRequest(prompt="hello")).text == "hello"
        rejected = FailoverManagedAgentClient([hook.agent("failing"), hook.agent("echo")])
        with pytest.raises(ManagedAgentRejected):
            rejected.invoke(ManagedAgentRequest(prompt="x"))
    assert [run.target_id for run in service.runs()] == ["echo", "failing"]


def test_it_is_a_tool_of_a_pydantic_ai_agent(service: Service) -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from airflow.providers.common.ai.toolsets import ManagedAgentToolset
    from pydantic_ai.models.test import TestModel

    with XpanderManagedAgentHook() as hook:
        tool = ManagedAgentToolset(hook.agent("echo"), tool_name="ask_analyst")
        agent = pydantic_ai.Agent(TestModel(), toolsets=[tool])
        said = asyncio.run(agent.run("go")).output
    assert "ask_analyst" in said
    assert len(service.runs()) == 1


def test_without_common_ai_the_module_imports_and_the_hook_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("airflow.providers.common.ai")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "airflow.providers.common.ai", None)
    monkeypatch.delitem(sys.modules, managed_agents.__name__)
    without = importlib.import_module(managed_agents.__name__)
    with pytest.raises(XpanderValidationError, match=r"airflow-provider-xpander\[common-ai\]"):
        without.XpanderManagedAgentHook()
