"""The manifest of a bulk task, which is its answer in XCom: counts and places, never rows or answers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_xpander.bulk.ledger import MANIFEST
from airflow_provider_xpander.bulk.state import State
from airflow_provider_xpander.runs.xcom_safe import xcom_safe

VERSION = 1
REQUESTS = 2.1
"""Requests that a run takes: its submit, the reading of its answer, and its share of the lists."""


def manifest_of(state: State, url: str, preview: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Return the manifest.

    :param state: of the task at its end.
    :param url: of the ``result_path``, with a ``/`` at its end.
    :param preview: what the whole would cost, if only some rows were asked about.
    """
    spent = state.spent
    return {
        "schema_version": VERSION,
        "counts": {
            "rows": state.rows,
            "answered": state.answered,
            "cached": state.cached,
            "failed": state.failed,
            "skipped": state.skipped,
        },
        "runs": {"started": spent.started, "completed": spent.completed, "repeats": spent.repeats},
        "tokens": {
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "total_tokens": spent.total_tokens,
        },
        "urls": {"results": f"{url}results/", "failed": f"{url}failed/", "manifest": f"{url}{MANIFEST}"},
        "failures": [xcom_safe(dict(failure)) for failure in state.sample],
        "preview": None if preview is None else dict(preview),
    }


def estimate(state: State, *, max_in_flight: int, requests_per_hour: int) -> dict[str, Any]:
    """
    Return what it would cost to ask about all rows, as those of the preview have cost.

    :param state: of the task at the end of the preview.
    :param max_in_flight: runs that are under way at a time.
    :param requests_per_hour: the limit of the service; 0 for none.
    """
    asked = max(1, state.settled)
    runs = math.ceil(state.spent.started * state.rows / asked)
    requests = math.ceil(runs * REQUESTS)
    each = state.spent.seconds / state.spent.started if state.spent.started else 0.0
    seconds = runs * each / max_in_flight
    if requests_per_hour:
        seconds = max(seconds, (requests - requests_per_hour) * 3600 / requests_per_hour)
    return {
        "rows": state.settled,
        "runs": runs,
        "requests": requests,
        "tokens": math.ceil(state.spent.total_tokens * state.rows / asked),
        "seconds": math.ceil(seconds),
    }


def too_many_failed(state: State, max_failed: float) -> str | None:
    """
    Return why a task fails because of its failed rows, or None if they are few enough.

    :param state: of the task at its end.
    :param max_failed: how many may fail: a number, or a fraction of the rows that were asked about.
    """
    asked = state.answered + state.cached + state.failed
    allowed = max_failed * asked if isinstance(max_failed, float) else max_failed
    if state.failed <= allowed:
        return None
    failed = f"{state.failed} of {asked} rows failed{first_reason(state)}"
    return f"{failed}, more than max_failed={max_failed} allows"


def first_reason(state: State) -> str:
    """
    Return why the first of the failed rows failed, in brackets behind a blank; empty if none is known.

    :param state: of the task.
    """
    reason = state.sample[0].get("reason") if state.sample else None
    # A log viewer cuts long lines, and the id is in the failed row.
    told = re.sub(r"^xpander task \S+ ", "", str(reason).rstrip(". "))
    return f" (the first: {told})" if reason else ""
