"""A paused run: which pause it is, the question that a person is asked about it, and the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_xpander.api.errors import printable
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.task_errors import ADDRESS_LIMIT, pause_reason

KEEP_WAITING = "Keep waiting"
STOP = "Stop the run"
OPTIONS = (KEEP_WAITING, STOP)
SUBJECT = "The xpander.ai run is paused: keep waiting for it?"
"""Short and of no pause in particular: the list of required actions cuts it, and Airflow keeps the first."""
WENT_ON = "The run went on by itself"
"""What a question is closed with that nobody has to answer any more."""

_CHOICE = (
    f"**{KEEP_WAITING}** waits until the run goes on: do first what it waits for. **{STOP}** ends the run "
    "and fails the task, without a retry. When the run goes on by itself, so does the task, and nothing has "
    "to be answered."
)
_LATER = "If the run pauses once more, Airflow keeps this text; the log of the task has the new reason."

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~-])")
_WEB_ADDRESS = re.compile(r"https?://[!-;=?-~]+")


def pause_of(task: Task) -> str | None:
    """
    Return what tells one pause of a run from the next: when it began, as far as the service says.

    :return: None if the run is not paused.
    """
    if task.status is not TaskStatus.PAUSED:
        return None
    return task.paused_at.isoformat() if task.paused_at else "paused"


@dataclass(frozen=True)
class Question:
    """
    What a person is asked.

    :param subject: one line.
    :param body: the details, in Markdown.
    """

    subject: str
    body: str


def question_about(task: Task, link: str) -> Question:
    """
    Word the question about a paused run.

    The reason comes from the service, which is not trusted with Airflow's UI: it is shown as text, and only a
    web address becomes a link.

    :param task: the paused run.
    :param link: where a person finds it.
    """
    login = task.pending_eca_request.auth_url if task.pending_eca_request else None
    # Not with its address, which has a line of its own.
    reason = pause_reason(task).partition(f" at {printable(login, ADDRESS_LIMIT)}")[0] if login else None
    lines = [
        f"The run is paused: {as_text(reason or pause_reason(task))}.",
        "",
        f"- Run: {as_text(task.id)}",
        f"- Console: {as_link(link)}",
    ]
    if login:
        lines.append(f"- Log-in: {as_link(login)}")
    lines += ["", _CHOICE, "", _LATER]
    return Question(SUBJECT, "\n".join(lines))


def as_text(value: object) -> str:
    """Return a text of the service's as one line of Markdown that means nothing but itself."""
    return _MARKDOWN.sub(r"\\\1", printable(value, ADDRESS_LIMIT))


def as_link(address: str) -> str:
    """Return an address as a link in Markdown, or as mere text if it is none that a browser should open."""
    return f"<{address}>" if _WEB_ADDRESS.fullmatch(address) else as_text(address)


@dataclass(frozen=True)
class Answer:
    """
    What a person has chosen.

    :param stop: whether the run is to be stopped.
    :param by: name of the person, or None if Airflow does not say.
    """

    stop: bool
    by: str | None = None


def answer_of(payload: Any) -> Answer | None:
    """
    Read the answer out of an event of Airflow's.

    :param payload: the event; one of the trigger's, which says something else, has no answer.
    :return: None if nobody has chosen one of the options.
    """
    if not isinstance(payload, Mapping):
        return None
    chosen = payload.get("chosen_options") or ()
    if not set(OPTIONS).intersection(chosen):
        return None
    by = payload.get("responded_by_user")
    name = by.get("name") if isinstance(by, Mapping) else None
    return Answer(STOP in chosen, printable(name, 100) if name else None)
