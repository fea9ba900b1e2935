"""The notice of a failure: what an agent is told of it, and the one submit that starts the agent's run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from traceback import walk_tb

from airflow_provider_xpander.api.exchange import Steps, exchange
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.api.retry import ONCE
from airflow_provider_xpander.api.routes import PAGE_SIZE, invoke_async, list_tasks
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.identity import Identity, Mark, fingerprint, mark_of, marked

TITLE = "Airflow notifier: "
"""How the title of a notice begins; with the mark at its end, it tells notices from all other runs."""
MOST_AN_HOUR = PAGE_SIZE
"""Notices an hour that can be asked for at the most: more are not counted by one page of the list."""
HOUR = timedelta(hours=1)
ERRORS = 5
"""Errors of a chain that are told at the most: the last one, and what has led to it."""
ERROR_LIMIT = 1_000
"""Characters of each of their messages."""

Mask = Callable[[str], str]


class NotStarted(Exception):
    """No run is started, for a reason that is none of an error."""


@dataclass(frozen=True)
class Notice:
    """
    What one call of a notifier has to say.

    :param identity: whose notice it is; no other run has the same.
    :param subject: what has failed, in a few words.
    :param facts: what Airflow knows of it, by name.
    """

    identity: Identity
    subject: str
    facts: Mapping[str, str]

    def request(self, request: InvokeRequest, target: Target, mask: Mask) -> InvokeRequest:
        """
        Return the request with the facts behind its text, and with its mark.

        :param request: what the author asks.
        :param target: who is asked.
        :param mask: hides what is known to be secret.
        """
        lines = [f"- {name}: {value}" for name, value in self.facts.items() if value]
        text = mask("\n".join([request.input.text or "", "", "What Airflow knows of it:", *lines]))
        told = request.model_copy(
            update={
                "input": request.input.model_copy(update={"text": text}),
                "title": TITLE + self.subject,
            }
        )
        asked = fingerprint(str(target), told.body())
        return marked(told, self.identity, Mark(self.identity.digest, asked))


def submit_notice(
    request: InvokeRequest, target: Target, digest: str, max_per_hour: int, now: datetime
) -> Steps[Task]:
    """
    Start the run of a notice, unless it was started before, or enough were in the last hour.

    One call of the list tells both, and one submit follows. Neither is repeated.

    :param request: with its mark.
    :param target: who is asked.
    :param digest: of the mark.
    :param max_per_hour: runs that notifiers may start in an hour.
    :param now: the present time, aware.
    :return: the run.
    :raises NotStarted: no run is needed, or allowed.
    :raises XpanderError: the service has refused, or does not answer.
    """
    page = yield from exchange(list_tasks(agent_id=target.id, from_date=now - HOUR), ONCE)
    notices = [task for task in page.items if is_notice(task, now)]
    for task in notices:
        mark = mark_of(task)
        if mark is not None and mark.digest == digest:
            raise NotStarted(f"it was told before, by xpander task {task.id}")
    if len(notices) >= max_per_hour:
        raise NotStarted(too_many(len(notices), max_per_hour))
    return (yield from exchange(invoke_async(target, request), ONCE))


def is_notice(task: Task, now: datetime) -> bool:
    """
    Whether a listed task was started by a notifier in the last hour.

    :param task: the task.
    :param now: the present time, aware.
    """
    created = task.created_at or datetime.now(UTC)
    return (task.title or "").startswith(TITLE) and mark_of(task) is not None and created > now - HOUR


def too_many(number: int, most: int) -> str:
    """
    Return why a notice is not sent.

    :param number: of notices in the last hour.
    :param most: that are allowed.
    """
    return f"there were {number} notices in the last hour, and max_per_hour is {most}"


def errors_of(error: object, mask: Mask) -> str:
    """
    Return an error and what has led to it, one line each.

    :param error: an exception, a text, or None.
    :param mask: hides what is known to be secret; applied before a message is cut.
    """
    if not isinstance(error, BaseException):
        return printable(mask(str(error)), ERROR_LIMIT) if error else ""
    return "\n  caused by ".join(
        f"{type(one).__name__}: {printable(mask(str(one)), ERROR_LIMIT)}{_place(one)}"
        for one in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and len(seen) < ERRORS and all(behind is not one for one in seen):
        seen.append(behind)
        yield behind
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)


def _place(error: BaseException) -> str:
    """Return where an error was raised, without the code that stands there."""
    frames = list(walk_tb(error.__traceback__))
    if not frames:
        return ""
    frame, line = frames[-1]
    code = frame.f_code
    return f" (in {code.co_name}, {PurePath(code.co_filename).name} line {line})"
