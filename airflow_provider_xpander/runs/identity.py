"""
Which Airflow task a remote run belongs to, written into the run itself.

An automatic retry has the same identity, a cleared task another: ``max_tries - retries + 1`` is the number of
the first try since the last clear, and Airflow moves ``max_tries`` when a task is cleared, not when it is
retried. So a run can be found again, or told from an older one, without a store.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from airflow_provider_xpander.api.models import InvokeRequest, Task

TITLE_LIMIT = 200
"""The longest title that is sent, in characters; the service's own limit is unknown."""

_MARKER = re.compile(r"\[airflow ([0-9a-f]{20})(?: ([0-9a-f]{12}))?(?: repair ([1-9]\d?))?\]")
_NOT_ASKED = frozenset({"title", "source", "id", "user_tokens", "user_oidc_token"})
_NAMESPACE = UUID("5e0b0a36-8d5c-5d0e-9c43-4b9c6f6f7a10")


@dataclass(frozen=True)
class Identity:
    """
    One task instance, from one clear to the next.

    :param dag_id: the DAG.
    :param run_id: the DAG run.
    :param task_id: the task, with its groups.
    :param map_index: -1 if the task is not mapped.
    :param first_try: number of the first try since the last clear.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    first_try: int

    @property
    def digest(self) -> str:
        """Twenty hexadecimal digits that stand for the identity."""
        parts = [self.dag_id, self.run_id, self.task_id, self.map_index, self.first_try]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]

    @property
    def label(self) -> str:
        """The task instance for people."""
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} {self.run_id}"

    def client_id(self, try_number: int) -> str:
        """Return the id that the run of this try gets if the client chooses ids (contract C5)."""
        return str(uuid5(_NAMESPACE, f"{self.digest}/{try_number}"))


@dataclass(frozen=True)
class Mark:
    """
    What is written into a run: whose it is, and of what request.

    :param digest: of the identity.
    :param fingerprint: of the request; None if only the identity is known.
    :param turn: which repair turn of the run it is; 0 for the run's first turn.
    """

    digest: str
    fingerprint: str | None = None
    turn: int = 0

    def __str__(self) -> str:
        asked = f" {self.fingerprint}" if self.fingerprint else ""
        return f"[airflow {self.digest}{asked}{f' repair {self.turn}' if self.turn else ''}]"


def fingerprint(target: str, body: Mapping[str, Any]) -> str:
    """
    Return twelve hexadecimal digits that stand for what is asked of whom.

    :param target: the agent or workflow, with its version.
    :param body: the JSON body. Title, source and thread id do not count, and neither do the user's tokens:
        they are fetched anew for each attempt.
    """
    asked = {name: value for name, value in body.items() if name not in _NOT_ASKED}
    canonical = json.dumps([target, asked], sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def mark_title(title: str | None, identity: Identity, mark: Mark) -> str:
    """
    Put the mark at the end of a title, shortening the title where it would get too long.

    :param title: the author's, or None for the task instance's name.
    :param identity: names the task instance.
    :param mark: what to add.
    """
    text = title or identity.label
    room = TITLE_LIMIT - len(str(mark)) - 1
    return f"{text if len(text) <= room else text[: room - 3] + '...'} {mark}"


def read_mark(text: str | None) -> Mark | None:
    """Find the mark in a title or source, the last one if there are several; None if there is none."""
    found = _MARKER.findall(text or "")
    if not found:
        return None
    digest, asked, turn = found[-1]
    return Mark(digest, asked or None, int(turn or 0))


def mark_of(task: Task) -> Mark | None:
    """Return whose run a task is, of what request, and in which repair turn; None if it does not say."""
    return read_mark(task.source) or read_mark(task.title)


def marked(request: InvokeRequest, identity: Identity, mark: Mark, **changes: Any) -> InvokeRequest:
    """
    Return a request whose title and source carry a mark.

    :param request: the author's.
    :param identity: names the task instance.
    :param mark: what to write.
    :param changes: further fields to change.
    """
    title = mark_title(request.title, identity, mark)
    return request.model_copy(update={"title": title, "source": f"airflow {mark}", **changes})
