"""An agent at work: its answer row by row where it is asked about a pack, and what goes wrong with it."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator import packs
from airflow_provider_xpander.emulator.agents import Agent, Prompt
from airflow_provider_xpander.emulator.run_fault import RunFault
from airflow_provider_xpander.emulator.schedule import Behaviour
from airflow_provider_xpander.emulator.settings import Settings


def act(
    agent: Agent,
    prompt: Prompt,
    settings: Settings,
    fault: RunFault | None = None,
    *,
    whole_packs: bool = False,
) -> Behaviour:
    """
    Return what a run does.

    :param agent: who is asked.
    :param prompt: what it is asked.
    :param settings: what is wrong with answers to packs.
    :param fault: what goes wrong in this run.
    :param whole_packs: whether the agent itself knows what a pack is.
    """
    pack = packs.pack_of(prompt)
    if packs.is_poisonous(prompt, settings):
        behaviour = Behaviour("I cannot work on this row.", TaskStatus.FAILED)
    elif pack is None:
        behaviour = agent(prompt)
    else:
        behaviour = agent(prompt) if whole_packs else packs.ask_each(agent, prompt, pack)
        behaviour = packs.spoiled(behaviour, settings)
    return fault.change(behaviour) if fault else behaviour


def timed(behaviour: Behaviour, settings: Settings) -> Behaviour:
    """
    Fill in the usual length of a run, and divide all its times by the speed.

    :param behaviour: what the run does.
    :param settings: of the emulator.
    """
    seconds = settings.run_seconds if behaviour.seconds is None else behaviour.seconds
    wait = behaviour.resume_after
    return replace(
        behaviour,
        seconds=settings.scaled(seconds),
        resume_after=None if wait is None else settings.scaled(wait),
        story=tuple(
            told if told.after is None else replace(told, after=settings.scaled(told.after))
            for told in behaviour.story
        ),
        then=timed(behaviour.then, settings) if behaviour.then else None,
    )
