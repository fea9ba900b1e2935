"""The decision of a person who was asked in Airflow, as Airflow hands it on to the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.question import WENT_ON


@dataclass(frozen=True)
class Decision:
    """
    What a person has decided.

    :param options: what was chosen.
    :param by: name of the person, or None if Airflow does not say.
    :param at: when, as ISO 8601, or None if Airflow does not say.
    :param inputs: what was written into the fields of the form.
    """

    options: tuple[str, ...]
    by: str | None = None
    at: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)


def decision_of(payload: Any) -> Decision | None:
    """
    Read a decision out of an event with which Airflow resumes a task.

    :param payload: the event, of Airflow itself or of our own trigger.
    :return: None if it is another event.
    """
    if not isinstance(payload, Mapping):
        return None
    options = tuple(option for option in map(str, payload.get("chosen_options") or ()) if option != WENT_ON)
    if not options:
        return None
    by, at = payload.get("responded_by_user"), payload.get("responded_at")
    name = by.get("name") if isinstance(by, Mapping) else None
    return Decision(
        options,
        printable(name, 100) if name else None,
        at.isoformat() if isinstance(at, datetime) else printable(at, 50) if at else None,
        payload.get("params_input") or {},
    )
