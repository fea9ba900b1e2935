"""Attempts of a bulk task, what they leave below ``result_path``, and what the emulator has seen of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from airflow_side import POLL, Service
from attempts import Attempt, attempt, go

from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.bulk.folder import Folder
from airflow_provider_xpander.bulk.results import ResultFiles
from airflow_provider_xpander.bulk.tables import TableWriter
from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator

SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "enum": ["billing", "bug", "access"]}},
    "required": ["category"],
}


def tickets(count: int) -> list[dict[str, Any]]:
    """Return so many rows."""
    return [{"id": number, "text": f"I was charged twice, ticket {number}"} for number in range(1, count + 1)]


def enrich(folder: Path, *, retries: int = 2, **kwargs: Any) -> XpanderEnrichOperator:
    """Return an operator that asks about ten rows, one a run."""
    defaults = {
        "task_id": "ask",
        "agent_id": "classifier",
        "rows": tickets(10),
        "key": "id",
        "input": "Classify the ticket.",
        "output_schema": SCHEMA,
        "result_path": folder.as_uri(),
        "poll_interval": POLL,
        "deferrable": True,
    }
    return XpanderEnrichOperator(retries=retries, **defaults | kwargs)


def run(task: XpanderEnrichOperator, ti: Attempt | None = None) -> dict[str, Any]:
    """Run a task to its end, and return the manifest."""
    manifest: dict[str, Any] = go(task, ti or attempt(1))
    return manifest


def run_to_deferral(task: XpanderEnrichOperator, ti: Attempt) -> None:
    """Run a task until it defers, and let ``TaskDeferred`` pass."""
    context = ti.context()
    task.render_template_fields(context)
    task.execute(context)


def lines(folder: Path, kind: str = "results") -> list[dict[str, Any]]:
    """Return what the files of results, or of failed rows, hold."""
    files = sorted((folder / kind).glob("part-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def check_once(folder: Path, service: Service, rows: int) -> None:
    """See that each row has exactly one answer, of a run that completed, and that no run goes on."""
    found = lines(folder)
    assert Counter(line["id"] for line in found) == Counter(range(1, rows + 1))
    statuses = {run.task_id: service.status(run.task_id) for run in service.runs()}
    assert {statuses[line["xpander_task_id"]] for line in found} <= {"completed"}
    assert not [task_id for task_id, status in statuses.items() if status in ("pending", "executing")]


def asked(service: Service) -> Counter[int]:
    """Return how many runs were asked about each row, by its number."""
    texts = [run.body["input"]["text"] for run in service.runs()]
    numbers = [word for text in texts for word in text.replace('"', " ").replace("}", " ").split()]
    return Counter(
        int(word) for before, word in zip(numbers, numbers[1:], strict=False) if before == "ticket"
    )


def manifest_of(folder: Path) -> dict[str, Any]:
    """Return the manifest that was written."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


class Killed(BaseException):
    """What stands for the death of a worker: nothing that runs may catch it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bulk"


@dataclass
class Death:
    """
    The death of a worker at one of the moments that matter: when it writes a file, or talks to the service.

    :param at: before which of these moments; that is after all that came before it.
    """

    at: int
    moments: list[str] = field(default_factory=list)
    dead: bool = False

    def wrap(self, what: str, act: Callable[..., Any]) -> Callable[..., Any]:
        """Return something that a dead worker does not do any more."""

        def acting(own: Any, *args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Killed
            self.moments.append(what)
            self.dead = len(self.moments) > self.at
            if self.dead:
                raise Killed
            return act(own, *args, **kwargs)

        return acting


@contextmanager
def dying(at: int) -> Iterator[Death]:
    """Let the worker in the block die at a moment; it is over then, whatever it would do on the way out."""
    death = Death(at)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (Folder, "write"), (ResultFiles, "_write"), (Client, "run"), (TableWriter, "write"),
        ):  # fmt: skip
            patch.setattr(owner, name, death.wrap(f"{owner.__name__}.{name}", getattr(owner, name)))
        with suppress(Killed):
            yield death
