"""Faults of runs: what goes wrong in an agent, and in which of its runs."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.agents import Prompt
from airflow_provider_xpander.emulator.due import Due
from airflow_provider_xpander.emulator.schedule import Behaviour
from airflow_provider_xpander.emulator.steps import login, pause, sleep_until_scheduled
from airflow_provider_xpander.emulator.wrong_json import HowWrong, wrong_json

_PAUSES = {"person": pause().fields, "login": login().fields, "schedule": sleep_until_scheduled(0).fields}


class RunFault(Due):
    """
    Something that goes wrong in a run, whatever its agent. Which runs, how often, and what happens.

    :param agent: id of the agent or workflow, or a pattern of ids.
    :param after: so many matching runs go well first.
    :param times: then so many go wrong; None is all of them.
    :param seconds: the run takes so long; None: as long as its agent says.
    :param waits_for: the run pauses for a person, a log-in, or by its own schedule (contract 4.2).
    :param resume_after: seconds after which it goes on by itself; None: when it is resumed.
    :param wrong_json: the answer is wrong JSON. Only runs that are asked for JSON match then.
    :param status: the run ends so.
    :param result: with this result.
    """

    agent: str = "*"
    seconds: float | None = Field(default=None, ge=0)
    waits_for: Literal["person", "login", "schedule"] | None = None
    resume_after: float | None = Field(default=None, ge=0)
    wrong_json: HowWrong | None = None
    status: TaskStatus | None = None
    result: Any = None

    def take(self, prompt: Prompt) -> bool:
        """
        Count a run and tell whether the fault hits it.

        :param prompt: what the agent is asked.
        """
        fits = fnmatchcase(prompt.target_id, self.agent) and (prompt.wants_json or self.wrong_json is None)
        return fits and self.count()

    def change(self, behaviour: Behaviour) -> Behaviour:
        """
        Return what the agent does instead.

        :param behaviour: what it would do.
        """
        if self.wrong_json is not None and behaviour.pause is None:
            right = behaviour.result
            if isinstance(right, str):
                with contextlib.suppress(ValueError):
                    right = json.loads(right)
            behaviour = replace(behaviour, result=wrong_json(right, self.wrong_json))
        if self.status is not None:
            behaviour = replace(behaviour, status=self.status, result=self.result, then=None)
        if self.seconds is not None:
            behaviour = replace(behaviour, seconds=self.seconds)
        if self.waits_for is not None:
            behaviour = replace(
                behaviour,
                pause=_PAUSES[self.waits_for],
                resume_after=self.resume_after,
                then=replace(behaviour, story=(), seconds=None),
            )
        return behaviour
