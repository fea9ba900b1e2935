"""The task instance that has started a run, by the run's mark, and whether it still waits for that run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_xpander._compat_records import Instance
from airflow_provider_xpander.runs.identity import Identity

_OVER = frozenset({None, "success", "failed", "skipped", "upstream_failed", "removed"})
"""States in which a task instance does nothing and will do nothing; one that is cleared has none."""


@dataclass(frozen=True, slots=True)
class Owner:
    """
    The task instance that has started a run.

    :param instance: as it is now.
    :param first_try: number of the first try of that time, which may be before a clear.
    """

    instance: Instance
    first_try: int


class Verdict(StrEnum):
    """Whether somebody waits for a run."""

    WAITED = "waited"
    LEFT = "left"
    """Its task has succeeded without waiting for it: the author did not want to, or another task does."""
    ORPHAN = "orphan"


def identity_of(instance: Instance, first_try: int, deployment: str) -> Identity:
    """
    Return the identity that a task instance had from a try on.

    :param instance: the task instance.
    :param first_try: number of the first try since a clear.
    :param deployment: the name that this installation of Airflow was given.
    """
    run = instance.dag_id, instance.run_id, instance.task_id, instance.map_index
    return Identity(*run, first_try, instance.began, deployment=deployment)


def find_owners(instances: Iterable[Instance], digests: Collection[str], deployment: str) -> dict[str, Owner]:
    """
    Find whose marks these are, where the mark tells that for sure, because a run may be stopped for it.

    A mark that does not tell the start of the DAG run, as that of the release before, could be another
    Airflow's that runs the same DAG.

    :param instances: task instances of this Airflow.
    :param digests: of the marks.
    :param deployment: the name that this installation of Airflow was given.
    :return: the owners by digest; a mark of another Airflow has none.
    """
    found: dict[str, Owner] = {}
    for instance in instances:
        if instance.began is None:
            continue
        for first_try in range(1, max(instance.try_number, 1) + 1):
            digest = identity_of(instance, first_try, deployment).digest
            if digest in digests:
                found[digest] = Owner(instance, first_try)
    return found


def judge(owner: Owner, retries_of: Callable[[Instance], int | None]) -> tuple[Verdict, str]:
    """
    Decide whether the task instance that has started a run still waits for it, and say why.

    :param owner: the task instance.
    :param retries_of: gives the ``retries`` of its task, None if they are not known.
    """
    instance = owner.instance
    if instance.state == "success":
        return Verdict.LEFT, "its task has succeeded and did not wait for it"
    if instance.state in _OVER:
        return Verdict.ORPHAN, f"its task is {instance.state or 'cleared, and not started again'}"
    # Without reattach, each try has an identity of its own.
    if owner.first_try == instance.try_number:
        return Verdict.WAITED, f"its task is {instance.state}"
    retries = retries_of(instance)
    if retries is None:
        return Verdict.WAITED, f"its task is {instance.state}; whether it was cleared is not known"
    first_try = min(max(instance.max_tries - retries + 1, 1), instance.try_number)
    if owner.first_try == first_try:
        return Verdict.WAITED, f"its task is {instance.state}"
    return Verdict.ORPHAN, f"its task was cleared and is {instance.state} in try {instance.try_number}"
