"""Airflow's REST API as tests and the demo use it, the same for 2.11 (`/api/v1`) and 3.x (`/api/v2`)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

from dev.waiting import wait_for

RUN_ENDS = frozenset({"success", "failed"})
TASK_ENDS = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class AirflowApiError(Exception):
    """Airflow refused a request; the message holds its answer."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


@dataclass(frozen=True)
class TaskInstance:
    """One task instance as Airflow reports it; ``map_index`` is -1 for a task that is not mapped."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    rendered_fields: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False)


class AirflowClient:
    """
    Client of one local Airflow. Every wait has a limit in seconds and says what it has seen when it gives up.

    :param url: base URL of the api-server or webserver
    :param major: major version of Airflow
    """

    def __init__(self, url: str, *, major: int) -> None:
        self.url = url
        self._major = major
        self._api = f"{url}/api/v{1 if major == 2 else 2}"
        self._session = requests.Session()
        # No proxy, no ~/.netrc: this only ever talks to 127.0.0.1.
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # What happens

    def health(self) -> dict[str, str | None]:
        """Return the state of each component that reports one; empty while nothing answers."""
        try:
            answer = self._session.get(
                f"{self.url}/health" if self._major == 2 else f"{self._api}/monitor/health", timeout=10
            )
            return {name: part["status"] for name, part in answer.json().items()}
        except (requests.RequestException, ValueError):
            return {}

    def unpause(self, dag_id: str, *, limit: float = 60) -> None:
        """Unpause a DAG, as soon as Airflow knows it."""
        wait_for(
            lambda: self._exists(f"/dags/{quote(dag_id)}"),
            limit=limit,
            what=f"DAG {dag_id}",
            explain=lambda: f"import errors: {self.import_errors()}",
        )
        self.pause(dag_id, paused=False)

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        """Pause a DAG that Airflow knows, or unpause it."""
        self._call("PATCH", f"/dags/{quote(dag_id)}", json={"is_paused": paused})

    def import_errors(self) -> dict[str, str]:
        """Return the stack trace of each DAG file that could not be imported."""
        found = self._call("GET", "/importErrors").json()["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in found}

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Unpause a DAG, start a run of it, and return the run id."""
        self.unpause(dag_id)
        body: dict[str, Any] = {"conf": dict(conf or {})}
        if self._major > 2:
            body["logical_date"] = None
        run_id: str = self._call("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body).json()["dag_run_id"]
        return run_id

    def runs(self, dag_id: str) -> list[str]:
        """Return the ids of the DAG's runs, scheduled ones included, newest first."""
        found = self._call("GET", f"/dags/{quote(dag_id)}/dagRuns", params={"order_by": "-start_date"}).json()
        return [run["dag_run_id"] for run in found["dag_runs"]]

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a DAG run."""
        state: str = self._call("GET", _run(dag_id, run_id)).json()["state"]
        return state

    def wait_for_run(self, dag_id: str, run_id: str, *, limit: float = 120) -> str:
        """Wait until a DAG run has ended and return its state, ``success`` or ``failed``."""
        return wait_for(
            lambda: self._state_if(self.run_state(dag_id, run_id), RUN_ENDS),
            limit=limit,
            what=f"the end of {dag_id} {run_id}",
            interval=1,
            explain=lambda: self._explain(dag_id, run_id),
        )

    # Task instances

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return all task instances of a DAG run, each mapped one by itself."""
        return [_task_instance(raw) for raw in self._pages(f"{_run(dag_id, run_id)}/taskInstances")]

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> TaskInstance:
        """Return one task instance."""
        return _task_instance(self._call("GET", _task(dag_id, run_id, task_id, map_index)).json())

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Collection[str] = TASK_ENDS,
        *,
        map_index: int = -1,
        limit: float = 120,
    ) -> TaskInstance:
        """Wait until a task instance is in one of the states, e.g. ``{"deferred"}``, and return it."""

        def look() -> TaskInstance | None:
            found = self.task_instance(dag_id, run_id, task_id, map_index)
            return found if found.state in states else None

        return wait_for(
            look,
            limit=limit,
            what=f"{dag_id}.{task_id} to be {' or '.join(sorted(states))}",
            interval=1,
            explain=lambda: self._explain(dag_id, run_id),
        )

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task instance ``success`` or ``failed``, as the buttons in the UI do."""
        body: dict[str, Any] = {"new_state": state}
        if self._major == 2:
            body["dry_run"] = False
        self._call("PATCH", _task(dag_id, run_id, task_id, map_index), json=body)

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a whole DAG run ``success`` or ``failed``."""
        self._call("PATCH", _run(dag_id, run_id), json={"state": state})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear one task of a run (all its map indexes), whatever its state, so that it runs anew."""
        self._call(
            "POST",
            f"/dags/{quote(dag_id)}/clearTaskInstances",
            json={
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": [task_id],
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )

    # Questions to people (3.1 and newer)

    def question(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
        """Return what a task asks people, with the answer if there is one; None if it has asked nothing."""
        try:
            found = self._call("GET", f"{_task(dag_id, run_id, task_id)}/-1/hitlDetails")
        except AirflowApiError as error:
            if error.status_code == 404:
                return None
            raise
        asked: dict[str, Any] = found.json()
        return asked

    def answer(
        self, dag_id: str, run_id: str, task_id: str, option: str, fields: dict[str, Any] | None = None
    ) -> None:
        """Choose one of the options, and fill in fields, as the form in the UI does."""
        self._call(
            "PATCH",
            f"{_task(dag_id, run_id, task_id)}/-1/hitlDetails",
            json={"chosen_options": [option], "params_input": fields or {}},
        )

    # What a task leaves behind

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return an XCom value, or ``None`` when there is none under that key."""
        path = f"{_task(dag_id, run_id, task_id)}/xcomEntries/{quote(key, safe='')}"
        try:
            found = self._call("GET", path, params={"map_index": map_index, "stringify": False})
        except AirflowApiError as error:
            if error.status_code == 404:
                return None
            raise
        return found.json()["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try, all fields of structured lines included."""
        answer = self._call(
            "GET",
            f"{_task(dag_id, run_id, task_id)}/logs/{try_number}",
            params={"map_index": map_index, "full_content": True},
            headers={"Accept": "text/plain" if self._major == 2 else "application/x-ndjson"},
        )
        return answer.text if self._major == 2 else "\n".join(map(_log_line, answer.text.splitlines()))

    def links(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, str | None]:
        """Return the extra links of a task instance by name."""
        path = f"{_task(dag_id, run_id, task_id)}/links"
        # 2.11 knows no map index here and answers for -1.
        found = self._call("GET", path, params={} if self._major == 2 else {"map_index": map_index}).json()
        links: dict[str, str | None] = found["extra_links"] if self._major > 2 else found
        return links

    def asset_events(self) -> list[dict[str, Any]]:
        """Return the events of all assets (Airflow 3)."""
        return list(self._pages("/assets/events", "asset_events"))

    def asset_state(self) -> list[dict[str, Any]]:
        """Return what the state stores of all assets hold (Airflow 3.3)."""
        return [
            entry
            for asset in self._pages("/assets", "assets")
            for entry in self._pages(f"/assets/{asset['id']}/state-store", "asset_state_store")
        ]

    def test_connection(self, connection: Mapping[str, Any]) -> tuple[bool, str]:
        """Press the "Test" button for ``{"connection_id": ..., "conn_type": ..., "password": ...}``."""
        found = self._call("POST", "/connections/test", json=dict(connection)).json()
        return found["status"], found["message"]

    def connection_forms(self) -> list[dict[str, Any]]:
        """Return the forms of connections as the UI of Airflow 3 asks for them."""
        self._call("GET", "/version")  # has the token
        answer = self._session.get(f"{self.url}/ui/connections/hook_meta", timeout=60)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    # Underneath

    def _call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        if self._major > 2 and "Authorization" not in self._session.headers:
            token = self._session.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
            self._session.headers["Authorization"] = f"Bearer {token}"
        answer = self._session.request(method, f"{self._api}{path}", timeout=60, **arguments)
        if not answer.ok:
            raise AirflowApiError(
                f"{method} {path} -> {answer.status_code}: {answer.text[:2000]}", answer.status_code
            )
        return answer

    def _exists(self, path: str) -> bool:
        try:
            self._call("GET", path)
        except AirflowApiError as error:
            if error.status_code == 404:
                return False
            raise
        return True

    def _pages(self, path: str, key: str = "task_instances") -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._call("GET", path, params={"limit": 100, "offset": offset}).json()
            yield from page[key]
            offset += len(page[key])
            if offset >= page["total_entries"] or not page[key]:
                return

    @staticmethod
    def _state_if(state: str, wanted: Collection[str]) -> str | None:
        return state if state in wanted else None

    def _explain(self, dag_id: str, run_id: str) -> str:
        instances = self.task_instances(dag_id, run_id)
        return "\n".join(
            f"{one.task_id}[{one.map_index}] {one.state} try {one.try_number}" for one in instances
        )


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"


def _task(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}"
    return path if map_index < 0 else f"{path}/{map_index}"


def _task_instance(raw: Mapping[str, Any]) -> TaskInstance:
    return TaskInstance(
        task_id=raw["task_id"],
        map_index=raw["map_index"],
        state=raw["state"],
        try_number=raw["try_number"],
        rendered_fields=raw.get("rendered_fields") or {},
        raw=raw,
    )


def _log_line(line: str) -> str:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        return str(fields)
    head = f"{fields.pop('timestamp', None) or ''} {fields.pop('event', '')}"
    return " ".join([head.strip(), *(f"{name}={value!r}" for name, value in fields.items() if value)])
