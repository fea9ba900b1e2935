"""A run that tells something of nearly each type of event (contract 6.3), for the agent ``storyteller``."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander.emulator.schedule import Told


def _call(number: int, tool: str, **more: Any) -> dict[str, Any]:
    return {
        "request_id": f"req-{number}",
        "operation_id": f"op-{tool}",
        "tool_call_id": f"call-{number}",
        "tool_name": tool,
        **more,
    }


def _plan(*done: bool) -> dict[str, Any]:
    titles = ("Find similar tickets", "Ask the warehouse", "Write the report")
    tasks = [
        {"id": f"step-{number}", "title": title, "completed": is_done}
        for number, (title, is_done) in enumerate(zip(titles, done, strict=True), start=1)
    ]
    return {"enabled": True, "enforce": True, "started": True, "question_raised": False, "tasks": tasks}


_QUERY = "SELECT status, count(*)\nFROM loads\nWHERE day = '2026-11-21'\nGROUP BY status"
_LOGIN = {"url": "https://login.example.com/connect?state=emulator", "server_name": "Jira"}

STORY: tuple[Told, ...] = (
    Told(
        "think",
        "The loads of last night failed. I look for similar tickets first.\n"
        "If there are some, the cause may be known already; else I ask the warehouse.",
    ),
    Told("plan_updated", _plan(False, False, False)),
    Told(
        "tool_call_request",
        _call(
            1,
            "search_tickets",
            payload={"query": "load failed", "limit": 5, "headers": {"authorization": "Bearer 123456789012"}},
            reasoning={"title": "Look for precedents", "description": "Similar tickets may exist."},
        ),
    ),
    Told(
        "tool_call_result",
        _call(1, "search_tickets", result={"found": 2, "tickets": ["OPS-17", "OPS-23"]}, is_error=False),
    ),
    Told("plan_updated", _plan(True, False, False)),
    Told("auth_event", {"type": "login_required", "data": _LOGIN}),
    Told("auth_event", {"type": "token_ready", "data": _LOGIN}),
    Told("chunk", "Two tickets look "),
    Told("chunk", "alike.\nThe warehouse has to "),
    Told("chunk", "tell more.\n"),
    Told(
        "sub_agent_trigger", {"agent_id": "analyst", "query": "Which loads failed last night?", "files": []}
    ),
    Told("sub_task_created", {"status": "pending"}, by="analyst"),
    Told("tool_call_request", _call(2, "run_sql", payload={"sql": _QUERY}), by="analyst"),
    Told(
        "tool_call_result",
        _call(2, "run_sql", result="relation loads does not exist", is_error=True),
        by="analyst",
    ),
    Told("chunk", "The table is missing: ", by="analyst"),
    Told("chunk", "somebody has dropped it.\n", by="analyst"),
    Told("task_finished", {"status": "completed", "result": "The table loads is missing."}, by="analyst"),
    Told("sub_task_finished", {"status": "completed", "result": "The table loads is missing."}, by="analyst"),
    Told(
        "analyze",
        {
            "request_id": "req-3",
            "operation_id": "op-analyze",
            "tool_name": "analyze",
            "payload": {
                "input": {
                    "title": "The cause is known",
                    "thought": "Both tickets were about a dropped table too.",
                    "confidence": 0.9,
                }
            },
        },
    ),
    Told("context_status", {"estimated_tokens": 61000, "context_window": 200000, "percent": 30.5}),
    Told("task_compactization", {"type": "summarization", "data": {}}),
    Told("plan_updated", _plan(True, True, True)),
    Told("some_event_of_tomorrow", {"nobody": "knows it"}),
    Told("chunk", "The loads failed because the table `loads` "),
    Told("chunk", "was dropped.\nRestore it, then run them again."),
)
