"""The agents and workflows of the emulator: what each of them does with a text, one pure function each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.classify import classify
from airflow_provider_xpander.emulator.conform import DEFAULT_SCHEMA, conform
from airflow_provider_xpander.emulator.schedule import Behaviour, Told
from airflow_provider_xpander.emulator.story import STORY
from airflow_provider_xpander.emulator.wrong_json import HowWrong, wrong_json


@dataclass(frozen=True)
class Prompt:
    """
    What an agent is asked.

    :param text: what the user wrote.
    :param wants_json: whether the answer is to be JSON.
    :param schema: the JSON Schema of the answer, if there is one.
    :param earlier: the texts of the thread's earlier turns, oldest first.
    :param target_id: id of the agent or workflow.
    :param body: the request as the service read it, with every field.
    """

    text: str
    wants_json: bool = False
    schema: Mapping[str, Any] | None = None
    earlier: tuple[str, ...] = ()
    target_id: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, body: Mapping[str, Any], earlier: Iterable[str] = (), target_id: str = "") -> Prompt:
        """
        Read the prompt out of the body of an invoke request.

        :param body: the body, with every field.
        :param earlier: the texts of the thread's earlier turns, oldest first.
        :param target_id: id of the agent or workflow.
        """
        asked = body.get("input") or {}
        schema = body.get("output_schema")
        return cls(
            text=asked.get("text") or " ".join(asked.get("files") or ()),
            wants_json=body.get("output_format") == "json" or bool(schema),
            schema=schema or None,
            earlier=tuple(earlier),
            target_id=target_id,
            body=body,
        )


def echo(prompt: Prompt) -> Behaviour:
    """
    Answer the text itself, so that the caller decides what comes back.

    :param prompt: what the agent is asked.
    """
    if not prompt.wants_json:
        return Behaviour(prompt.text)
    try:
        json.loads(prompt.text)
    except ValueError:
        return Behaviour(conform(prompt.text, prompt.schema) if prompt.schema else {"text": prompt.text})
    return Behaviour(prompt.text)


def classifier(prompt: Prompt) -> Behaviour:
    """
    Classify a support ticket: by the schema if there is one, in a sentence if text is asked for.

    :param prompt: what the agent is asked.
    """
    if prompt.wants_json:
        return Behaviour(conform(prompt.text, prompt.schema or DEFAULT_SCHEMA))
    ticket = classify(prompt.text)
    return Behaviour(
        f"This is a {ticket.category} ticket of {ticket.priority} priority, "
        f"written in a {ticket.sentiment} tone: {ticket.summary}"
    )


def slow(prompt: Prompt) -> Behaviour:
    """
    Take the seconds that the text gives (``take 7``), 5 by default.

    :param prompt: what the agent is asked.
    """
    seconds = _seconds(prompt.text, default=5.0)
    return Behaviour(f"Done after {seconds:g} seconds.", seconds=seconds)


def failing(prompt: Prompt) -> Behaviour:
    """
    End ``failed``, or as the text says: ``error`` with a message, or ``stopped`` by the system.

    :param prompt: what the agent is asked.
    """
    asked = prompt.text.casefold()
    if "error" in asked:
        return Behaviour("ToolCallError: the warehouse did not answer within 30 s", TaskStatus.ERROR)
    if "stopped" in asked:
        return Behaviour(None, TaskStatus.STOPPED)
    return Behaviour("I could not complete the task: a required tool is missing.", TaskStatus.FAILED)


def paused(prompt: Prompt) -> Behaviour:
    """
    Pause until somebody resumes the run.

    The text may choose what it waits for: ``login`` for a connector login, ``schedule`` (``schedule 3``) for
    a run that resumes by itself after so many seconds (2 by default), else a person (contract 4.2).

    :param prompt: what the agent is asked.
    """
    asked = prompt.text.casefold()
    answer = f"Resumed and completed: {prompt.text}"
    if "login" in asked or "connector" in asked:
        login = {
            "connector_name": "Salesforce",
            "auth_url": "https://login.example.com/connect?state=emulator",
        }
        return Behaviour(answer, pause={"pending_eca_request": login})
    if "schedule" in asked:
        return Behaviour(answer, pause={}, resume_after=_seconds(prompt.text, default=2.0))
    return Behaviour(answer, pause={"hitl_request": {"wait_node_id": "wait-1"}})


def not_json(prompt: Prompt) -> Behaviour:
    """
    Answer prose although JSON was asked for, as the service does when its repair fails (contract 4.1).

    :param prompt: what the agent is asked.
    """
    return Behaviour(
        f"Sure! Here is what I found: {prompt.text[:200] or 'nothing'}. Let me know if you need more."
    )


def storyteller(prompt: Prompt) -> Behaviour:
    """
    Tell a story on the stream: the events that the text gives as a JSON list, else one with everything in it.

    Each event has ``type``, ``data`` and, if it is that of a sub-agent, its name as ``by``. The answer is
    the text of the own ``chunk`` events.

    :param prompt: what the agent is asked.
    """
    try:
        story = tuple(Told(**event) for event in json.loads(prompt.text))
    except (ValueError, TypeError):
        story = STORY
    text = "".join(str(told.data) for told in story if told.type == "chunk" and not told.by)
    return Behaviour(text or f"Told {len(story)} events.", story=story)


def sloppy(prompt: Prompt) -> Behaviour:
    """
    Answer JSON that is wrong, once, or as often as the text says (``wrong 2``); further turns get it right.

    The text may choose how it is wrong: ``prose``, ``truncated``, else values that the schema does not have.

    :param prompt: what the agent is asked.
    """
    text = prompt.earlier[0] if prompt.earlier else prompt.text
    wrong = re.search(r"wrong (\d+)", text)
    right = conform(text, prompt.schema or DEFAULT_SCHEMA)
    if len(prompt.earlier) >= int(wrong[1] if wrong else 1):
        return Behaviour(right)
    how: HowWrong = "prose" if "prose" in text else "truncated" if "truncated" in text else "values"
    return Behaviour(wrong_json(right, how))


def triage(prompt: Prompt) -> Behaviour:
    """
    Classify a ticket, then say where it goes.

    :param prompt: what the agent is asked.
    """
    ticket = classify(prompt.text)
    route = f"Send it to the {ticket.category} team"
    if ticket.priority in ("high", "urgent"):
        route += " and page whoever is on call"
    answer = {"route": f"{route}.", "category": ticket.category, "priority": ticket.priority}
    return Behaviour(answer, nodes=("start", "classify", "route"))


def broken(prompt: Prompt) -> Behaviour:
    """
    Fail at the second node.

    :param prompt: what the agent is asked.
    """
    return Behaviour("Node 'enrich' failed: no such table", TaskStatus.FAILED, nodes=("start", "enrich"))


def echo_flow(prompt: Prompt) -> Behaviour:
    """
    Run the echo agent as the only node of a workflow.

    :param prompt: what the agent is asked.
    """
    return Behaviour(echo(prompt).result, nodes=("start", "echo"))


Agent = Callable[[Prompt], Behaviour]
AGENTS: dict[str, Agent] = {
    "echo": echo,
    "classifier": classifier,
    "slow": slow,
    "failing": failing,
    "paused": paused,
    "not-json": not_json,
    "sloppy": sloppy,
    "storyteller": storyteller,
}
WORKFLOWS: dict[str, Agent] = {"triage": triage, "broken": broken, "echo-flow": echo_flow}
# Every node of the canvas; a run of ``broken`` does not reach the last one.
NODES: dict[str, tuple[str, ...]] = {
    "triage": ("start", "classify", "route"),
    "broken": ("start", "enrich", "report"),
    "echo-flow": ("start", "echo"),
}


def _seconds(text: str, default: float) -> float:
    found = re.search(r"\d+(?:\.\d+)?", text)
    return float(found.group()) if found else default
