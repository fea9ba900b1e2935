"""Having an invalid answer repaired: whether, by which words, and how the turn that does it is recognised."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.identity import Identity, mark_of
from airflow_provider_xpander.runs.watch import end_of


class Repair(StrEnum):
    """What to do about an invalid answer."""

    NOW = "now"
    """Ask for another in the same thread."""
    LATER = "later"
    """Fail in a way that Airflow tries again: the next attempt takes the run over and asks."""
    NEVER = "never"
    """Fail for good."""


def decide_repair(
    *, turns: int, attempts: int, now: float, deadline: float | None, possible: bool, retried: bool
) -> Repair:
    """
    Decide what becomes of an invalid answer that is to be repaired.

    :param turns: repair turns that the run has had.
    :param attempts: how many it may have.
    :param now: Unix seconds.
    :param deadline: Unix seconds at which the wait for the run ends, or None.
    :param possible: whether this process can wait for a turn; not where Airflow has ended the wait.
    :param retried: whether an attempt follows that takes the run over.
    """
    if turns >= attempts:
        return Repair.NEVER
    if possible and (deadline is None or now < deadline):
        return Repair.NOW
    return Repair.LATER if retried else Repair.NEVER


def repair_text(problems: Sequence[str]) -> str:
    """
    Return what the agent is told.

    :param problems: what is wrong with its answer.
    """
    found = "\n".join(f"- {problem}" for problem in problems)
    return (
        f"Your last answer could not be used, because it is not the JSON that was asked for:\n{found}\n"
        f"Do not do the task again, and change nothing else. Answer only with the corrected JSON, complete, "
        f"with no text and no code fence around it."
    )


def is_after(task: Task, moment: float) -> bool:
    """
    Whether a thread has gone on since its turn that ended at a moment (Unix seconds).

    :param task: of the thread.
    :param moment: Unix seconds.
    """
    ended = end_of(task)
    return not task.status.is_terminal or (ended is not None and ended > moment)


def is_same_owner(task: Task, identity: Identity, before: Task) -> bool:
    """
    Whether the turn that a thread shows is of the same Airflow task as one before it.

    :param task: the thread as it is.
    :param identity: whose task it was.
    :param before: the thread as it was; where the service has rewritten its mark, none is expected now.
    """
    mark = mark_of(task)
    return mark_of(before) is None if mark is None else mark.digest in identity.digests
