"""Recordings: the answers of real agents in a file, by what was asked, so that tests need no key."""

from __future__ import annotations

import difflib
import json
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.request import SECRET_FIELDS
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.text import CREDENTIAL, MASK, hidden
from airflow_provider_xpander.emulator import Prompt
from airflow_provider_xpander.emulator.schedule import Behaviour
from airflow_provider_xpander.runs.identity import plain_url

if TYPE_CHECKING:
    from airflow_provider_xpander.testing.real_agents import RealAgents

VERSION = 1
# Which person asks, and how the run is called, is no part of the question.
_NOT_ASKED = SECRET_FIELDS | {"title", "source", "id", "events_streaming"}
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s\"'<>]+", re.IGNORECASE)


@dataclass
class _Recorded:
    """What this session has recorded in one file, which several tests may share."""

    turns: list[dict[str, Any]] = field(default_factory=list)
    threads: dict[tuple[str, ...], str] = field(default_factory=dict)


_session: dict[Path, _Recorded] = {}


def question(prompt: Prompt, ignore: tuple[str, ...] = ()) -> dict[str, Any]:
    """
    Return what is asked, without credentials, person, title and mark.

    :param prompt: what the agent is asked.
    :param ignore: regular expressions of what may differ.
    """
    body = {name: value for name, value in prompt.body.items() if name not in _NOT_ASKED and value}
    asked = dict(body.pop("input", None) or {})
    asked.pop("user", None)
    known = {
        "target": prompt.target_id,
        "earlier": list(prompt.earlier),
        "input": {name: value for name, value in asked.items() if value},
        **body,
    }
    asked = _without_credentials({name: value for name, value in known.items() if value})
    cleaned: dict[str, Any] = _cleaned(asked, ignore)
    return cleaned


def _without_credentials(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: MASK
            if isinstance(item, str) and CREDENTIAL.search(str(name))
            else _without_credentials(item)
            for name, item in value.items()
        }
    return [_without_credentials(item) for item in value] if isinstance(value, list | tuple) else value


def _cleaned(value: Any, ignore: tuple[str, ...] = ()) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _cleaned(item, ignore) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, ignore) for item in value]
    if isinstance(value, str):
        value = _without_secrets(value)
        for pattern in ignore:
            value = re.sub(pattern, "<ignored>", value)
    return value


def _without_secrets(text: str) -> str:
    """Hide what this package knows to be secret, what Airflow does, and what opens a URL."""
    text = _URL.sub(lambda url: plain_url(url[0]), text)
    compat = sys.modules.get("airflow_provider_xpander._compat")
    return hidden(text) if compat is None else str(compat.masked(hidden(text)))


def difference(asked: Mapping[str, Any], recorded: list[Mapping[str, Any]]) -> str:
    """
    Return how a question differs from the recorded one that is most like it.

    :param asked: the question.
    :param recorded: the questions that were recorded.
    """
    if not recorded:
        return "Nothing was recorded yet."
    text = _written(asked)
    nearest = max(
        map(_written, recorded), key=lambda other: difflib.SequenceMatcher(None, other, text).ratio()
    )
    lines = difflib.unified_diff(
        nearest.splitlines(), text.splitlines(), "recorded", "asked now", lineterm="", n=1
    )
    return "\n".join(lines)


def _written(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


class Recording:
    """
    A file of questions and answers.

    :param path: the file.
    :param ignore: regular expressions of what may differ in a question.
    :param real: the service that is asked what the file does not have; None if none is to be asked.
    """

    def __init__(self, path: Path, *, ignore: tuple[str, ...] = (), real: Settings | None = None) -> None:
        self.path = path
        self._ignore = ignore
        self._lock = threading.Lock()
        self._unknown: list[str] = []
        self._failed: list[str] = []
        self._turns: list[dict[str, Any]] = []
        self._asked: dict[str, int] = {}
        self._real: RealAgents | None = None
        if real is not None:
            from airflow_provider_xpander.testing.real_agents import RealAgents

            recorded = _session.setdefault(path.resolve(), _Recorded())
            self._real = RealAgents(real, recorded.threads)
            self._turns = recorded.turns
        elif path.exists():
            self._turns = json.loads(path.read_text("utf-8"))["turns"]
        else:
            pytest.fail(f"There is no recording {path}; make one with --xpander-record", pytrace=False)

    def answer(self, prompt: Prompt) -> Behaviour:
        """
        Answer as the real agent has, or does.

        :param prompt: what the agent is asked.
        """
        asked = question(prompt, self._ignore)
        key = _written(asked)
        with self._lock:
            fitting = [turn for turn in self._turns if _written(turn["question"]) == key]
            # The same question again gets the next answer, and the last one from then on.
            number = self._asked.get(key, 0)
            self._asked[key] = number + 1
            if fitting and (self._real is None or number < len(fitting)):
                turn = fitting[min(number, len(fitting) - 1)]
                return Behaviour(turn["result"], TaskStatus(turn["status"]))
            if self._real is None:
                self._unknown.append(difference(asked, [turn["question"] for turn in self._turns]))
                return Behaviour("This was not recorded; the test says how it differs.", TaskStatus.ERROR)
        return self._record(prompt, asked, self._real)

    def _record(self, prompt: Prompt, asked: dict[str, Any], real: RealAgents) -> Behaviour:
        try:
            status, result = real.ask(prompt)
        except XpanderError as error:
            self._failed.append(str(error))
            return Behaviour("The real agent could not be asked; the test says why.", TaskStatus.ERROR)
        with self._lock:
            self._turns.append({"question": asked, "status": status, "result": _cleaned(result)})
        return Behaviour(result, TaskStatus(status))

    def objection(self) -> str | None:
        """Return what was asked and is not recorded, once, or None."""
        unknown, self._unknown = self._unknown, []
        failed, self._failed = self._failed, []
        said = []
        if failed:
            said.append(f"Prompts that could not be recorded: {len(failed)}. The first one: {failed[0]}")
        if unknown:
            said.append(
                f"Prompts that are not in {self.path}: {len(unknown)}. Record it again with "
                f"--xpander-record. The first one:\n{unknown[0]}"
            )
        return "\n".join(said) or None

    def close(self) -> None:
        """Write the file, if it was recorded."""
        if self._real is not None and self._turns:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(_written({"version": VERSION, "turns": self._turns}) + "\n", "utf-8")
