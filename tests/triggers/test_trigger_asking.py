"""
A trigger that waits for a person's answer and for the run.

What people answer is Airflow's side of it, and faked here (``tests/e2e/test_e2e_ask.py`` has it real); the
service is the emulator.
"""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import POLL, Service, fire

from airflow_provider_xpander.runs.question import KEEP_WAITING, STOP, WENT_ON
from airflow_provider_xpander.triggers import asking as asking_module
from airflow_provider_xpander.triggers.asking import XpanderAskingTrigger
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

TI_ID = "0199b7a0-0000-7000-8000-000000000001"


class Person:
    """Answers when a test says so; knows how the question was closed."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | None = None
        self.closed: list[tuple[str, str]] = []
        self.trouble: Exception | None = None
        self.looks = 0

    async def persons_choice(self, ti_id: str) -> dict[str, Any] | None:
        assert ti_id == TI_ID
        self.looks += 1
        if self.trouble:
            raise self.trouble
        return self.answer

    async def close_question(self, ti_id: str, answer: str) -> None:
        await asyncio.sleep(0.05)
        if self.trouble:
            raise self.trouble
        self.closed.append((ti_id, answer))


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    person = Person()
    monkeypatch.setattr(asking_module, "persons_choice", person.persons_choice)
    monkeypatch.setattr(asking_module, "close_question", person.close_question)
    monkeypatch.setattr(asking_module, "CHOICE_INTERVAL", 0.02)
    return person


async def asking(service: Service, text: str = "approve", **kwargs: Any) -> XpanderAskingTrigger:
    """A trigger for a run that is paused, right after the question."""
    service.configure({"run_seconds": 0})
    task_id = service.start("paused", text)
    service.configure({"run_seconds": 0.1})
    paused_at = service.body(service.task(task_id))["paused_at"]
    asked = paused_at.replace("Z", "+00:00")
    defaults = {"xpander_task_id": task_id, "poll_interval": POLL, "on_paused": "ask", "asked": asked}
    return XpanderAskingTrigger(TI_ID, **defaults | kwargs)


async def test_it_is_rebuilt_from_plain_json(service: Service) -> None:
    trigger = await asking(service, agent_id="a", deadline=1e9, newer_than=1e8, on_kill_action="stop")
    path, stored = trigger.serialize()
    assert path == "airflow_provider_xpander.triggers.asking.XpanderAskingTrigger"
    assert XpanderAskingTrigger(**json.loads(json.dumps(stored))).serialize() == (path, stored)
    assert stored["ti_id"] == TI_ID


@pytest.mark.parametrize("option", [KEEP_WAITING, STOP])
async def test_an_answer_ends_the_wait(option: str, service: Service, person: Person) -> None:
    trigger = await asking(service)
    wait = asyncio.create_task(fire(trigger))
    await asyncio.sleep(0.2)
    assert not wait.done()
    person.answer = {"chosen_options": [option], "responded_by_user": {"id": "1", "name": "Ada"}}
    event = await wait
    assert event | person.answer == event
    assert event["xpander_task_id"] == trigger.xpander_task_id
    assert not person.closed


async def test_a_run_that_goes_on_closes_the_question_before_the_wait_ends(
    service: Service, person: Person
) -> None:
    trigger = await asking(service)
    wait = asyncio.create_task(fire(trigger))
    await asyncio.sleep(0.1)
    service.resume(trigger.xpander_task_id)
    event = await wait
    assert (event["end"], event["status"]) == ("finished", "completed")
    assert person.closed == [(TI_ID, WENT_ON)]


async def test_its_own_closing_is_no_answer(service: Service, person: Person) -> None:
    """As after a restart of the triggerer while the run executes again."""
    person.answer = {"chosen_options": [WENT_ON], "responded_by_user": None}
    trigger = await asking(service)
    service.resume(trigger.xpander_task_id)
    assert (await fire(trigger))["end"] == "finished"


async def test_the_next_pause_ends_the_wait(service: Service, person: Person) -> None:
    trigger = await asking(service)
    wait = asyncio.create_task(fire(trigger))
    await asyncio.sleep(0.1)
    service.override(trigger.xpander_task_id, {"paused_at": "2030-01-01T00:00:00Z"})
    assert (await wait)["end"] == "paused"
    assert person.closed == [(TI_ID, WENT_ON)]


async def test_the_deadline_holds(service: Service, person: Person) -> None:
    trigger = await asking(service, deadline=1.0)
    assert (await fire(trigger))["end"] == "timeout"


async def test_the_run_is_watched_while_airflow_cannot_tell_of_answers(
    service: Service, person: Person
) -> None:
    person.trouble = RuntimeError("API_SERVER_ERROR")
    trigger = await asking(service)
    wait = asyncio.create_task(fire(trigger))
    await asyncio.sleep(0.2)
    assert person.looks > 1
    service.resume(trigger.xpander_task_id)
    assert (await wait)["end"] == "finished"


@pytest.mark.parametrize(
    ("answer", "taken_up"),
    [
        ({"chosen_options": [STOP], "responded_by_user": None}, True),
        ({"chosen_options": [KEEP_WAITING], "responded_by_user": None}, True),
        ({"chosen_options": [WENT_ON], "responded_by_user": None}, False),
        (None, False),
    ],
)
async def test_whoever_has_answered_has_the_run_taken_up(
    answer: dict[str, Any] | None, taken_up: bool, service: Service, person: Person
) -> None:
    person.answer = answer
    assert await (await asking(service))._taken_up() is taken_up


@pytest.mark.parametrize(
    ("on_paused", "may_ask", "taken_up"), [("ask", None, True), ("wait", None, False), ("wait", True, True)]
)
async def test_a_trigger_that_waits_after_a_clear_knows_of_the_question_of_before(
    on_paused: str, may_ask: bool | None, taken_up: bool, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow resumes the task when that is answered, and cancels the trigger as if it had been killed."""
    from airflow_provider_xpander import required_actions

    monkeypatch.setattr(required_actions, "persons_choice", person.persons_choice)
    person.answer = {"chosen_options": [STOP]}
    trigger = XpanderTaskTrigger("t-1", on_paused=on_paused, may_ask=may_ask)  # type: ignore[arg-type]
    trigger.task_instance = SimpleNamespace(id=TI_ID, task_id="ask")  # type: ignore[assignment]
    assert await trigger._taken_up() is taken_up
