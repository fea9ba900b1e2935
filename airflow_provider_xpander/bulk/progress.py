"""The line about the progress of a bulk task, the same from worker and triggerer: numbers, no content."""

from __future__ import annotations

from airflow_provider_xpander.bulk.state import State

INTERVAL = 300.0
"""Seconds between two lines while nothing else is told."""


def progress(state: State, now: float, ended: int = 0) -> str:
    """
    Return the line.

    :param state: of the task.
    :param now: Unix seconds.
    :param ended: runs in flight that have ended since, whose answers are not read yet.
    """
    done = state.answered + state.failed
    parts = [
        f"{state.settled:,} of {state.limit:,} rows",
        f"{state.answered:,} answered, {state.cached:,} cached, {state.failed:,} failed",
        f"{len(state.flight) - ended:,} runs in flight" + (f", {ended:,} ended" if ended else ""),
        f"{state.spent.started:,} runs started, {state.spent.repeats:,} of them repeats",
        f"{state.spent.total_tokens:,} tokens",
    ]
    hours = (now - state.began) / 3600
    if done and hours > 0:
        rate = done / hours
        left = (state.limit - state.settled) / rate * 60
        parts.append(f"{rate:,.0f} rows an hour")
        if left > 0:
            parts.append(f"about {_minutes(left)} left")
    return "; ".join(parts)


def _minutes(minutes: float) -> str:
    if minutes < 1.5:
        return "1 min"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
