"""Stories by name: what often goes wrong with agents and their service, each in one word."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.fault import Fault
from airflow_provider_xpander.emulator.run_fault import RunFault
from airflow_provider_xpander.emulator.wrong_json import HowWrong

if TYPE_CHECKING:
    from airflow_provider_xpander.emulator.arrangement import Arrangement


def slow(emulator: Arrangement, agent: str = "*", seconds: float = 3600, times: int | None = None) -> None:
    """
    Runs take long.

    :param emulator: where it happens.
    :param agent: id of the agent, or a pattern of ids.
    :param seconds: so long.
    :param times: how many runs; None is all.
    """
    emulator.add_run_fault(RunFault(agent=agent, seconds=seconds, times=times))


def flaky(emulator: Arrangement, agent: str = "*", times: int = 1) -> None:
    """
    Runs fail at first, then go well.

    :param emulator: where it happens.
    :param agent: id of the agent, or a pattern of ids.
    :param times: how many runs fail.
    """
    reason = "I could not complete the task: a tool did not answer."
    emulator.add_run_fault(RunFault(agent=agent, status=TaskStatus.FAILED, result=reason, times=times))


def paused(
    emulator: Arrangement, agent: str = "*", resume_after: float | None = 60, times: int | None = 1
) -> None:
    """
    A run waits for a person, then goes on.

    :param emulator: where it happens.
    :param agent: id of the agent, or a pattern of ids.
    :param resume_after: seconds until the person has answered; None: until it is resumed.
    :param times: how many runs; None is all.
    """
    fault = RunFault(agent=agent, waits_for="person", resume_after=resume_after, times=times)
    emulator.add_run_fault(fault)


def login_needed(
    emulator: Arrangement, agent: str = "*", resume_after: float | None = None, times: int | None = 1
) -> None:
    """
    A run waits until a person logs in to a connector.

    :param emulator: where it happens.
    :param agent: id of the agent, or a pattern of ids.
    :param resume_after: seconds until the person has logged in; None: until it is resumed.
    :param times: how many runs; None is all.
    """
    fault = RunFault(agent=agent, waits_for="login", resume_after=resume_after, times=times)
    emulator.add_run_fault(fault)


def wrong_json_once(emulator: Arrangement, agent: str = "*", how: HowWrong = "prose", times: int = 1) -> None:
    """
    An answer that should be JSON is wrong; the next turn or run gets it right.

    :param emulator: where it happens.
    :param agent: id of the agent, or a pattern of ids.
    :param how: ``prose``, ``truncated`` or ``values``.
    :param times: how many answers are wrong.
    """
    emulator.add_run_fault(RunFault(agent=agent, wrong_json=how, times=times))


def lost_submit(emulator: Arrangement, agent: str = "*", times: int = 1) -> None:
    """
    A run is started, but the answer to the submit is lost: a gateway says 504.

    :param emulator: where it happens.
    :param agent: id of the agent, or a pattern of ids.
    :param times: how many submits.
    """
    emulator.add_fault(Fault.html(504, method="POST", path=_invokes(agent), act_first=True, times=times))


def outage(emulator: Arrangement, times: int = 5) -> None:
    """
    The service is away: a proxy answers 503 to everything.

    :param emulator: where it happens.
    :param times: how many requests.
    """
    emulator.add_fault(Fault.html(503, path="^/v1/", times=times))


def throttled(emulator: Arrangement, retry_after: float | None = 1, times: int = 1) -> None:
    """
    Too many requests: 429.

    :param emulator: where it happens.
    :param retry_after: seconds that the service asks for; None: it does not say.
    :param times: how many requests.
    """
    emulator.add_fault(Fault.throttled(retry_after=retry_after, path="^/v1/", times=times))


def out_of_credit(emulator: Arrangement, agent: str = "*", times: int | None = None) -> None:
    """
    Submits are refused, because the organisation has no credit left.

    :param emulator: where it happens.
    :param agent: id of the agent, or a pattern of ids.
    :param times: how many submits; None is all.
    """
    emulator.add_fault(Fault.billing(method="POST", path=_invokes(agent), times=times))


def slow_list(emulator: Arrangement, seconds: float = 60) -> None:
    """
    Lists lag behind: new tasks are not there yet, and others show what was.

    :param emulator: where it happens.
    :param seconds: by so much.
    """
    emulator.configure({"list_lag_seconds": seconds, "list_stale_seconds": seconds})


def missing_rows(emulator: Arrangement, rows: int = 1) -> None:
    """
    Answers to packs of rows leave some out.

    :param emulator: where it happens.
    :param rows: how many of each pack.
    """
    emulator.configure({"pack_rows_missing": rows})


STORIES: dict[str, Callable[..., None]] = {
    story.__name__: story
    for story in (
        slow, flaky, paused, login_needed, wrong_json_once, lost_submit, outage, throttled, out_of_credit,
        slow_list, missing_rows,
    )
}  # fmt: skip


def tell(emulator: Arrangement, name: str, options: dict[str, Any]) -> None:
    """
    Let a story happen.

    :param emulator: where it happens.
    :param name: a key of :data:`STORIES`.
    :param options: arguments of the story.
    :raises ValueError: no such story, or not these options.
    """
    if name not in STORIES:
        raise ValueError(f"There is no story {name!r}; there are {', '.join(STORIES)}")
    try:
        STORIES[name](emulator, **options)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _invokes(agent: str) -> str:
    """Return the paths of the invoke routes of an agent as a regular expression."""
    ids = re.escape(agent).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return f"^/v1/(agents|workflows)/{ids}/invoke"
