"""What an operator's arguments may be, checked when the DAG is parsed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_xpander._compat import AIRFLOW_VERSION, HAS_HUMAN_IN_THE_LOOP, XComArg
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.models import parse_request
from airflow_provider_xpander.runs.adopt import Reattach
from airflow_provider_xpander.runs.watch import OnPaused

MODES = ("async", "sync", "stream")
ON_TIMEOUT = ("stop", "leave")
ON_KILL = ("stop", "leave")
ON_PAUSED = ("wait", "fail", "ask")
ON_STOPPED = ("fail", "skip")


def check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """
    Return a value that is one of the allowed ones.

    :raises XpanderValidationError: it is not; names the parameter, the value and what is allowed.
    """
    if value not in allowed:
        raise XpanderValidationError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_on_paused(value: Any) -> OnPaused:
    """
    Return a value for ``on_paused``.

    :raises XpanderValidationError: it is none, or this Airflow cannot ask anybody.
    """
    checked: OnPaused = check_choice("on_paused", value, ON_PAUSED)
    if checked == "ask" and not HAS_HUMAN_IN_THE_LOOP:
        raise XpanderValidationError(
            f"on_paused='ask' needs Airflow 3.1 or newer, which can ask a person; this is {AIRFLOW_VERSION}, "
            "where on_paused must be one of 'wait', 'fail'"
        )
    return checked


def check_reattach(value: Any) -> Reattach:
    """
    Return a value for ``reattach``.

    :raises XpanderValidationError: it is neither True, False nor ``"same_request"``.
    """
    if value is True or value is False or value == "same_request":
        return value  # type: ignore[no-any-return]
    raise XpanderValidationError(f"reattach must be True, False or 'same_request', got {value!r}")


def check_seconds(name: str, value: Any) -> float:
    """
    Return a duration in seconds.

    :param name: the parameter.
    :param value: a number of seconds or a timedelta.
    :raises XpanderValidationError: it is none, or not greater than 0.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise XpanderValidationError(
            f"{name} must be a number of seconds (or a timedelta) greater than 0, got {value!r}"
        )
    return float(seconds)


def check_fields(fields: Mapping[str, Any]) -> None:
    """
    Check the fields of a request as far as they are known before templates are rendered.

    :param fields: as for :class:`~airflow_provider_xpander.api.models.InvokeRequest`.
    :raises XpanderValidationError: names each wrong field, its value and what is allowed.
    """
    given = {name: value for name, value in fields["input"].items() if value is not None}
    known: dict[str, Any] = {name: value for name, value in fields.items() if is_literal(value)}
    known["input"] = {name: value for name, value in given.items() if is_literal(value)}
    unrendered = [name for name in ("text", "files") if name in given and name not in known["input"]]
    if unrendered and not known["input"].get("text"):
        known["input"]["text"] = "not rendered yet"
    parse_request(known)


def is_literal(value: Any) -> bool:
    """Whether a value is what it will be when the task runs: neither a template nor another task's output."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(is_literal(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(is_literal(item) for item in value)
    return value is None or isinstance(value, bool | int | float)


def check_id(name: str, value: Any) -> None:
    """
    Refuse an empty id; another task's output is let pass until it is known.

    :raises XpanderValidationError: names the parameter and the value.
    """
    if value is None or (isinstance(value, str) and (not value.strip() or value.strip() == "None")):
        raise XpanderValidationError(f"{name} must be a non-empty text, got {value!r}")


def check_secret(name: str, value: Any) -> None:
    """
    Refuse a secret that is another task's output: it would be in XCom for everybody to read.

    :raises XpanderValidationError: names the parameter and says where a secret belongs.
    """
    parts = list(value.values()) if isinstance(value, Mapping) else value
    if isinstance(value, XComArg):
        raise XpanderValidationError(
            f"{name} must not be another task's output, because XCom keeps no secret; "
            f"use a template such as {{{{ conn.my_connection.password }}}}"
        )
    if isinstance(parts, list | tuple):
        for part in parts:
            check_secret(name, part)
