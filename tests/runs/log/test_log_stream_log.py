"""Log lines of each event, in each envelope (contract section 6, C20, C21)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_xpander.api.models import StreamEvent
from airflow_provider_xpander.api.sse import parse_event
from airflow_provider_xpander.api.text import LINE_LIMIT
from airflow_provider_xpander.runs.log.size_limit import TOTAL_LIMIT
from airflow_provider_xpander.runs.log.stream_log import Narrator

OWN = "11111111-1111-4111-8111-111111111111"
SUB = "22222222-2222-4222-8222-222222222222"
CALL = {"request_id": "r-1", "operation_id": "op", "tool_call_id": "c-1", "tool_name": "search"}
PLAN = [{"id": "a", "title": "Look", "completed": False}, {"id": "b", "title": "Write", "completed": False}]
LOGIN = {
    "server_name": "Jira",
    "server_url": "https://jira.example.com",
    "url": "https://jira.example.com/in",
}


def narrate(*events: tuple[str, Any] | tuple[str, Any, str], mask: Any = str) -> list[str]:
    """Return the lines that events become, warnings with a ``!`` in front."""
    narrator = Narrator(OWN, mask)
    lines = []
    for type_, data, *by in events:
        who = by[0] if by else OWN
        lines += narrator.feed(StreamEvent(type_, who, data, {"identity": {"name": "helper"}}))
    lines += narrator.close()
    return [f"{'!' if line.warning else ''}{line.text}" for line in lines]


def grouped(title: str, *lines: str) -> list[str]:
    return [f"::group::{title}", *lines, "::endgroup::"]


@pytest.mark.parametrize(
    ("type_", "data", "told"),
    [
        pytest.param("connected", None, [], id="handshake"),
        pytest.param("task_created", {"id": OWN, "status": "pending"}, [], id="own task, told by its status"),
        pytest.param("task_updated", {"id": OWN, "status": "executing"}, [], id="own task goes on"),
        pytest.param("task_finished", {"id": OWN, "status": "completed"}, [], id="own task ends"),
        pytest.param("chunk", "one\ntwo", ["Answer:", "| one", "| two"], id="text"),
        pytest.param("chunk", {"content": "one", "is_final": False}, ["Answer:", "| one"], id="text of 2025"),
        pytest.param("chunk", "", [], id="no text"),
        pytest.param("chunk", 7, [], id="text that is none"),
        pytest.param("think", "Why not?", grouped("Reasoning 1: Why not?", "Why not?"), id="thought as text"),
        pytest.param(
            "think",
            {
                "tool_name": "think",
                "payload": {"input": {"title": "Aim", "thought": "Find it", "confidence": 1}},
            },
            grouped("Reasoning 1: Aim", "thought: Find it", "confidence: 1"),
            id="thought of the SDK",
        ),
        pytest.param("analyze", "So it is.", grouped("Reasoning 1: So it is.", "So it is."), id="analysis"),
        pytest.param("analyze", {"payload": None}, [], id="analysis of another shape"),
        pytest.param("think", None, [], id="no thought"),
        pytest.param("tool_call_request", CALL, ["Tool call 1: search"], id="tool call without arguments"),
        pytest.param(
            "tool_call_request",
            {
                **CALL,
                "payload": {"query": "x"},
                "reasoning": {"title": "Precedents", "description": "May be."},
            },
            grouped("Tool call 1: search - Precedents", "May be.", 'arguments: {"query": "x"}'),
            id="tool call",
        ),
        pytest.param("tool_call_request", "odd", ["Tool call 1: a tool"], id="tool call of another shape"),
        pytest.param(
            "tool_call_result",
            {**CALL, "result": {"found": 2}, "is_error": False},
            grouped("Tool call 1: search answered", '{"found": 2}'),
            id="tool result",
        ),
        pytest.param(
            "tool_call_result",
            {**CALL, "result": "no such table", "is_error": True},
            grouped("Tool call 1: search failed", "no such table"),
            id="tool error",
        ),
        pytest.param(
            "tool_call_result",
            {**CALL, "approval_request_id": "ap-1"},
            ["!Tool call 1: search waits for approval"],
            id="tool call that waits for approval",
        ),
        pytest.param(
            "tool_call_result", "plain", grouped("Tool call 1: a tool answered", "plain"), id="result as text"
        ),
        pytest.param(
            "sub_agent_trigger",
            {"agent_id": "analyst", "query": "Which?", "files": ["https://x/y.csv"]},
            grouped("Sub-agent 1: analyst", "asks: Which?", 'files: ["https://x/y.csv"]'),
            id="sub-agent",
        ),
        pytest.param(
            "plan_updated",
            {"tasks": PLAN, "question_raised": False},
            grouped("Plan 1: 0 of 2 steps done", "[ ] Look", "[ ] Write"),
            id="plan",
        ),
        pytest.param(
            "plan_updated",
            {"question_raised": True},
            ["!The plan raises a question"],
            id="plan with a question",
        ),
        pytest.param("plan_updated", "odd", [], id="plan of another shape"),
        pytest.param(
            "auth_event",
            {"type": "login_required", "data": LOGIN},
            ["!Somebody has to log in to Jira at https://jira.example.com/in"],
            id="log-in with its link",
        ),
        pytest.param(
            "auth_event",
            {"type": "login_required", "data": {"server_url": "https://j", "url": "javascript:alert(1)"}},
            ["!Somebody has to log in to https://j in the console"],
            id="log-in with a link that is none",
        ),
        pytest.param(
            "auth_event",
            {"type": "token_issue", "data": {**LOGIN, "message": "expired"}},
            ["!The log-in to Jira does not work: expired"],
            id="log-in that fails",
        ),
        pytest.param(
            "auth_event", {"type": "token_ready", "data": LOGIN}, ["Logged in to Jira"], id="logged in"
        ),
        pytest.param("auth_event", {"type": "not_supported"}, [], id="no log-in"),
        pytest.param(
            "task_compactization",
            {"type": "summarization"},
            ["The agent sums up what was said so far, because its memory is full"],
            id="memory summed up",
        ),
        pytest.param("task_compactization", {"type": "compaction_progress"}, [], id="memory, in between"),
        pytest.param(
            "context_status", {"percent": 61.2}, ["61 % of the agent's memory is used"], id="memory"
        ),
        pytest.param("context_status", {"percent": 12}, [], id="memory, hardly used"),
        pytest.param("context_status", {"percent": "much"}, [], id="memory of another shape"),
        pytest.param(
            "ask_user_questions",
            {"questions": []},
            ["!The agent asks its user something; it can be answered in the console"],
            id="question",
        ),
        pytest.param(
            "ask_for_secret",
            {"name": "pin"},
            ["!The agent asks for a secret; it can be given in the console"],
            id="secret",
        ),
        pytest.param("error", {"error": "boom"}, ["!The stream reports an error: boom"], id="error of 2025"),
        *(
            pytest.param(name, {"any": "thing"}, [], id=name)
            for name in (
                "turn_started",
                "turn_finished",
                "invite_member",
                "member_invited",
                "secret_saved",
                "live_surface_created",
                "inline_card",
                "agent_gateway_decision",
                "gateway_steer_applied",
                "process_state_changed",
                "process_update",
                "of_tomorrow",
            )
        ),
    ],
)
def test_each_event(type_: str, data: Any, told: list[str]) -> None:
    assert narrate((type_, data)) == told


@pytest.mark.parametrize(
    ("type_", "data", "told"),
    [
        (
            "sub_task_created",
            {"id": SUB, "status": "pending"},
            [f"    helper: xpander task {SUB} is pending"],
        ),
        (
            "task_finished",
            {"id": SUB, "status": "failed", "result": "no"},
            grouped(f"> helper: xpander task {SUB} failed", "    no"),
        ),
        ("chunk", "part", ["    helper says:", "    | part"]),
        ("think", "Hm", grouped("> helper: Reasoning 1: Hm", "    Hm")),
        ("tool_call_request", CALL, ["    helper: Tool call 1: search"]),
        ("auth_event", {"type": "token_ready", "data": LOGIN}, ["    helper: Logged in to Jira"]),
        ("context_status", {"percent": 99}, []),
    ],
)
def test_what_a_sub_agent_does_is_indented(type_: str, data: Any, told: list[str]) -> None:
    assert narrate((type_, data, SUB)) == told


def test_a_sub_agent_of_a_sub_agent_is_indented_further() -> None:
    told = narrate(
        ("sub_task_created", {"id": SUB, "status": "pending"}, SUB),
        ("sub_task_created", {"id": "deep", "status": "pending", "parent_execution": SUB}, "deep"),
    )
    assert told[1].startswith("        helper: ")


def test_a_sub_task_is_told_once_per_status() -> None:
    done = {"id": SUB, "status": "completed"}
    assert len(narrate(("task_finished", done, SUB), ("sub_task_finished", done, SUB))) == 1


def envelope(kind: str, type_: str, data: Any) -> StreamEvent:
    camel = "".join(part.title() for part in type_.split("_"))
    content = {
        "current": {"type": type_, "task_id": OWN, "organization_id": "o", "time": "now", "data": data},
        "event key": {"event": type_, "data": data},
        "camel": {"type": camel, "task_id": OWN, "data": data},
    }[kind]
    event = parse_event(json.dumps(content))
    assert event is not None
    return event


@pytest.mark.parametrize("kind", ["current", "event key", "camel"])
@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("chunk", "words\n"),
        ("think", "thought"),
        ("tool_call_request", CALL),
        ("tool_call_result", {**CALL, "result": 1}),
        ("sub_agent_trigger", {"agent_id": "a", "query": "q"}),
        ("plan_updated", {"tasks": PLAN}),
        ("auth_event", {"type": "login_required", "data": LOGIN}),
        ("task_compactization", {"type": "summarization"}),
        ("context_status", {"percent": 50}),
    ],
)
def test_every_envelope_tells_the_same(kind: str, type_: str, data: Any) -> None:
    assert [line.text for line in Narrator(OWN).feed(envelope(kind, type_, data))] == [
        line.text for line in Narrator(OWN).feed(StreamEvent(type_, OWN, data))
    ]


def test_text_of_2025_is_told() -> None:
    event = parse_event('{"type": "content_chunk", "content": "old words\\n", "is_final": false}')
    assert event is not None
    assert [line.text for line in Narrator(OWN).feed(event)] == ["Answer:", "| old words"]


def test_fragments_become_lines() -> None:
    pieces = ["The ca", "use\nis kno", "wn", ".\n\n\n\nRe", "store it."]
    assert narrate(*(("chunk", piece) for piece in pieces)) == [
        "Answer:",
        "| The cause",
        "| is known.",
        "|",
        "| Restore it.",
    ]


def test_a_line_is_shown_as_soon_as_it_is_whole() -> None:
    narrator = Narrator(OWN)
    assert narrator.feed(StreamEvent("chunk", OWN, "half a ")) == []
    assert [line.text for line in narrator.feed(StreamEvent("chunk", OWN, "line\nand"))] == [
        "Answer:",
        "| half a line",
    ]


def test_text_of_two_speakers_is_not_mixed() -> None:
    told = narrate(
        ("chunk", "I "),
        ("chunk", "You "),
        ("chunk", "say", SUB),
        ("chunk", "say.\n"),
        ("chunk", " no.\n", SUB),
    )
    assert told == ["Answer:", "| I You say.", "    helper says:", "    | say no."]


def test_what_tells_nothing_does_not_break_a_line() -> None:
    told = narrate(
        ("chunk", "one "), ("context_status", {"percent": 3}), ("process_update", {}), ("chunk", "line")
    )
    assert told == ["Answer:", "| one line"]


def test_a_long_line_is_broken_between_words() -> None:
    told = narrate(("chunk", "word " * 500))
    assert all(len(line) <= LINE_LIMIT + 2 for line in told)
    assert "".join(line.removeprefix("| ") + " " for line in told[1:]).split() == ["word"] * 500


def test_parallel_tool_calls_are_told_apart() -> None:
    first, second = ({**CALL, "tool_call_id": f"c-{n}", "request_id": f"r-{n}"} for n in (1, 2))
    told = narrate(
        ("tool_call_request", first),
        ("tool_call_request", second),
        ("tool_call_result", second),
        ("tool_call_result", first),
    )
    assert told == [
        "Tool call 1: search",
        "Tool call 2: search",
        "Tool call 2: search answered",
        "Tool call 1: search answered",
    ]


def test_a_text_of_many_lines_is_shown_by_lines() -> None:
    payload = {"sql": "SELECT 1\n  FROM t", "limit": 5}
    assert narrate(("tool_call_request", {**CALL, "payload": payload})) == grouped(
        "Tool call 1: search",
        "arguments:",
        "    sql:",
        "        SELECT 1",
        "          FROM t",
        "    limit: 5",
    )


def test_a_plan_is_told_as_it_gets_done() -> None:
    done = [{**PLAN[0], "completed": True}, PLAN[1]]
    longer = [*done, {"id": "c", "title": "Send", "completed": False}]
    told = narrate(*(("plan_updated", {"tasks": tasks}) for tasks in (PLAN, PLAN, done, longer)))
    assert told == [
        *grouped("Plan 1: 0 of 2 steps done", "[ ] Look", "[ ] Write"),
        "Plan: 1 of 2 steps done: Look",
        *grouped("Plan 2: 1 of 3 steps done", "[x] Look", "[ ] Write", "[ ] Send"),
    ]


HOSTILE = "a\x1b[31mb\x00\r\n::endgroup::\u2028::group::c\u202e ##[group]d ::gr\x1b[0moup::e"


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("chunk", HOSTILE),
        ("think", HOSTILE),
        ("think", {"payload": {"input": {"title": HOSTILE, HOSTILE: HOSTILE}}}),
        (
            "tool_call_request",
            {"tool_name": HOSTILE, "payload": {HOSTILE: [HOSTILE]}, "reasoning": {"title": HOSTILE}},
        ),
        ("tool_call_result", {"tool_name": HOSTILE, "result": HOSTILE}),
        ("sub_agent_trigger", {"agent_id": HOSTILE, "query": HOSTILE}),
        ("plan_updated", {"tasks": [{"title": HOSTILE}]}),
        (
            "auth_event",
            {"type": "login_required", "data": {"server_name": HOSTILE, "url": "https://x/" + HOSTILE}},
        ),
        ("auth_event", {"type": "token_issue", "data": {"message": HOSTILE}}),
        ("error", {"error": HOSTILE}),
    ],
)
@pytest.mark.parametrize("by", [OWN, HOSTILE])
def test_nothing_that_an_agent_says_breaks_the_log(type_: str, data: Any, by: str) -> None:
    narrator = Narrator(OWN)
    event = StreamEvent(type_, by, data, {"identity": {"name": HOSTILE}})
    told = [line.text for line in [*narrator.feed(event), *narrator.close()]]
    assert told
    for line in told:
        assert line.isprintable()
        inner = line.removeprefix("::group::") if line != "::endgroup::" else ""
        assert "::group::" not in inner
        assert "::endgroup::" not in inner
        assert "##[" not in inner


def test_secrets_are_masked_though_a_stream_cuts_them() -> None:
    secret = "s3cr3t-" + "x" * 30

    def mask(text: str) -> str:
        return text.replace(secret, "***")

    told = narrate(
        ("chunk", f"key: {secret[:9]}"),
        ("chunk", f"{secret[9:]}\n"),
        ("chunk", "y" * 390 + secret + "y" * 390),
        ("think", "z" * 90 + secret),
        ("tool_call_result", {**CALL, "result": "z" * 3990 + secret}),
        (
            "tool_call_request",
            {**CALL, "payload": {"authorization": "abc-credential", "q": "-H 'Bearer abcdefghijklmnop'"}},
        ),
        mask=mask,
    )
    text = "\n".join(told)
    assert "s3cr3t" not in text
    assert "abc-credential" not in text
    assert "abcdefghijklmnop" not in text
    assert "| key: ***" in told


def test_a_long_secret_is_masked_though_it_comes_in_many_pieces() -> None:
    secret = "eyJ" + "abcdefghij" * 90
    pieces = [("chunk", secret[start : start + 7]) for start in range(0, len(secret), 7)]
    told = narrate(
        ("chunk", "x" * 100), *pieces, ("chunk", " done\n"), mask=lambda text: text.replace(secret, "***")
    )
    assert told == ["Answer:", "| " + "x" * 100 + "*** done"]


def test_the_log_of_a_run_is_bounded_and_no_group_is_left_open() -> None:
    events: list[Any] = [("tool_call_result", {**CALL, "result": "words " * 2000})] * 200
    events += [("chunk", "x" * 5_000_000), ("auth_event", {"type": "login_required", "data": LOGIN})]
    events += [("chunk", "more\n")] * 100
    told = narrate(*events)
    assert sum(map(len, told)) <= TOTAL_LIMIT + 1000
    assert len([line for line in told if line.startswith("[What follows is too much")]) == 1
    assert len([line for line in told if line.startswith("::group::")]) == told.count("::endgroup::") > 10
    assert told[-1] == "!Somebody has to log in to Jira at https://jira.example.com/in"


def test_a_huge_text_is_shown_from_its_beginning() -> None:
    told = narrate(("chunk", "line\n" * 1_000_000))
    assert told[:3] == ["Answer:", "| line", "| line"]
    assert sum(map(len, told)) <= TOTAL_LIMIT
