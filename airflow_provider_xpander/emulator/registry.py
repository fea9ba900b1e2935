"""The agents and workflows of one emulator by their ids: scripted ones first, then the built-in ones."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from airflow_provider_xpander.emulator import agents
from airflow_provider_xpander.emulator.agents import Agent
from airflow_provider_xpander.emulator.scripts import Script

_WILDCARDS = frozenset("*?[")


class Registry:
    """The agents and workflows of one emulator."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}

    def script(self, pattern: str) -> Script:
        """
        Return the script of an id or a pattern of ids; a new one if there is none yet.

        :param pattern: for example ``triage`` or ``enrich-*``.
        """
        if pattern not in self._scripts:
            self._scripts[pattern] = Script(pattern, _built_in("workflow", pattern) or agents.echo)
        return self._scripts[pattern]

    def script_for(self, target_id: str) -> Script | None:
        """
        Return the script that acts under an id: its own, or that of the longest pattern that fits.

        :param target_id: the id that is invoked.
        """
        exact = self._scripts.get(target_id)
        if exact is not None:
            return exact
        fitting = [pattern for pattern in list(self._scripts) if fnmatchcase(target_id, pattern)]
        return self._scripts[max(fitting, key=len)] if fitting else None

    def find(self, kind: str, target_id: str) -> Agent | None:
        """
        Return what is invoked, or None.

        :param kind: ``agent`` or ``workflow``.
        :param target_id: the id that is invoked.
        """
        script = self.script_for(target_id)
        return script.act if script else _built_in(kind, target_id)

    def takes_packs(self, target_id: str) -> bool:
        """
        Whether an agent answers a pack of rows by itself, and is not asked about each row.

        :param target_id: the id that is invoked.
        """
        script = self.script_for(target_id)
        return script is not None and script.whole_packs

    def calls_python(self, target_id: str) -> bool:
        """
        Whether a function that somebody has registered is called, which may take its time.

        :param target_id: the id that is invoked.
        """
        script = self.script_for(target_id)
        return script is not None and script.calls_python

    def ids(self, kind: str) -> list[str]:
        """
        Return the ids that can be named; a pattern has none.

        :param kind: ``agent`` or ``workflow``; a scripted agent that is no built-in workflow is an agent.
        """
        built_in: Iterable[str] = agents.AGENTS if kind == "agent" else agents.WORKFLOWS
        own = [
            pattern
            for pattern in list(self._scripts)
            if kind == "agent" and pattern not in {*agents.AGENTS, *agents.WORKFLOWS}
        ]
        return [*built_in, *(pattern for pattern in own if _WILDCARDS.isdisjoint(pattern))]

    def patterns(self) -> list[str]:
        """Return the patterns of ids that scripts are for."""
        return [pattern for pattern in list(self._scripts) if not _WILDCARDS.isdisjoint(pattern)]

    def clear(self) -> None:
        """Forget the scripted agents."""
        self._scripts.clear()


def _built_in(kind: str, target_id: str) -> Agent | None:
    # Workflows and agents run as workflows, but only agents as agents.
    return agents.AGENTS.get(target_id) or (agents.WORKFLOWS.get(target_id) if kind == "workflow" else None)
