"""The question that a person is asked about a paused run (``on_paused="ask"``), and what was chosen."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.text import printable, sentence
from airflow_provider_xpander.runs.task_errors import ADDRESS_LIMIT, pause_reason

KEEP_WAITING = "Keep waiting"
STOP = "Stop the run"
OPTIONS = (KEEP_WAITING, STOP)
WENT_ON = "The run went on by itself"
"""The text with which a question is closed that nobody has to answer any more."""

_CHOICE = (
    f"**{KEEP_WAITING}** waits until the run goes on: do first what it waits for. **{STOP}** ends the run "
    "and fails the task, without a retry. When the run goes on by itself, so does the task, and nothing has "
    "to be answered."
)
_LATER = "If the run pauses once more, Airflow keeps this text; the log of the task has the new reason."

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~-])")
_WEB_ADDRESS = re.compile(r"https?://[!-;=?-~]+")


@dataclass(frozen=True)
class Question:
    """
    A question as Airflow shows it.

    :param subject: one line. Airflow keeps that of a task's first question, and its list cuts a long one.
    :param body: the details, in Markdown.
    """

    subject: str
    body: str


def question_about(task: Task, link: str) -> Question:
    """
    Return the question about a paused run.

    The reason comes from the service and is not trusted: it is shown as plain text, and only a web address
    becomes a link.

    :param task: the paused run.
    :param link: where a person finds it.
    """
    login = task.pending_eca_request.auth_url if task.pending_eca_request else None
    reason = pause_reason(task)
    if login:  # which has a line of its own
        reason = reason.partition(f" at {printable(login, ADDRESS_LIMIT)}")[0]
    who = f"Agent {printable(task.agent_id, 100)}" if task.agent_id else "The run"
    lines = [
        sentence(f"The run is paused: {as_text(reason)}"),
        "",
        f"- Run: {as_text(task.id)}",
        f"- Console: {as_link(link)}",
    ]
    if login:
        lines.append(f"- Log-in: {as_link(login)}")
    lines += ["", _CHOICE, "", _LATER]
    return Question(sentence(f"{who} is paused: {reason}") + " Keep waiting?", "\n".join(lines))


def as_text(value: object) -> str:
    """
    Return a text as one line of Markdown that shows just this text.

    :param value: what the service gave.
    """
    return _MARKDOWN.sub(r"\\\1", printable(value, ADDRESS_LIMIT))


def as_link(address: str) -> str:
    """
    Return an address as a link in Markdown, or as plain text if a browser should not open it.

    :param address: what the service gave.
    """
    return f"<{address}>" if _WEB_ADDRESS.fullmatch(address) else as_text(address)
