"""
The identity of an Airflow task instance, and its mark: what is written into a remote run to find it again.

An automatic retry has the same identity, a cleared task another: ``max_tries - retries + 1`` is the number of
the first try since the last clear, and Airflow moves ``max_tries`` when a task is cleared, not when it is
retried. So a run can be found again, or told from an older one, without a store.

The start of the DAG run tells installations of Airflow apart that run the same DAG for the same date, and a
DAG run from one of the same name that was deleted. Airflow has it in the context of every attempt, to the
microsecond in each of its databases. It stays over retries. A clear resets it only for DAG runs that had
ended, and their cleared tasks have a new first try anyway.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from airflow_provider_xpander.api.models import InvokeRequest, Task
from airflow_provider_xpander.api.text import CREDENTIAL

TITLE_LIMIT = 200
"""The longest title that is sent, in characters; the service's own limit is unknown."""

_MARKER = re.compile(
    r"\[airflow ([0-9a-f]{20})(?: ([0-9a-f]{12}))?(?: pack ([1-9]\d*))?(?: repair ([1-9]\d?))?\]"
)
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
    :param began: the start of the DAG run. None where Airflow tells none, as in ``airflow tasks test``: then
        installations and deleted DAG runs are told apart by ``deployment`` only.
    :param region: the loop of tasks and its iteration (Airflow 3.4), empty outside of loops.
    :param deployment: the name that this installation of Airflow was given, empty if none.
    :param pack: which pack of rows a run is asked about, where one task starts many runs; 0 for its only run.
        It is no part of the digest, so that all runs of a task instance are found at once.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    first_try: int
    began: datetime | None = None
    region: str = ""
    deployment: str = ""
    pack: int = 0

    @property
    def digest(self) -> str:
        """Twenty hexadecimal digits that stand for the identity."""
        run = [self.deployment, self.dag_id, self.run_id, _moment(self.began)]
        return _digest([2, *run, self.task_id, self.map_index, self.region, self.first_try])

    @property
    def place(self) -> str:
        """As :attr:`digest`, but for any start of the DAG run: for what Airflow keeps with the DAG run."""
        return replace(self, began=None).digest

    @property
    def old_digest(self) -> str | None:
        """
        The digest by version 1, of releases before the start of the DAG run counted.

        It is None where it could be another's: in loops, whose iterations shared it, and where a deployment
        has a name, because then there are others.
        """
        if self.region or self.deployment:
            return None
        return _digest([self.dag_id, self.run_id, self.task_id, self.map_index, self.first_try])

    @property
    def digests(self) -> frozenset[str]:
        """All digests that a run of this identity can carry."""
        return frozenset(filter(None, (self.digest, self.old_digest)))

    @property
    def earlier(self) -> list[Identity]:
        """The identities that the task instance can have had before it was cleared."""
        return [replace(self, first_try=number) for number in range(1, self.first_try)]

    @property
    def digests_ever(self) -> frozenset[str]:
        """All digests that a run of the task instance can carry, from before clears too."""
        return self.digests.union(*(one.digests for one in self.earlier))

    @property
    def label(self) -> str:
        """The task instance for people."""
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} {self.run_id}"

    def client_id(self, try_number: int) -> str:
        """
        Return the id that a run gets if the client chooses ids (contract C5).

        :param try_number: Airflow's number of the try that starts the run.
        """
        pack = f"/{self.pack}" if self.pack else ""
        return str(uuid5(_NAMESPACE, f"{self.digest}/{try_number}{pack}"))


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def _moment(moment: datetime | None) -> str | None:
    """Return a moment as one text, in whatever time zone it came."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Mark:
    """
    What is written into a run: whose it is, and of what request.

    :param digest: of the identity.
    :param fingerprint: of the request; None if only the identity is known.
    :param turn: which repair turn of the run it is; 0 for the run's first turn.
    :param pack: which pack of rows the run is asked about; 0 where the task has one run only.
    """

    digest: str
    fingerprint: str | None = None
    turn: int = 0
    pack: int = 0

    def __str__(self) -> str:
        asked = f" {self.fingerprint}" if self.fingerprint else ""
        pack = f" pack {self.pack}" if self.pack else ""
        return f"[airflow {self.digest}{asked}{pack}{f' repair {self.turn}' if self.turn else ''}]"


def fingerprint(target: str, body: Mapping[str, Any]) -> str:
    """
    Return twelve hexadecimal digits that stand for what is asked of whom.

    :param target: the agent or workflow, with its version.
    :param body: the JSON body. Title, source and thread id do not count, and neither do the user's tokens
        and the credentials of MCP servers: they are fetched anew for each attempt.
    """
    asked = {name: value for name, value in body.items() if name not in _NOT_ASKED}
    if "mcp_servers" in asked:
        asked["mcp_servers"] = _without_credentials(asked["mcp_servers"])
    canonical = json.dumps([target, asked], sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _without_credentials(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _without_credentials(item) for name, item in value.items() if not _is_credential(name, item)
        }
    if isinstance(value, list | tuple):
        return [_without_credentials(item) for item in value]
    return plain_url(value) if isinstance(value, str) and "://" in value else value


def _is_credential(name: Any, value: Any) -> bool:
    # Numbers count: {"max_tokens": 12} is a setting.
    return not isinstance(value, int | float) and bool(CREDENTIAL.search(str(name)))


def plain_url(url: str) -> str:
    """
    Return a URL without a user before its host and without credentials in its query.

    :param url: the URL.
    """
    place, _, query = url.partition("?")
    kept = "&".join(pair for pair in query.split("&") if not CREDENTIAL.search(pair.partition("=")[0]))
    return re.sub("://[^/@]*@", "://", place) + (f"?{kept}" if kept else "")


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
    """
    Find the mark in a title or source, the last one if there are several.

    :param text: the title or source.
    :return: the mark, or None if there is none.
    """
    found = _MARKER.findall(text or "")
    if not found:
        return None
    digest, asked, pack, turn = found[-1]
    return Mark(digest, asked or None, int(turn or 0), int(pack or 0))


def mark_of(task: Task) -> Mark | None:
    """
    Return whose run a task is, of what request, and in which repair turn.

    :param task: the run.
    :return: its mark, or None if it has none.
    """
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
