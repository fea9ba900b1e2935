"""Recordings: the answers of real agents in a file, by what was asked, so that tests need no key."""

from __future__ import annotations

import difflib
import json
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_xpander.api.request import SECRET_FIELDS
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.text import hidden
from airflow_provider_xpander.emulator import Prompt
from airflow_provider_xpander.emulator.schedule import Behaviour

VERSION = 1
# Which person asks, and how the run is called, is no part of the question.
_NOT_ASKED = SECRET_FIELDS | {"title", "source", "id", "events_streaming"}


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
    cleaned: dict[str, Any] = _cleaned({name: value for name, value in known.items() if value}, ignore)
    return cleaned


def _cleaned(value: Any, ignore: tuple[str, ...]) -> Any:
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
    """Hide what this package knows to be secret, and what Airflow does, if the test has Airflow."""
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
        self._turns: list[dict[str, Any]] = []
        self._asked: dict[str, int] = {}
        self._real = None
        if real is not None:
            from airflow_provider_xpander.testing.real_agents import RealAgents

            self._real = RealAgents(real)
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
        if self._real is not None:
            status, result = self._real.ask(prompt)
            turn = {"question": asked, "status": status, "result": _cleaned(result, ())}
            with self._lock:
                self._turns.append(turn)
            return Behaviour(result, TaskStatus(status))
        with self._lock:
            key = _written(asked)
            fitting = [turn for turn in self._turns if _written(turn["question"]) == key]
            if not fitting:
                self._unknown.append(difference(asked, [turn["question"] for turn in self._turns]))
                return Behaviour("This was not recorded; the test says how it differs.", TaskStatus.ERROR)
            # The same question again gets the next answer, and the last one from then on.
            number = self._asked.get(key, 0)
            self._asked[key] = number + 1
            turn = fitting[min(number, len(fitting) - 1)]
            return Behaviour(turn["result"], TaskStatus(turn["status"]))

    def objection(self) -> str | None:
        """Return what was asked and is not recorded, once, or None."""
        unknown, self._unknown = self._unknown, []
        if not unknown:
            return None
        return (
            f"Prompts that are not in {self.path}: {len(unknown)}. Record it again with --xpander-record. "
            f"The first one:\n{unknown[0]}"
        )

    def close(self) -> None:
        """Write the file, if it was recorded."""
        if self._real is not None and self._turns:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(_written({"version": VERSION, "turns": self._turns}) + "\n", "utf-8")
