"""What a run has used: tokens, model and time, for XCom, metrics, lineage and traces alike."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_xpander.api.models import Task, Tokens


@dataclass(frozen=True)
class Usage:
    """
    What the service says that a run has used; None is what it does not say.

    :param input_tokens: tokens that went into the model (the API's ``prompt_tokens``).
    :param output_tokens: tokens that came out of it (``completion_tokens``).
    :param total_tokens: both; cached ones are not among them (contract section 4).
    :param cache_read_tokens: tokens that were read from the model's cache.
    :param cache_write_tokens: tokens that were written to it.
    :param seconds: from the start, or the submit, to the end.
    :param model: the model that was really used.
    :param model_provider: its provider.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    seconds: float | None = None
    model: str | None = None
    model_provider: str | None = None


def usage_of(task: Task) -> Usage:
    """Read the usage of a run."""
    tokens = task.tokens or Tokens()
    return Usage(
        input_tokens=tokens.prompt_tokens,
        output_tokens=tokens.completion_tokens,
        total_tokens=tokens.total_tokens,
        cache_read_tokens=tokens.cache_read_tokens,
        cache_write_tokens=tokens.cache_write_tokens,
        seconds=seconds_of(task),
        model=task.llm_model_name,
        model_provider=task.llm_model_provider,
    )


def seconds_of(task: Task) -> float | None:
    """Return how long a run took, or None while it goes on. ``started_at`` is often null (contract 4)."""
    begun = task.started_at or task.created_at
    if begun is None or task.finished_at is None:
        return None
    return max(0.0, (task.finished_at - begun).total_seconds())
